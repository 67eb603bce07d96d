import Foundation
import LoRA
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

/// peft's LoHa and LoKr, with golden files by Scripts/goldens/adapters.py.
@Suite struct PEFTFormTests {
  let folder: TemporaryFolder
  let generator = Generator(seed: 5)
  static let stem = "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"

  init() throws { folder = try TemporaryFolder() }

  private func random(_ shape: Int...) -> Tensor { .randn(shape, generator: generator) }

  private func file(_ tensors: [String: Tensor], _ configuration: String?) throws -> AdapterFile {
    let named = tensors.sorted { $0.key < $1.key }.map { ("\(Self.stem).\($0.key)", $0.value) }
    try saveSafeTensors(OrderedDictionary(uniqueKeysWithValues: named), to: folder("adapter_model.safetensors"), overwrite: true)
    if let configuration { try configuration.write(toFile: folder("adapter_config.json"), atomically: true, encoding: .utf8) }
    return try AdapterFile(path: folder.path)
  }

  @Test("weights change as in peft", arguments: [("peft-loha", "LoHa"), ("peft-lokr", "LoKr")])
  func golden(name: String, form: String) throws {
    let source = "\(goldens)/adapters/\(name)"
    let file = try AdapterFile(path: source)
    #expect(file.dialect.name == "peft" && file.remarks == [])
    #expect(file.layers.values.map(\.formName) == Array(repeating: form, count: 5))
    let adapter = try file.adapter(for: .golden("sdxl"), options: .init(rankLimit: 512))
    let expected = try SafeTensorsCollection(path: "\(source)/expected.safetensors")
    #expect(expected.keys.count == 5)
    for key in expected.keys {
      let path = String(key.dropFirst("delta.".count))
      let error = try difference(adapter.delta(path, dtype: .float64), expected.tensor(key))
      #expect(error <= 1e-6, "\(path): \(error)")
    }
  }

  @Test(
    "a LoKr of whole matrices is multiplied by the configuration's alpha / rank",
    arguments: [
      (#"{"peft_type": "LOKR", "r": 4, "alpha": 2}"#, 0.5),
      (#"{"peft_type": "LOKR", "r": 4}"#, 2),
      (#"{"peft_type": "LOKR", "r": 4, "alpha": 2, "rank_pattern": {"attn1.to_q": 1}, "alpha_pattern": {"to_q": 3}}"#, 3),
    ])
  func wholeMatrices(configuration: String, scale: Double) throws {
    let (first, second) = (random(2, 3), random(4, 5))
    let file = try file(["lokr_w1": first, "lokr_w2": second], configuration)
    let product = (first.unsqueezed(1).unsqueezed(3) * second.unsqueezed(0).unsqueezed(2)).reshaped(8, 15)
    let found = file.layers[Self.stem]!.form.factors().delta()
    #expect(difference(found, product * scale) <= 1e-6)
    #expect(file.remarks == [])
  }

  @Test(
    "without a configuration it is said that nothing says the alphas",
    arguments: [
      ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"], ["lokr_w1", "lokr_w2_a", "lokr_w2_b"], ["lokr_w1", "lokr_w2"],
    ])
  func withoutConfiguration(parts: [String]) throws {
    let file = try file(parts.reduce(into: [:]) { $0[$1] = random(2, 2) }, nil)
    #expect(
      file.remarks == [
        "there is no adapter_config.json beside the file that says the alphas; they are taken to be the ranks"
      ])
  }

  @Test(
    "a rank that is none is an error that names it",
    arguments: [
      (#""r": "four""#, "has a r that is no number"),
      (#""r": 0"#, "has the rank 0.0 in r or rank_pattern, expected 1 or more"),
      (#""r": 4, "rank_pattern": {"to_q": -2}"#, "has the rank -2.0 in r or rank_pattern, expected 1 or more"),
    ])
  func badRank(field: String, problem: String) throws {
    let error = try #require(throws: AdapterFileError.self) {
      try file(["lokr_w1": random(2, 2), "lokr_w2": random(2, 2)], #"{"peft_type": "LOKR", \#(field)}"#)
    }
    #expect(error.description.contains("adapter_config.json \(problem)"), "\(error)")
  }
}
