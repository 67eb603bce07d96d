import LoRA
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

/// Forms, names and extras of trainers other than kohya's.
@Suite struct ForeignFormTests {
  static let path = "unet.mid_block.attentions.0.proj_in"
  static let stem = "lora_unet_mid_block_attentions_0_proj_in"
  let folder: TemporaryFolder
  let generator = Generator(seed: 8)

  init() throws { folder = try TemporaryFolder() }

  private func random(_ shape: Int...) -> Tensor { .randn(shape, generator: generator, dtype: .float64) }

  private func file(_ tensors: OrderedDictionary<String, Tensor>) throws -> AdapterFile {
    try saveSafeTensors(tensors, to: folder("a.safetensors"), overwrite: true)
    return try AdapterFile(path: folder("a.safetensors"))
  }

  private var layer: OrderedDictionary<String, Tensor> {
    ["\(Self.stem).lora_down.weight": .ones([2, 4]), "\(Self.stem).lora_up.weight": .ones([4, 2])]
  }

  @Test("OneTrainer's LoHa of a convolution has its shape, not a matrix", arguments: [1, 3])
  func hadamardOfConvolution(kernel: Int) throws {
    var (shaped, flat): (OrderedDictionary<String, Tensor>, OrderedDictionary<String, Tensor>) = ([:], [:])
    for side in ["1", "2"] {
      let (a, b) = (random(5, 2, 1, 1), random(2, 3, kernel, kernel))
      (shaped["\(Self.stem).hada_w\(side)_a"], shaped["\(Self.stem).hada_w\(side)_b"]) = (a, b)
      flat["\(Self.stem).hada_w\(side)_a"] = a.flattened(from: 1)
      flat["\(Self.stem).hada_w\(side)_b"] = b.flattened(from: 1)
    }
    let base = ModuleNames([Self.path: [5, 3, kernel, kernel]])
    let found = try file(shaped).adapter(for: base)
    #expect(found.factors.values[0].weightShape == [5, 3, kernel, kernel])
    expectSameDeltas(found, try file(flat).adapter(for: base), within: 1e-12)
    // A kernel of its own on the side of the outputs is no product.
    shaped["\(Self.stem).hada_w1_a"] = random(5, 2, 3, 3)
    let error = try #require(throws: AdapterFileError.self) { try file(shaped) }
    #expect(error.description.contains("expected w_a [out, rank] and w_b [rank, in] with one rank"), "\(error)")
  }

  @Test("embeddings of words that ai-toolkit bundles under bare names", arguments: [["emb_params"], ["clip_g", "clip_l"]])
  func bareEmbeddings(keys: [String]) throws {
    let file = try file(layer.merging(keys.map { ($0, random(2, 8)) }) { $1 })
    #expect(file.layers.count == 1 && file.embeddings == keys)
    let base = ModuleNames([Self.path: [4, 4]])
    let error = try #require(throws: AdapterFileError.self) { try file.adapter(for: base) }
    #expect(error.description.contains("\(keys.count) tensors are embeddings of words, which no LoRA can hold"), "\(error)")
    #expect(try file.reading(for: base, options: .init(leavesOutVectors: true)).leftOut == keys)
  }

  @Test(
    "forms that are not read are called by name, before anything else",
    arguments: [
      (stem, "GLoRA", ["a1.weight", "a2.weight", "b1.weight", "b2.weight", "bm.weight"]),
      (stem, "(IA)³", ["on_input", "weight"]), (stem, "OFT or BOFT", ["oft_R.weight"]),
      ("oft_unet_mid_block_attentions_0_proj_in", "OFT or BOFT", ["alpha", "oft_blocks"]),
      (stem, "T-LoRA", ["alpha", "lambda_layer", "p_layer.weight", "q_layer.weight"]),
      ("lycoris_mid_block_attentions_0_proj_in", "(IA)³", ["on_input", "weight"]),
    ] as [(String, String, [String])])
  func unsupported(stem: String, form: String, parts: [String]) throws {
    let strangers = (0..<12).map { ("\(stem.prefix { $0 != "_" })_unet_a\($0).foo", Tensor.ones([1])) }
    for others in [[], strangers] {
      let tensors = OrderedDictionary(uniqueKeysWithValues: parts.map { ("\(stem).\($0)", Tensor.ones([2, 2])) } + others)
      let error = try #require(throws: AdapterFileError.self) { try file(tensors) }
      #expect(error.description.contains(":\n  \(stem) is \(form), which is not read; have the tool"), "\(error)")
      #expect(others.isEmpty == !error.description.contains("unknown key"), "every other key is understood: \(error)")
    }
  }

  @Test("weights of a whole model are no (IA)³ of it")
  func checkpoints() throws {
    for prefix in ["diffusion_model", "unet"] {
      let error = try #require(throws: AdapterFileError.self) {
        try file(["\(prefix).middle_block.1.proj_in.weight": random(4, 4), "\(prefix).middle_block.1.proj_in.bias": random(4)])
      }
      #expect(error.description.contains("not a LoRA file of a known dialect"), "\(error)")
    }
  }

  // MARK: OneTrainer's OMI format

  static let modules = [
    ("unet.input_blocks.4.1.transformer_blocks.0.attn1.to_q", "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"),
    ("unet.output_blocks.2.2.conv", "unet.up_blocks.0.upsamplers.0.conv"),
    ("clip_l.text_model.encoder.layers.0.mlp.fc1", "text_encoder.text_model.encoder.layers.0.mlp.fc1"),
    ("clip_g.text_model.encoder.layers.31.mlp.fc1", "text_encoder_2.text_model.encoder.layers.31.mlp.fc1"),
  ]

  @Test("OMI has the original checkpoint's names with dots")
  func openModelInitiative() throws {
    let base = ModuleNames.stableDiffusionXL
    var tensors: OrderedDictionary<String, Tensor> = ["bundle_emb.<cat>.clip_l": random(2, 4)]
    for (stem, path) in Self.modules {
      let shape = base.shapes[path]!
      tensors["\(stem).lora_down.weight"] = .randn([2] + shape.dropFirst(), generator: generator)
      tensors["\(stem).lora_up.weight"] = .randn([shape[0], 2] + shape.dropFirst(2).map { _ in 1 }, generator: generator)
      tensors["\(stem).alpha"] = Tensor(1)
    }
    let found = try file(tensors)
    #expect(found.dialect.name == "omi" && found.embeddings.count == 1)
    let reading = try found.reading(for: base, options: .init(leavesOutVectors: true))
    #expect(Set(reading.adapter.factors.keys) == Set(Self.modules.map(\.1)))
    #expect(reading.adapter.factors.values.allSatisfy { $0.scale == 0.5 })
    // Other forms and DoRA have the same names there; alphas and magnitudes alone are diffusers', too.
    let stem = Self.modules[0].0
    let other = try file([
      "\(stem).hada_w1_a": random(4, 1), "\(stem).hada_w1_b": random(1, 4), "\(stem).hada_w2_a": random(4, 1),
      "\(stem).hada_w2_b": random(1, 4), "\(stem).dora_scale": random(4, 1),
    ])
    #expect(other.dialect.name == "omi" && other.layers.values.map(\.formName) == ["LoHa with DoRA"])
    #expect(Dialects.all.filter { $0.claims("unet.conv_in.alpha") || $0.claims("unet.conv_in.dora_scale") }.isEmpty)
  }
}
