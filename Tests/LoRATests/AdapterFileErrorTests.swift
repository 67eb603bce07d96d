import LoRA
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

/// What a user reads when a file is not what it should be.
@Suite struct AdapterFileErrorTests {
  let base = ModuleNames.stableDiffusionXL
  let folder: TemporaryFolder
  let path: String
  static let stem = "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q"

  init() throws {
    folder = try TemporaryFolder()
    path = folder("bad.safetensors")
  }

  /// One sound layer, to be spoilt.
  private var layer: OrderedDictionary<String, Tensor> {
    [
      "\(Self.stem).lora_down.weight": Tensor.ones([2, 4]), "\(Self.stem).lora_up.weight": Tensor.ones([4, 2]),
      "\(Self.stem).alpha": Tensor(2),
    ]
  }

  private func error(_ tensors: OrderedDictionary<String, Tensor>) throws -> String {
    try saveSafeTensors(tensors, to: path, overwrite: true)
    let error = try #require(throws: AdapterFileError.self) { try AdapterFile.read(path, for: base) }
    #expect(error.description.hasPrefix("\(path): "))
    return error.description
  }

  private func error(_ change: (inout OrderedDictionary<String, Tensor>) -> Void) throws -> String {
    var tensors = layer
    change(&tensors)
    return try error(tensors)
  }

  @Test func soundLayer() throws {
    try saveSafeTensors(layer, to: path)
    #expect(try AdapterFile.read(path, for: base).factors.count == 1)
  }

  @Test func unknownKey() throws {
    let message = try error { $0["\(Self.stem).lora_side.weight"] = Tensor.ones([2, 2, 3, 3]) }
    #expect(message.contains("not a sound LoRA file of the dialect kohya"))
    #expect(message.contains("unknown key \(Self.stem).lora_side.weight"))
  }

