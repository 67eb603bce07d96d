import LoRA
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

/// How strong a LoRA of another tool is, whatever says so: its alphas, the types of its halves, the names of its layers.
@Suite struct ForeignScaleTests {
  static let path = "unet.mid_block.attentions.0.proj_in"
  static let stem = "lora_unet_mid_block_attentions_0_proj_in"
  let base = ModuleNames([path: [48, 40]])
  let folder: TemporaryFolder
  let generator = Generator(seed: 6)

  init() throws { folder = try TemporaryFolder() }

  private func random(_ shape: Int..., scale: Double = 1, dtype: DType = .float32) -> Tensor {
    (Tensor.randn(shape, generator: generator) * scale).to(dtype: dtype)
  }

  private func file(
    _ tensors: OrderedDictionary<String, Tensor>, metadata: OrderedDictionary<String, String> = [:]
  ) throws -> AdapterFile {
    try saveSafeTensors(tensors, metadata: metadata, to: folder("a.safetensors"), overwrite: true)
    return try AdapterFile(path: folder("a.safetensors"))
  }

  // MARK: alphas

  /// A file of rank 4 with the keys of a module with injected layers.
  private func bareFile(metadata: OrderedDictionary<String, String>) throws -> AdapterFile {
    let block = "down_blocks.0.attentions.0.transformer_blocks.0"
    let modules = ["\(block).attn1.to_q", "\(block).attn2.to_k", "down_blocks.0.resnets.0.conv1"]
    let adapter = randomAdapter(modules.map { "unet.\($0)" }, of: .stableDiffusion1, ranks: [4])
    let tensors = zip(modules, adapter.factors.values).flatMap { module, factors in
      [("\(module).lora_A.weight", factors.down), ("\(module).lora_B.weight", factors.up)]
    }
    return try file(OrderedDictionary(uniqueKeysWithValues: tensors), metadata: metadata)
  }

  // rsLoRA's 16 / √4 is 32 / 4.
  @Test("diffusers' save_lora_adapter states one LoraConfig of no component", arguments: [(false, 16.0), (true, 32.0)])
  func saveLoRAAdapter(usesRootOfRank: Bool, alpha: Double) throws {
    let configuration = """
      {"alpha_pattern": {}, "lora_alpha": 16, "peft_type": "LORA", "r": 4, "rank_pattern": {}, "use_rslora": \(usesRootOfRank)}
      """
    let stated = try bareFile(metadata: ["format": "pt", "lora_adapter_metadata": configuration])
    #expect(stated.dialect.name == "peft" && stated.layers.count == 3 && stated.remarks.isEmpty, "\(stated.remarks)")
    #expect(stated.layers.values.allSatisfy { $0.alpha == alpha }, "\(stated.layers.values.map(\.alpha))")
    let adapter = try stated.adapter(for: .stableDiffusion1)
    #expect(adapter.factors.values.map(\.scale) == [alpha / 4, alpha / 4, alpha / 4])
  }

