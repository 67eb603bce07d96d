import LoRA
import Merging
import OrderedCollections
import TestSupport
import Testing
import Torch

/// What merged files say of themselves, and what methods make of small numbers and strange names.
@Suite struct MergedMetadataTests {
  let model = ToyModel()

  private func merge(_ method: any MergeMethod, _ inputs: [MergeInput]) throws -> Adapter {
    try method.merge(inputs, context: MergeContext()).adapter
  }

  private func metadata(
    _ method: String, _ inputs: OrderedDictionary<String, String>...
  ) throws -> OrderedDictionary<String, String> {
    let factors = model.adapter(1).factors
    let inputs = inputs.enumerated().map { MergeInput("lora\($0)", Adapter(factors: factors, metadata: $1)) }
    return try merge(try #require(MergeMethods.named(method)), inputs).metadata
  }

  // MARK: metadata

  @Test("what all LoRAs say of their base stays, and nothing else", arguments: ["direct", "svd"])
  func base(method: String) throws {
    let common: OrderedDictionary = [
      "ss_base_model_version": "sd_v2", "ss_v_parameterization": "True", "modelspec.prediction_type": "v",
      "modelspec.architecture": "stable-diffusion-v2-768-v/lora",
    ]
    // Contradicted, said by one alone, and of the files instead of their base.
    let found = try metadata(
      method,
      common.merging(["ss_v2": "True", "modelspec.resolution": "768x768", "ss_network_dim": "3"]) { $1 },
      common.merging(["ss_v2": "False", "ss_network_dim": "3"]) { $1 })
    for (key, value) in common { #expect(found[key] == value, "\(key)") }
    for key in ["ss_v2", "modelspec.resolution", "ss_network_dim"] { #expect(found[key] == nil, "\(key)") }
    #expect(found["modelspec.merged_from"] == "lora0, lora1")
  }

  @Test("prompts are joined, and a phrase stands for prompts that are not there", arguments: ["direct", "svd"])
  func prompts(method: String) throws {
    let cat: OrderedDictionary = ["ziplora.prompts": "a sks cat\na sks cat asleep", "modelspec.trigger_phrase": "sks cat"]
    let style: OrderedDictionary = ["modelspec.trigger_phrase": "in xyz style"]
    let found = try metadata(method, cat, style, [:])
    #expect(found["ziplora.prompts"] == "a sks cat\na sks cat asleep\nin xyz style")
    #expect(found["modelspec.trigger_phrase"] == "sks cat, in xyz style")
    // Said once.
    #expect(try metadata(method, cat, cat)["ziplora.prompts"] == cat["ziplora.prompts"])
    // Phrases alone are no prompts.
    #expect(try metadata(method, style, [:])["ziplora.prompts"] == nil)
  }

  @Test("a LoRA of weight 0 leaves nothing of what it is called up by", arguments: ["direct", "ties"])
  func noWeight(method: String) throws {
    let factors = model.adapter(1).factors
    let inputs = [("cat", "sks cat", 1.0), ("style", "in xyz style", 0)].map { name, phrase, weight in
      MergeInput(
        name, Adapter(factors: factors, metadata: ["ziplora.prompts": phrase, "modelspec.trigger_phrase": phrase]), weight: weight
      )
    }
    let found = try merge(try #require(MergeMethods.named(method)), inputs).metadata
    #expect(found["modelspec.merged_from"] == "cat" && found["ziplora.prompts"] == "sks cat")
    #expect(found["modelspec.trigger_phrase"] == "sks cat")
  }

  @Test("settings are told with every digit")
  func statement() throws {
    func told(_ method: any MergeMethod) throws -> String? { try merge(method, model.pair).metadata["ziplora.method"] }
    #expect(
      try told(DAREMerge(density: 0.87654, rank: 1024, seed: 1_234_567))
        == "dare density=0.87654 rank=1024 seed=1234567")
    #expect(
      try told(DELLAMerge(density: 0.70001, epsilon: 0.123456789, seed: 1 << 53))
        == "della density=0.70001 epsilon=0.123456789 seed=9007199254740992")
    #expect(try told(SVDMerge()) == "svd")
  }

  // MARK: methods

  @Test("KnOTS does the same with LoRAs a million times smaller", arguments: [0.2, 1])
  func smallChanges(density: Double) throws {
    let whole = try merge(KnOTSMerge(density: density), model.pair)
    let small = try merge(
      KnOTSMerge(density: density), model.pair.map { MergeInput($0.name, $0.adapter.scaled(by: 1e-6)) })
    for (path, factors) in whole.factors {
      let found = try #require(small.factors[path])
      #expect(found.rank == factors.rank, "\(path)")
      let error = difference(found.delta(dtype: .float64) * 1e6, factors.delta(dtype: .float64))
      #expect(error < 1e-4, "\(path): \(error)")
    }
  }

  @Test(
    "B-LoRA takes a layer with the names of both blocks for the subject's",
    arguments: [
      "unet.up_blocks.0.attentions.0.up_blocks.0.attentions.1.to_q",
      "unet.up_blocks.0.attentions.1.up_blocks.0.attentions.0.to_q", "lora_unet_output_blocks_1_1_output_blocks_0_1_proj_in",
    ])
  func bothBlocks(path: String) throws {
    let pair = ["subject", "style"].enumerated().map { index, name in
      MergeInput(name, Adapter(factors: [path: model.adapter(UInt64(index) + 1).factors[ToyModel.query]!]))
    }
    let result = try BLoRASplit().merge(pair, context: MergeContext())
    #expect(result.report.alone.map(\.input) == ["subject"] && result.report.dropped.isEmpty)
    #expect(difference(result.adapter, pair[0].adapter) <= 1e-7)
  }
}
