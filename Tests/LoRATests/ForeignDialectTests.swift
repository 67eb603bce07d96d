import Foundation
import LoRA
import OrderedCollections
import SafeTensors
import TestFiles
import TestSupport
import Testing
import Torch

/// The spellings of tools that this package reads and does not write.
@Suite struct ForeignDialectTests {
  let folder: TemporaryFolder
  let base = ModuleNames.stableDiffusionXL
  static let query = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
  static let output = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0"
  static let feedForward = "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.2"
  static let textQuery = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
  static let textOutput = "text_encoder_2.text_model.encoder.layers.3.self_attn.out_proj"
  static let attention = "mid_block.attentions.0.transformer_blocks.0.attn1"
  static let text = "text_model.encoder.layers.0.self_attn"

  init() throws { folder = try TemporaryFolder() }

  /// Layers by the keys of their halves, and where they belong.
  static let spellings: [(dialect: String, down: String, up: String, path: String)] = [
    ("kohya", "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight", "", query),
    ("kohya", "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", "", textQuery),
    ("lycoris", "lycoris_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight", "", query),
    ("lycoris", "lycoris_middle_block_1_transformer_blocks_0_ff_net_2.lora_down.weight", "", feedForward),
    ("diffusers-old", "unet.\(attention).processor.to_q_lora.down.weight", "", query),
    ("diffusers-old", "unet.\(attention).processor.to_out_lora.down.weight", "", output),
    ("diffusers-old", "\(attention).processor.to_out_lora.down.weight", "", output),
    ("diffusers-old", "unet.\(attention).to_q.lora.down.weight", "", query),
    ("diffusers-old", "unet.unet.\(attention).to_out.0.lora.down.weight", "", output),
    ("diffusers-old", "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.2.lora.down.weight", "", feedForward),
    ("diffusers-old", "text_encoder.\(text).to_q_lora.down.weight", "", textQuery),
    ("diffusers-old", "text_encoder.\(text).q_proj.lora_linear_layer.down.weight", "", textQuery),
    (
      "diffusers-old", "text_encoder_2.text_model.encoder.layers.3.self_attn.to_out_lora.down.weight", "", textOutput
    ),
    ("diffusers", "unet.\(attention).to_q.lora_A.weight", "unet.\(attention).to_q.lora_B.weight", query),
    ("diffusers", "unet.\(attention).to_q.lora_A.default.weight", "unet.\(attention).to_q.lora_B.default.weight", query),
    ("peft", "base_model.model.\(attention).to_q.lora_A.weight", "base_model.model.\(attention).to_q.lora_B.weight", query),
    (
      "peft", "base_model.model.\(attention).to_out.0.lora_A.default.weight",
      "base_model.model.\(attention).to_out.0.lora_B.default.weight", output
    ),
    ("peft", "\(attention).to_q.lora_A.weight", "\(attention).to_q.lora_B.weight", query),
    ("comfyui", "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.lora_down.weight", "", query),
    (
      "comfyui", "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_out.0.lora_A.weight",
      "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_out.0.lora_B.weight", output
    ),
    ("comfyui", "text_encoders.clip_l.transformer.\(text).q_proj.lora_down.weight", "", textQuery),
    (
      "comfyui", "text_encoders.clip_g.transformer.text_model.encoder.layers.3.self_attn.out_proj.lora_down.weight", "",
      textOutput
    ),
  ]

  @Test("each spelling is of one dialect and means its layer", arguments: spellings)
  func spelling(dialect: String, down: String, up: String, path: String) throws {
    let shape = base.shapes[path]!
    let name = folder("a.safetensors")
    let up = up.isEmpty ? down.replacing("down.weight", with: "up.weight") : up
    try saveSafeTensors([down: .ones([2, shape[1]]), up: .ones([shape[0], 2])], to: name)
    let file = try AdapterFile(path: name)
    #expect(file.dialect.name == dialect)
    let adapter = try file.adapter(for: base)
    #expect(Array(adapter.factors.keys) == [path])
    #expect(adapter.factors.values[0].scale == 1)
  }

  @Test("the versions before 0.26 mixed their own spellings")
  func mixedOldVersions() throws {
    let name = folder("a.safetensors")
    try saveSafeTensors(
      [
        "unet.\(Self.attention).processor.to_q_lora.down.weight": .ones([2, 4]),
        "unet.\(Self.attention).processor.to_q_lora.up.weight": .ones([4, 2]),
        "text_encoder.\(Self.text).q_proj.lora_linear_layer.down.weight": .ones([2, 4]),
        "text_encoder.\(Self.text).q_proj.lora_linear_layer.up.weight": .ones([4, 2]),
      ], to: name)
    #expect(Set(try AdapterFile.read(name, for: base).factors.keys) == [Self.query, Self.textQuery])
  }

