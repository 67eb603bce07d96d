import Foundation
import TestFiles
import Testing
import Torch

/// Inputs and results of one reference encoder.
struct Expectation {
  let tensors: SafeTensorsCollection

  init(_ model: String, _ file: String = "expected") throws {
    tensors = try SafeTensorsCollection(path: "\(goldens)/encoders/\(model)/\(file).safetensors")
  }

  func callAsFunction(_ key: String) throws -> Tensor { try tensors.tensor(key) }
}

/// Replaces a part of a text file, which has to be there.
func replace(_ old: String, with new: String, in path: String) throws {
  let text = try String(contentsOfFile: path, encoding: .utf8)
  try #require(text.contains(old), "\(path) has no \(old)")
  try text.replacing(old, with: new).write(toFile: path, atomically: true, encoding: .utf8)
}
