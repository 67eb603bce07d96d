import Foundation
import LoRA
import OrderedCollections
import TestFiles
import Testing
import Torch

/// The hashes in metadata against those of sd-scripts' rules (Scripts/goldens/consumers.py).
@Suite struct ContentHashTests {
  static let middle = "unet.mid_block.attentions.0"
  /// [outputs, rank, inputs] of the layers of each file.
  static let files: [(String, OrderedDictionary<String, [Int]>)] = [
    ("small", ["\(middle).transformer_blocks.0.attn2.to_k": [8, 2, 768]]),
    // Goes beyond the part that the legacy hash is of.
    ("large", ["\(middle).transformer_blocks.0.attn2.to_k": [70000, 2, 768], "\(middle).proj_in": [50000, 2, 60000]]),
  ]

  /// Numbers that tell places apart.
  private func ramp(_ rows: Int, _ columns: Int) -> Tensor {
    Tensor((0..<rows * columns).map { Float($0 * 31 % 251) / 16 }).reshaped([rows, columns])
  }

  @Test(arguments: files)
  func hashes(name: String, layers: OrderedDictionary<String, [Int]>) throws {
    let golden = try JSONDecoder().decode(
      [String: [String: String]].self, from: Data(contentsOf: URL(filePath: "\(goldens)/consumers/hashes.json")))
    let expected = try #require(golden[name])
    var adapter = Adapter(
      factors: layers.mapValues { size in
        LowRankFactors(down: ramp(size[1], size[2]), up: ramp(size[0], size[1]), alpha: 2)
      })
    adapter.metadata = ["ss_training_comment": "für \"Katze\"", "sshs_model_hash": "of another file"]
    let base = ModuleNames(layers.mapValues { [$0[0], $0[2]] })
    let folder = try TemporaryFolder()
    let path = folder("a.safetensors")
    try AdapterFile.write(adapter, to: path, as: Dialects.kohya, for: base)
    let metadata = try AdapterFile(path: path).metadata
    for (key, hash) in expected { #expect(metadata[key] == hash, "\(key)") }
    // Neither a title nor the dialect's own entries change what a file is known by.
    adapter.metadata["modelspec.title"] = "cat"
    try AdapterFile.write(adapter, to: path, as: Dialects.kohya, for: base, overwrite: true)
    #expect(
      try AdapterFile(path: path).metadata.filter { expected[$0.key] != nil } == metadata.filter { expected[$0.key] != nil })
    try AdapterFile.write(adapter, to: path, as: Dialects.diffusers, for: base, overwrite: true)
    let other = try AdapterFile(path: path).metadata
    #expect(other["modelspec.hash_sha256"] == other["sshs_model_hash"].map { "0x\($0)" })
    #expect(other["sshs_model_hash"] != metadata["sshs_model_hash"], "other names lie in another order")
  }
}
