import LoRA
import OrderedCollections
import TestFiles
import Testing
import Torch

/// An operation that fails, as where memory runs out, is an error at its layer and never a file.
@Suite struct FailedOperationTests {
  static let path = "unet.mid_block.attentions.0.proj_in"
  let base = ModuleNames([path: [6, 4]])
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// What stands for a result in a scope that is going to throw.
  private func failed() -> Tensor { Tensor.zeros([2, 3]).matmul(.zeros([4, 5])) }

  @Test("nothing is written of what came after a failure", arguments: ["kohya", "peft"])
  func writing(dialect: String) throws {
    let adapter = randomAdapter([Self.path], of: base)
    let error = try #require(throws: TorchError.self) {
      try withTorchErrors {
        _ = failed()
        try AdapterFile.write(adapter, to: folder("a.safetensors"), as: Dialects.named(dialect)!, for: base)
      }
    }
    #expect(error.operation.hasPrefix("aten::matmul"))
    #expect(try folder.names.isEmpty)
    #expect(throws: TorchError.self) {
      try withTorchErrors { try saveSafeTensors(["a": failed()], to: folder("b.safetensors")) }
    }
    #expect(try folder.names.isEmpty)
  }

  @Test("factors that a failure has left without their shapes do not trap")
  func factors() throws {
    let error = try #require(throws: TorchError.self) {
      try withTorchErrors {
        _ = LowRankFactors(up: failed(), down: .zeros([2, 4]), weightShape: [6, 4])
        _ = LowRankFactors(down: .zeros([2, 4]), up: failed(), alpha: 1)
      }
    }
    #expect(error.operation.hasPrefix("aten::matmul"), "the first failure, not an echo of it")
  }

  @Test("a layer that cannot be computed is an error of its own, without a scope around it")
  func layers() throws {
    try saveSafeTensors(
      [
        "\(Self.path).lora_A.weight": .ones([2, 4]), "\(Self.path).lora_B.weight": .ones([6, 2]),
        "\(Self.path).lora_magnitude_vector": .ones([6]),
      ], to: folder("dora.safetensors"))
    let other = Linear(WeightStore(.random(Generator(seed: 3))).root, 5, 5)
    let file = try AdapterFile(path: folder("dora.safetensors"))
    let reading = try #require(throws: TorchError.self) { try file.reading(for: base, weights: [Self.path: other]) }
    #expect(reading.operation.hasPrefix("aten::reshape"), "\(reading)")

    // Without memory there are no numbers to look at.
    let hollow = LowRankFactors(down: .ones([2, 8], device: .meta), up: .ones([9, 2], device: .meta), alpha: 1)
    #expect(throws: TorchError.self) { try Adapter(factors: [Self.path: hollow]).reduced(to: .rank(1)) }
  }
}