  @Test("without that metadata a remark says that alphas are taken to be the ranks")
  func silentMetadata() throws {
    let silent = try bareFile(metadata: ["format": "pt"])
    #expect(silent.layers.values.map(\.alpha) == [4, 4, 4])
    #expect(
      silent.remarks == [
        "there is no adapter_config.json beside the file that says the alphas; they are taken to be the ranks"
      ])
  }

  @Test("a file in diffusers' dialect means the same to readers that look for no alphas")
  func diffusersWithoutAlphas() throws {
    let base = ModuleNames.stableDiffusionXL
    let paths = [
      "unet.conv_in", "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
      "text_encoder.text_model.encoder.layers.0.mlp.fc1",
    ]
    let adapter = randomAdapter(paths, of: base, ranks: [8], alphas: [1, 1, 0.7])
    try AdapterFile.write(adapter, to: folder("b.safetensors"), as: Dialects.diffusers, for: base)
    let written = try SafeTensorsCollection(path: folder("b.safetensors"))
    for path in paths {
      let halves = try ["A", "B"].map { try written.tensor("\(path).lora_\($0).weight") }
      let plain = LowRankFactors(down: halves[0], up: halves[1], alpha: 8)
      let error = difference(plain.delta(dtype: .float64), adapter.delta(path, dtype: .float64))
      #expect(error < 1e-6, "\(path): \(error)")
    }
    // The metadata says the same.
    let found = try AdapterFile.read(folder("b.safetensors"), for: base)
    #expect(found.factors.values.allSatisfy { $0.alpha == 8 })
    expectSameDeltas(found, adapter, within: 1e-6)
  }

  // MARK: types

  @Test("numbers of bfloat16 that are too small for float16 go from one half to the other")
  func balancedHalves() throws {
    let factors = LowRankFactors(
      down: random(4, 40, scale: 0.3, dtype: .bfloat16), up: random(48, 4, scale: 2e-7, dtype: .bfloat16), alpha: 4)
    let exact = factors.delta(dtype: .float64)
    try AdapterFile.write(
      Adapter(factors: [Self.path: factors]), to: folder("b.safetensors"), as: Dialects.kohya, for: base, dtype: .float16)
    let found = try #require(try AdapterFile.read(folder("b.safetensors"), for: base).factors[Self.path])
    #expect(found.down.dtype == .float16 && found.up.dtype == .float16)
    let error = difference(found.delta(dtype: .float64), exact)
    #expect(error < 1e-3, "\(error)")
    // What the test is about: as they are, the halves do not survive.
    let unbalanced = difference(factors.to(dtype: .float16, device: .cpu).delta(dtype: .float64), exact)
    #expect(unbalanced > 0.01, "\(unbalanced)")
  }

  @Test("halves of two types are written in the one that holds both")
  func halvesOfTwoTypes() throws {
    let reading = try file([
      "\(Self.stem).lora_down.weight": random(4, 40, dtype: .float16), "\(Self.stem).lora_up.weight": random(48, 4, scale: 1e-6),
    ]).reading(for: base)
    #expect(reading.dtypes == [Self.path: .float32])
    for dtypes in [reading.dtypes, [:]] {
      try AdapterFile.write(
        reading.adapter, to: folder("b.safetensors"), as: Dialects.kohya, for: base, dtypes: dtypes, overwrite: true)
      let found = try AdapterFile.read(folder("b.safetensors"), for: base)
      #expect(found.factors.values.allSatisfy { $0.down.dtype == .float32 && $0.up.dtype == .float32 })
      expectSameDeltas(found, reading.adapter, within: 1e-6)
    }
  }

  @Test(
    "the type that holds the numbers of two",
    arguments: [
      (.float16, .float16, .float16), (.bfloat16, .bfloat16, .bfloat16), (.float16, .bfloat16, .float32),
      (.float16, .float32, .float32), (.bfloat16, .float32, .float32), (.float16, .float64, .float64),
      (.float32, .float64, .float64),
    ] as [(DType, DType, DType)])
  func joinedTypes(first: DType, second: DType, expected: DType) {
    #expect(first.joined(with: second) == expected)
    #expect(second.joined(with: first) == expected)
  }

  // MARK: names and forms

  @Test("OneTrainer's name of Stable Diffusion 1.5's first upsampler is read, and the right one", arguments: [1, 2])
  func upsamplerOfOpenModelInitiative(number: Int) throws {
    let stem = "unet.output_blocks.2.\(number).conv"
    let file = try file([
      "\(stem).lora_down.weight": random(2, 4, 3, 3), "\(stem).lora_up.weight": random(4, 2, 1, 1), "\(stem).alpha": Tensor(1),
    ])
    #expect(file.dialect.name == "omi")
    let adapter = try file.adapter(for: .stableDiffusion1)
    #expect(Array(adapter.factors.keys) == ["unet.up_blocks.0.upsamplers.0.conv"])
    #expect(adapter.factors.values.map(\.scale) == [0.5])
  }

  @Test("what is missing for DoRA is told in the file's order, and of a sound file")
  func layersOfDoRA() throws {
    // By their names, 10 and 11 come before 1, and so they do in the file.
    let paths = (0..<12).map { "unet.mid_block.attentions.0.transformer_blocks.\($0).attn1.to_q" }
    let stems = (0..<12).map { "lora_unet_mid_block_attentions_0_transformer_blocks_\($0)_attn1_to_q" }
    let tensors = stems.flatMap { stem in
      [
        ("\(stem).lora_down.weight", random(2, 5)), ("\(stem).lora_up.weight", random(6, 2)),
        ("\(stem).dora_scale", random(6, 1)),
      ]
    }
    let file = try file(OrderedDictionary(uniqueKeysWithValues: tensors))
    #expect(Array(file.layers.keys) == stems.sorted())
    let lines = stems.sorted().prefix(10).map { stem in
      "  \(stem) is DoRA, which depends on the base model's weights; give the base model (--base)"
    }
    let expected = "\(file.path): not to be used as it is:\n\(lines.joined(separator: "\n"))\n  … and 2 more"
    let base = ModuleNames(OrderedDictionary(uniqueKeysWithValues: paths.map { ($0, [6, 5]) }))
    // Without a base, and with one whose layers are known and whose weights are not; the second time as the first.
    for read in [{ try file.unresolved().adapter }, { try file.adapter(for: base) }] {
      for _ in 0..<2 {
        let error = try #require(throws: AdapterFileError.self) { try read() }
        #expect(error.description == expected)
      }
    }
  }
}
