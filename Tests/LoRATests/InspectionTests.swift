import Foundation
import LoRA
import OrderedCollections
import TestFiles
import Testing
import Torch

@Suite struct InspectionTests {
  let base = ModuleNames.stableDiffusionXL

  @Test("‖ΔW‖ from the factors is that of the matrix", arguments: [[4, 5], [4, 5, 3, 3]])
  func norms(shape: [Int]) {
    let base = ModuleNames(["layer": shape])
    let factors = randomAdapter(["layer"], of: base, ranks: [3], alphas: [-2]).factors["layer"]!
    let dense = factors.delta(dtype: .float64).norm().item()
    #expect(abs(factors.norm - dense) < 1e-12 * dense)
  }

  @Test func deltaIsTheSumOfOuterProducts() {
    // ΔW = 3/2 · (1·[1 2] + …) worked by hand.
    let factors = LowRankFactors(
      down: Tensor([1, 2, 0, 1] as [Float], shape: [2, 2]), up: Tensor([1, 2, 3, 0] as [Float], shape: [2, 2]), alpha: 3)
    #expect(factors.delta().floats() == [1.5, 6, 4.5, 9])
    #expect(factors.scale == 1.5 && factors.weightShape == [2, 2])
  }

  @Test("with and without the base model, in both dialects", arguments: ["kohya", "diffusers"], [true, false])
  func report(dialect: String, knowsBase: Bool) throws {
    let folder = try TemporaryFolder()
    let paths = try Targets("attention+text-encoders").paths(in: base)
    var adapter = randomAdapter(paths, of: base, ranks: [2, 4], alphas: [1])
    adapter.factors["unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"] = LowRankFactors(
      down: .ones([1, 4]), up: .zeros([4, 1]), alpha: 1)
    let path = folder("a.safetensors")
    try AdapterFile.write(adapter, to: path, as: try #require(Dialects.named(dialect)), for: base)
    let report = Inspection(try AdapterFile(path: path), base: knowsBase ? base : nil)
    #expect(report.dialect == dialect && report.layers == 824 && report.dtype == "float32")
    #expect(report.ranks.map(\.value) == [1, 2, 4] && report.ranks.map(\.layers).reduce(0, +) == 824)
    // In files of diffusers alphas are the ranks, whatever they were.
    #expect(report.alphas.map(\.value) == (dialect == "diffusers" ? [1, 2, 4] : [1]))
    #expect(report.alphas.map(\.layers).reduce(0, +) == 824)
    #expect(report.scope.map { "\($0.kind.rawValue) \($0.layers)" } == ["attention 560", "text-encoders 264"])
    #expect(report.baseFamily == "Stable Diffusion XL (cross-attention width 2048)")
    #expect(report.problems.count == 1 && report.problems[0].hasPrefix("1 layers change nothing (ΔW = 0), such as "))
    let norm = try #require(report.norm)
    #expect(abs(norm - adapter.norm) < 1e-9 * adapter.norm)
    // 11 places with attention in the UNet, 12 + 32 text layers.
    #expect(report.blocks.count == 55, "\(report.blocks.map(\.name))")
    let blocks = report.blocks.compactMap(\.norm)
    #expect(blocks.count == 55 && abs(blocks.reduce(0) { $0 + $1 * $1 }.squareRoot() - norm) < 1e-9 * norm)
    let middle = dialect == "kohya" && !knowsBase ? "lora_unet_middle_block_1" : "unet.mid_block.attentions.0"
    #expect(report.blocks.contains { $0.name == middle && $0.layers == 80 })
    #expect(try JSONDecoder().decode(Inspection.self, from: JSONEncoder().encode(report)) == report)

    let header = Inspection(
      try AdapterFile(path: path, checksNumbers: false), base: knowsBase ? base : nil, measures: false)
    #expect(header.norm == nil && header.problems.isEmpty && header.ranks == report.ranks && header.alphas == report.alphas)
    #expect(header.blocks.map(\.name) == report.blocks.map(\.name) && header.blocks.allSatisfy { $0.norm == nil })
  }

  @Test("a file for another base is described and the misfit told")
  func otherBase() throws {
    let folder = try TemporaryFolder()
    let path = folder("a.safetensors")
    let other = ModuleNames.stableDiffusion1
    try AdapterFile.write(
      randomAdapter(try Targets.attention.paths(in: other), of: other), to: path, as: Dialects.kohya, for: other)
    let report = Inspection(try AdapterFile(path: path), base: base)
    #expect(report.layers == 128)
    #expect(report.problems.count == 1 && report.problems[0].contains("not made for this base model"))
  }
}

@Suite struct MetadataDescriptionTests {
  private func inspection(_ metadata: OrderedDictionary<String, String>) throws -> (Inspection, AdapterFile) {
    let folder = try TemporaryFolder()
    let stem = "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_k"
    try saveSafeTensors(
      ["\(stem).lora_down.weight": .ones([2, 768]), "\(stem).lora_up.weight": .ones([4, 2]), "\(stem).alpha": Tensor(2)],
      metadata: metadata, to: folder("a.safetensors"))
    let file = try AdapterFile(path: folder("a.safetensors"))
    return (Inspection(file), file)
  }

  @Test("trigger words: prompts, phrase, tags by frequency, folders")
  func triggers() throws {
    let (report, file) = try inspection([
      "ss_tag_frequency": #"{"10_sbu dog": {"sbu dog": 9, " grass": 4, "sky": 4}, "2_x": {"sky": 1}}"#,
      "ss_dataset_dirs": #"{"10_sbu dog": {"n_repeats": 10}, "5_red fox": {"n_repeats": 5}}"#,
      "modelspec.trigger_phrase": "a photo of sbu dog",
    ])
    #expect(
      report.triggers.map { "\($0.text) \($0.count ?? 0)" } == [
        "a photo of sbu dog 0", "sbu dog 9", "sky 5", "grass 4", "red fox 0",
      ])
    #expect(report.problems.isEmpty)
    #expect(file.prompts == ["a photo of sbu dog"])
    let (own, trained) = try inspection(["ziplora.prompts": "a sbu dog\na house in szn style", "modelspec.trigger_phrase": "x"])
    #expect(trained.prompts == ["a sbu dog", "a house in szn style"] && own.triggers.count == 3)
  }

  @Test("settings in words, without Python's None")
  func training() throws {
    let (report, _) = try inspection(["ss_learning_rate": "0.0001", "ss_seed": "None", "ss_num_train_images": "12"])
    #expect(report.training.map { "\($0.key) \($0.value)" } == ["pictures 12", "learning rate 0.0001"])
  }

  @Test("metadata that is broken or contradicts the tensors")
  func problems() throws {
    let (report, _) = try inspection([
      "ss_tag_frequency": "{broken", "ss_base_model_version": "sdxl_base_v1-0", "ss_network_dim": "8",
    ])
    #expect(report.problems.count == 3)
    let most = #"{"a": {"cat": 9223372036854774784, "dog": 3}, "b": {"cat": 9223372036854774784}}"#
    #expect(try inspection(["ss_tag_frequency": most]).0.triggers.map(\.text) == ["dog"], "counts that nobody can have counted")
    for text in [
      "the metadata ss_tag_frequency is not a JSON object", "for Stable Diffusion XL (cross-attention width 2048), but",
      "the metadata says rank 8, but the tensors have 2",
    ] {
      #expect(report.problems.contains { $0.contains(text) }, "\(report.problems)")
    }
  }
}
