import LoRA
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

/// What diffusers' training scripts write: names of before 0.26 for layers of attention, of today for all else.
@Suite struct DiffusersScriptTests {
  let base = ModuleNames.stableDiffusionXL
  let folder: TemporaryFolder
  let generator = Generator(seed: 4)
  static let attention = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
  static let block = "unet.down_blocks.1.attentions.0.transformer_blocks.0"
  static let text = "text_encoder.text_model.encoder.layers.0.self_attn"

  init() throws { folder = try TemporaryFolder() }

  private func file(
    _ tensors: OrderedDictionary<String, Tensor>, _ configuration: String? = nil
  ) throws -> AdapterFile {
    let path = folder("a.safetensors")
    let metadata = configuration.map { OrderedDictionary(dictionaryLiteral: ("lora_adapter_metadata", $0)) } ?? [:]
    try saveSafeTensors(tensors, metadata: metadata, to: path, overwrite: true)
    return try AdapterFile(path: path)
  }

  /// Halves of rank 2 of a weight [4, 4].
  private func halves(_ stem: String, _ down: String, _ up: String) -> OrderedDictionary<String, Tensor> {
    [stem + down: .randn([2, 4], generator: generator), stem + up: .randn([4, 2], generator: generator)]
  }

  @Test("a file of a script changes each weight as diffusers does when it fuses it")
  func golden() throws {
    let source = "\(goldens)/adapters/scripts"
    let file = try AdapterFile(path: "\(source)/scripts.safetensors")
    #expect(file.dialect.name == "diffusers-old" && file.layers.count == 7)
    let alphas = file.layers.map { "\($0.value.formName) \($0.value.rank!) \($0.value.alpha!)" }
    #expect(
      alphas == [
        "LoRA 4 1.0", "LoRA 4 1.0", "LoRA 2 \(3 * 2.0.squareRoot())",
        "LoRA with DoRA 4 2.0", "LoRA with DoRA 4 3.0", "LoRA with DoRA 2 2.0", "LoRA with DoRA 4 6.0",
      ])
    let names = try ModuleNames.golden("sdxl")
    let unet = try SafeTensorsCollection(path: "\(goldens)/pipelines/sdxl/unet/diffusion_pytorch_model.safetensors")
    var weights: Projections = [:]
    for path in names.modules(of: .unet) where path.hasPrefix("down_blocks.1.attentions.0.") {
      weights["unet.\(path)"] = FrozenWeight(try unet.tensor("\(path).weight"))
    }
    let adapter = try file.reading(for: names, weights: weights).adapter
    let expected = try SafeTensorsCollection(path: "\(source)/expected.safetensors")
    #expect(adapter.factors.count == expected.keys.count)
    for key in expected.keys {
      // transformers 5 has no text_model in the first text encoder, the base has.
      let path = key.dropFirst("delta.".count).dropLast(".weight".count)
        .replacing("text_encoder.encoder", with: "text_encoder.text_model.encoder")
      let error = try difference(adapter.delta(String(path), dtype: .float64), expected.tensor(key))
      #expect(error <= 1e-5, "\(path): \(error)")
    }
  }

  @Test(
    "alphas stand in the metadata under the module's name of today",
    arguments: [
      ("unet.\(attention).to_q", ".lora.down.weight", ".lora.up.weight"),
      ("unet.unet.\(attention).to_q", ".lora.down.weight", ".lora.up.weight"),
      ("unet.\(attention).processor.to_q", "_lora.down.weight", "_lora.up.weight"),
      ("\(attention).processor.to_q", "_lora.down.weight", "_lora.up.weight"),
      ("unet.unet.\(attention).to_out.0", ".lora.down.weight", ".lora.up.weight"),
      ("unet.\(attention).processor.to_out", "_lora.down.weight", "_lora.up.weight"),
      ("\(text).q_proj", ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
      ("\(text).to_q", "_lora.down.weight", "_lora.up.weight"),
      ("\(text).to_out", "_lora.down.weight", "_lora.up.weight"),
    ])
  func alphas(stem: String, down: String, up: String) throws {
    let (tensors, module) = (halves(stem, down, up), stem.hasSuffix("q") ? "to_q" : "to_out.0")
    let text = stem.hasSuffix("to_out") ? "out_proj" : "q_proj"
    let configuration = """
      {"unet.lora_alpha": 8, "unet.alpha_pattern": {"\(Self.attention).\(module)": 3},
       "text_encoder.lora_alpha": 8, "text_encoder.alpha_pattern": {"^text_model.encoder.layers.0.self_attn.\(text)": 3}}
      """
    let stated = try file(tensors, configuration)
    #expect(stated.dialect.name == "diffusers-old" && stated.layers.values.map(\.alpha) == [3])
    #expect(try stated.adapter(for: base).factors.count == 1)
    let other = try file(tensors, #"{"unet.lora_alpha": 8, "text_encoder.lora_alpha": 8}"#)
    #expect(other.layers.values.map(\.alpha) == [8])
    let silent = try file(tensors)
    #expect(silent.layers.values.map(\.alpha) == [2] && silent.remarks.isEmpty)
  }

  @Test("layers that are no attention, and magnitudes, have the names of today")
  func mixedSpellings() throws {
    let query = halves("\(Self.block).attn1.to_q", ".lora.down.weight", ".lora.up.weight")
    let tensors = query.merging([
      "\(Self.block).ff.net.0.proj.lora_A.weight": .ones([2, 4]), "\(Self.block).ff.net.0.proj.lora_B.weight": .ones([16, 2]),
    ]) { $1 }
    let mixed = try file(tensors, #"{"unet.lora_alpha": 1}"#)
    #expect(mixed.dialect.name == "diffusers-old")
    let adapter = try mixed.adapter(for: base)
    #expect(adapter.factors.mapValues(\.scale) == ["\(Self.block).attn1.to_q": 0.5, "\(Self.block).ff.net.0.proj": 0.5])

    for suffix in ["", ".weight"] {
      let key = "\(Self.block).attn1.to_q.lora_magnitude_vector\(suffix)"
      let file = try file(query.merging([key: .ones([4])]) { $1 }, #"{"unet.use_dora": true}"#)
      #expect(file.dialect.name == "diffusers-old" && file.layers.values.map(\.formName) == ["LoRA with DoRA"])
    }
    let lacking = try #require(throws: AdapterFileError.self) { try file(query, #"{"unet.use_dora": true}"#) }
    #expect(lacking.description.contains("to_q lacks the magnitudes of DoRA, which the metadata asks for (use_dora)"))

    let biased = try file(query.merging(["\(Self.block).attn1.to_q.lora.up.bias": .ones([4])]) { $1 })
    #expect(biased.vectors == ["\(Self.block).attn1.to_q.lora.up.bias"])
  }

  @Test("what is of no use beside it is refused as in other files")
  func refused() throws {
    let query = halves("\(Self.block).attn1.to_q", ".lora.down.weight", ".lora.up.weight")
    func message(_ others: OrderedDictionary<String, Tensor>) throws -> String {
      try #require(throws: AdapterFileError.self) { try file(query.merging(others) { $1 }).adapter(for: base) }.description
    }
    // A key that nobody knows makes no second dialect.
    let strange = halves("\(Self.block).ff.net.2", ".lora_A.weight", ".lora_B.weight")
      .merging(["\(Self.block).ff.net.2.lora_E.weight": .ones([2, 2])]) { $1 }
    #expect(try message(strange).contains("of the dialect diffusers-old:\n  unknown key \(Self.block).ff.net.2.lora_E.weight"))
    #expect(
      try message(halves("\(Self.block).attn1.to_q", ".lora_A.weight", ".lora_B.weight"))
        .contains("\(Self.block).attn1.to_q is changed twice"))
    let kohya = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    #expect(
      try message(halves(kohya, ".lora_down.weight", ".lora_up.weight")).contains("the 4 keys are of more than one dialect"))
    let alone = try #require(throws: AdapterFileError.self) {
      try file(["\(Self.block).attn1.to_q.lora_magnitude_vector": .ones([4])])
    }
    #expect(alone.description.contains("not a LoRA file of a known dialect"))
  }
}

/// A weight that magnitudes are measured against.
private final class FrozenWeight: Projection {
  let weight: Tensor
  var branches: [any Branch] = []

  init(_ weight: Tensor) { self.weight = weight }
}