  @Test("whole matrices of ziplora-pytorch")
  func densePyTorch() throws {
    let name = folder("a.safetensors")
    let delta = Tensor.randn([4, 4], generator: Generator(seed: 1))
    try saveSafeTensors(["unet.unet.\(Self.attention).to_q.lora.weight": delta], to: name)
    let file = try AdapterFile(path: name)
    #expect(file.dialect.name == "ziplora-pytorch")
    #expect(try difference(file.adapter(for: base).factors[Self.query]!.delta(), delta) <= 1e-6)
  }

  private func writePEFT(_ configuration: String?, components: [Component] = [.unet]) throws -> Adapter {
    let paths = base.paths.filter { Component(of: $0).map(components.contains) == true && ModuleKind(of: $0) != .other }
    let adapter = randomAdapter(Array(paths.prefix(9)), of: base, ranks: [4, 2], alphas: [3, 3, 1])
    try AdapterFile.write(
      adapter, to: folder("adapter_model.safetensors"), as: PEFTDialect(), for: base, overwrite: true)
    let file = folder("adapter_config.json")
    if let configuration { try configuration.write(toFile: file, atomically: true, encoding: .utf8) }
    return adapter
  }

  @Test("peft's folder: alphas and their exceptions stand beside the tensors")
  func peftFolder() throws {
    let adapter = try writePEFT(nil)
    let file = try AdapterFile(path: folder.path)
    #expect(file.path.hasSuffix("/adapter_model.safetensors") && file.remarks.isEmpty)
    expectSameDeltas(try file.adapter(for: base), adapter, within: 1e-7)
    #expect(try keys(of: file.path).allSatisfy { $0.hasPrefix("base_model.model.") })
    let text = try String(contentsOfFile: folder("adapter_config.json"), encoding: .utf8)
    let configuration = try #require(
      try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    #expect(configuration["peft_type"] as? String == "LORA" && configuration["lora_alpha"] as? Int == 3)
    #expect((configuration["rank_pattern"] as? [String: Int])?.count == 4)
    // The second file is not kept in the tensors' own metadata.
    #expect(try SafeTensorsCollection(path: file.path).file.metadata["adapter_config.json"] == nil)
  }

  @Test("rsLoRA and a missing configuration")
  func peftConfigurations() throws {
    _ = try writePEFT(#"{"r": 4, "lora_alpha": 8, "use_rslora": true, "alpha_pattern": {"conv_in": 2}}"#)
    let file = try AdapterFile(path: folder.path)
    let alphas = OrderedDictionary(uniqueKeysWithValues: file.layers.map { ($0.key, ($0.value.rank!, $0.value.alpha!)) })
    for (stem, (rank, alpha)) in alphas {
      let stated = stem.hasSuffix("conv_in") ? 2.0 : 8.0
      #expect(abs(alpha / Double(rank) - stated / Double(rank).squareRoot()) < 1e-12, "\(stem)")
    }
    try FileManager.default.removeItem(atPath: folder("adapter_config.json"))
    #expect(try AdapterFile(path: folder.path).remarks.first?.contains("no adapter_config.json beside the file") == true)
  }

  @Test("peft's layers of a text encoder are told apart by their shapes")
  func peftTextEncoders() throws {
    var shapes = base.shapes
    for path in shapes.keys where path.hasPrefix("text_encoder_2.") && path.hasSuffix("q_proj") { shapes[path] = [6, 6] }
    let wider = ModuleNames(shapes)
    let name = folder("a.safetensors")
    let stem = "base_model.model.text_model.encoder.layers.0.self_attn.q_proj"
    try saveSafeTensors(["\(stem).lora_A.weight": .ones([2, 6]), "\(stem).lora_B.weight": .ones([6, 2])], to: name)
    #expect(
      Array(try AdapterFile.read(name, for: wider).factors.keys) == [
        "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj"
      ])
    // Where both fit, guessing would be wrong half the time.
    try saveSafeTensors(
      ["\(stem).lora_A.weight": .ones([2, 4]), "\(stem).lora_B.weight": .ones([4, 2])], to: name, overwrite: true)
    let error = try #require(throws: AdapterFileError.self) { try AdapterFile.read(name, for: base) }
    #expect(error.description.contains("can be text_encoder.text_model.encoder.layers.0.self_attn.q_proj or text_encoder_2."))
  }

  @Test("a file of peft holds one model")
  func peftOfSeveralModels() throws {
    // The names of the first text encoder are endings of the second's, so that its alphas would hold there, too.
    let (first, second) = (Self.textQuery, "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj")
    for (paths, models) in [
      ([Self.query, first], "the U-Net and the first text encoder"), ([first, second], "the first text encoder and the second"),
    ] {
      let adapter = randomAdapter(paths, of: base)
      let error = try #require(throws: AdapterFileError.self) {
        try AdapterFile.write(adapter, to: folder("a.safetensors"), as: PEFTDialect(), for: base)
      }
      #expect(error.description.contains("is of one model, but the layers are of \(models)"), "\(error)")
    }
    #expect(try folder.names.isEmpty)
  }
}
