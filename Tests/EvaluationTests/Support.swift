import Foundation
import Testing
import Torch

/// The folder of reference values (Tests/Goldens/SCHEMA.md).
let goldens = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(path: "Goldens").path

/// Largest difference of two tensors in relation to the largest element of the reference.
func difference(_ found: Tensor, _ reference: Tensor) throws -> Double {
  try #require(found.shape == reference.shape)
  let relative = (found - reference).abs().max().item() / reference.abs().max().item()
  try #require(relative.isFinite)
  return relative
}

/// Inputs and results of one reference encoder.
struct Expectation {
  let tensors: SafeTensorsCollection

  init(_ model: String, _ file: String = "expected") throws {
    tensors = try SafeTensorsCollection(path: "\(goldens)/encoders/\(model)/\(file).safetensors")
  }

  func callAsFunction(_ key: String) throws -> Tensor { try tensors.tensor(key) }
}

/// A folder that goes with the test.
final class TemporaryFolder {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.appending(path: "evaluation-" + UUID().uuidString).path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// A copy of a reference encoder.
  func copy(_ model: String) throws -> String {
    try FileManager.default.copyItem(atPath: "\(goldens)/encoders/\(model)", toPath: "\(path)/\(model)")
    return "\(path)/\(model)"
  }

  /// A copy of the reference CLIP with its tokenizer.
  func copyCLIP() throws -> String {
    let clip = try copy("clip")
    for file in ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"] {
      try FileManager.default.copyItem(atPath: "\(goldens)/tokenizer/\(file)", toPath: "\(clip)/\(file)")
    }
    return clip
  }
}

/// Replaces a part of a text file, which has to be there.
func replace(_ old: String, with new: String, in path: String) throws {
  let text = try String(contentsOfFile: path, encoding: .utf8)
  try #require(text.contains(old), "\(path) has no \(old)")
  try text.replacing(old, with: new).write(toFile: path, atomically: true, encoding: .utf8)
}