  @Test func missingHalf() throws {
    #expect(try error { $0["\(Self.stem).lora_up.weight"] = nil }.contains("\(Self.stem) lacks \(Self.stem).lora_up.weight"))
    #expect(
      try error { $0["lora_unet_middle_block_1_proj_in.alpha"] = Tensor(1) }
        .contains("lacks lora_unet_middle_block_1_proj_in.lora_down.weight and lora_unet_middle_block_1_proj_in.lora_up.weight"))
  }

  @Test func ranks() throws {
    let expected = "expected [rank, in] and [out, rank] with one rank of at least 1"
    let mismatch = try error { $0["\(Self.stem).lora_up.weight"] = Tensor.ones([4, 3]) }
    #expect(mismatch.contains("has down [2, 4] and up [4, 3], \(expected)"))
    let zero = try error {
      $0["\(Self.stem).lora_down.weight"] = Tensor.ones([0, 4])
      $0["\(Self.stem).lora_up.weight"] = Tensor.ones([4, 0])
    }
    #expect(zero.contains("has down [0, 4] and up [4, 0], \(expected)"))
  }

  @Test func alphas() throws {
    #expect(
      try error { $0["\(Self.stem).alpha"] = Tensor.ones([2]) }
        .contains("\(Self.stem).alpha has the shape [2], expected a single number"))
    #expect(try error { $0["\(Self.stem).alpha"] = Tensor(.nan) }.contains("\(Self.stem).alpha holds infinite numbers or NaN"))
  }

  @Test func numbers() throws {
    #expect(
      try error { $0["\(Self.stem).lora_down.weight"] = Tensor([1, 2, 3, .infinity, 1, 1, 1, 1] as [Float], shape: [2, 4]) }
        .contains("\(Self.stem).lora_down.weight holds infinite numbers or NaN"))
    #expect(
      try error { $0["\(Self.stem).lora_down.weight"] = Tensor.ones([2, 4], dtype: .int64) }
        .contains("\(Self.stem).lora_down.weight holds int64, expected floating-point numbers"))
  }

  @Test("everything that is wrong is said at once")
  func allDefects() throws {
    let message = try error {
      $0["\(Self.stem).lora_up.weight"] = nil
      for index in 0..<12 { $0["lora_unet_mystery_\(index).haha"] = Tensor.ones([1]) }
    }
    #expect(message.contains("unknown key lora_unet_mystery_0.haha"))
    #expect(message.contains("… and 3 more"))
  }

  @Test func unrecognizedAndMixed() throws {
    let stranger = try error(["a.weight": .ones([1]), "b.weight": .ones([1])])
    #expect(stranger.contains("not a LoRA file of a known dialect: none of its 2 keys is, such as\n  a.weight\n  b.weight"))
    #expect(stranger.contains("kohya (") && stranger.contains("diffusers ("))
    let mixed = try error { $0["unet.conv_in.lora_A.weight"] = Tensor.ones([1, 4, 3, 3]) }
    #expect(mixed.contains("the 4 keys are of more than one dialect"))
    #expect(mixed.contains("kohya: 3 keys such as \(Self.stem).alpha"))
    #expect(mixed.contains("diffusers: 1 keys such as unet.conv_in.lora_A.weight"))
    #expect(try error([:]).contains("there is no LoRA layer in it"))
  }

  @Test("SGM and diffusers names for one layer in one file")
  func twice() throws {
    let other = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    let message = try error {
      $0["\(other).lora_down.weight"] = Tensor.ones([2, 4])
      $0["\(other).lora_up.weight"] = Tensor.ones([4, 2])
    }
    #expect(
      message.contains(
        "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q is changed twice, as \(other) and \(Self.stem)")
        || message.contains(
          "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q is changed twice, as \(Self.stem) and \(other)")
    )
  }

  @Test func twoAlphas() throws {
    let stem = "unet.mid_block.attentions.0.proj_in"
    try saveSafeTensors(
      ["\(stem).lora_A.weight": .ones([2, 4]), "\(stem).lora_B.weight": .ones([4, 2]), "\(stem).alpha": Tensor(3)],
      metadata: ["lora_adapter_metadata": #"{"unet.lora_alpha": 5}"#], to: path)
    let error = try #require(throws: AdapterFileError.self) { try AdapterFile.read(path, for: base) }
    #expect(error.description.contains("\(stem) has alpha 3.0 as a tensor and 5.0 in the metadata"))
  }

  @Test("a LoRA for SD 1.5 on SDXL: paths, shapes and both families are named")
  func otherBase() throws {
    let other = ModuleNames.stableDiffusion1
    let paths = try Targets.attention.paths(in: other)
    try AdapterFile.write(randomAdapter(paths, of: other), to: path, as: Dialects.diffusers, for: other)
    let error = try #require(throws: AdapterFileError.self) { try AdapterFile.read(path, for: base) }
    #expect(error.description.contains("not made for this base model"))
    #expect(
      error.description.contains(
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k: the file is for a weight [4, 768], "
          + "the model's is [4, 2048]"))
    #expect(
      error.description.contains(
        "The LoRA looks like Stable Diffusion 1.x (cross-attention width 768), "
          + "the base model is Stable Diffusion XL (cross-attention width 2048)."))
  }

  @Test func noMatchingLayer() throws {
    let stem = "lora_unet_double_blocks_0_img_attn_qkv"
    let message = try error(["\(stem).lora_down.weight": .ones([2, 4]), "\(stem).lora_up.weight": .ones([4, 2])])
    #expect(message.contains("not made for this base model (1 of 1 layers do not fit)"))
    #expect(message.contains("no layer of the base model is called \(stem)"))
    #expect(message.contains("The LoRA looks like nothing known"))
  }

  @Test func someLayersUnknown() throws {
    let message = try error {
      $0["lora_unet_middle_block_9_proj_in.lora_down.weight"] = Tensor.ones([2, 4])
      $0["lora_unet_middle_block_9_proj_in.lora_up.weight"] = Tensor.ones([4, 2])
    }
    #expect(message.contains("no layer of the base model is called lora_unet_middle_block_9_proj_in"))
  }

  @Test("linear factors fit a 1×1 convolution and the other way round, but no other shape")
  func trailingOnes() throws {
    let other = ModuleNames.stableDiffusion1
    let stem = "lora_unet_mid_block_attentions_0_proj_in"
    try saveSafeTensors(["\(stem).lora_down.weight": .ones([2, 4]), "\(stem).lora_up.weight": .ones([4, 2])], to: path)
    let factors = try #require(try AdapterFile.read(path, for: other).factors["unet.mid_block.attentions.0.proj_in"])
    #expect(factors.down.shape == [2, 4, 1, 1] && factors.up.shape == [4, 2, 1, 1] && factors.alpha == 2)
    let mine = try error([
      "\(Self.stem).lora_down.weight": .ones([2, 4, 3, 3]), "\(Self.stem).lora_up.weight": .ones([4, 2, 1, 1]),
    ])
    #expect(mine.contains("the file is for a weight [4, 4, 3, 3], the model's is [4, 4]"))
  }

  @Test func writing() throws {
    var adapter = randomAdapter(["unet.mid_block.attentions.0.proj_in"], of: base)
    try AdapterFile.write(adapter, to: path, as: Dialects.kohya, for: base, dtype: .float16)
    #expect(try AdapterFile.read(path, for: base).factors.values[0].down.dtype == .float16)
    #expect(throws: (any Error).self) { try AdapterFile.write(adapter, to: path, as: Dialects.kohya, for: base) }

    let factors = adapter.factors.values[0]
    adapter.factors.values[0] = LowRankFactors(down: factors.down * 1e6, up: factors.up * 1e6, alpha: 2)
    let overflow = try #require(throws: AdapterFileError.self) {
      try AdapterFile.write(adapter, to: path, as: Dialects.kohya, for: base, dtype: .float16, overwrite: true)
    }
    #expect(overflow.description.contains("and files are read with numbers up to 65504.0; give it a smaller weight"))
    // What one half holds too much of goes to the other, whatever the type.
    adapter.factors.values[0] = LowRankFactors(down: factors.down * 1e-6, up: factors.up * 1e6, alpha: 2)
    for dtype in [DType.float32, .float16] {
      try AdapterFile.write(adapter, to: path, as: Dialects.kohya, for: base, dtype: dtype, overwrite: true)
      let read = try AdapterFile.read(path, for: base).factors.values[0].delta()
      #expect(difference(read, adapter.factors.values[0].delta()) <= (dtype == .float32 ? 1e-6 : 2e-3))
    }
    let stranger = try #require(throws: AdapterFileError.self) {
      try AdapterFile.write(
        Adapter(factors: ["unet.elsewhere": factors]), to: path, as: Dialects.kohya, for: base, overwrite: true)
    }
    #expect(stranger.description.contains("no layer of the base model is called unet.elsewhere"))
    #expect(throws: AdapterFileError.self) {
      try AdapterFile.write(Adapter(factors: [:]), to: folder("none"), as: Dialects.kohya, for: base)
    }
    #expect(try AdapterFile.read(path, for: base).factors.count == 1, "the first file is still there")
  }
}
