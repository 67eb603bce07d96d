import Foundation
import LoRA
import OrderedCollections
import TestFiles
import Testing
import Torch

@Suite struct DialectTests {
  static let bases: [(String, ModuleNames)] = [("SDXL", .stableDiffusionXL), ("SD 1.5", .stableDiffusion1)]
  /// What holds factors; whole matrices of ziplora-pytorch are read only.
  static let ofFactors = Dialects.all.map(\.name).filter { $0 != "ziplora-pytorch" }
  /// What does not say which model a layer is of.
  static let ofOneModel = ["peft", "lycoris"]

  @Test("writing in any dialect and reading back gives the same ΔW", arguments: ofFactors, 0..<2)
  func readIsTheInverseOfWrite(dialect: String, base: Int) throws {
    let (name, base) = Self.bases[base]
    let dialect = try #require(Dialects.named(dialect))
    // Each seventh layer meets every kind; the ranks and alphas are mixed and no scale is a power of two.
    let isOfOneModel = Self.ofOneModel.contains(dialect.name)
    let paths = base.paths.filter { !isOfOneModel || Component(of: $0) == .unet }.enumerated()
      .filter { $0.offset % 7 == 0 }.map(\.element)
    let adapter = randomAdapter(paths, of: base, ranks: [1, 3, 4], alphas: [1, 0.7, 5, 4])
    let folder = try TemporaryFolder()
    try AdapterFile.write(adapter, to: folder("a.safetensors"), as: dialect, for: base)
    let found = try AdapterFile.read(folder("a.safetensors"), for: base)
    #expect(Array(found.factors.keys) == paths, "the order is the model's")
    // kohya's files have one alpha for all layers, so some factors are rounded once more.
    expectSameDeltas(found, adapter, within: 2e-7)
    // The same adapter is the same file.
    try AdapterFile.write(adapter, to: folder("b.safetensors"), as: dialect, for: base, overwrite: true)
    let files = try ["a", "b"].map { try Data(contentsOf: URL(filePath: folder("\($0).safetensors"))) }
    #expect(files[0] == files[1], "\(name)")
    // Through every other dialect and back.
    for other in Dialects.all where Self.ofFactors.contains(other.name) {
      if !isOfOneModel, Self.ofOneModel.contains(other.name) { continue }
      try AdapterFile.write(found, to: folder("c.safetensors"), as: other, for: base, overwrite: true)
      let converted = try AdapterFile.read(folder("c.safetensors"), for: base)
      try AdapterFile.write(converted, to: folder("d.safetensors"), as: dialect, for: base, overwrite: true)
      expectSameDeltas(try AdapterFile.read(folder("d.safetensors"), for: base), adapter, within: 4e-7)
    }
  }

  /// Names that sd-scripts and diffusers give to the same layer (PEERS of the field: sd-scripts library/sdxl_model_util.py;
  /// diffusers loaders/lora_conversion_utils.py).
  static let goldenNames: [(Int, String, String)] = [
    (0, "unet.conv_in", "lora_unet_input_blocks_0_0"),
    (0, "unet.conv_out", "lora_unet_out_2"),
    (0, "unet.time_embedding.linear_2", "lora_unet_time_embed_2"),
    (0, "unet.add_embedding.linear_1", "lora_unet_label_emb_0_0"),
    (0, "unet.down_blocks.0.resnets.1.conv1", "lora_unet_input_blocks_2_0_in_layers_2"),
    (0, "unet.down_blocks.0.downsamplers.0.conv", "lora_unet_input_blocks_3_0_op"),
    (0, "unet.down_blocks.1.resnets.0.time_emb_proj", "lora_unet_input_blocks_4_0_emb_layers_1"),
    (0, "unet.down_blocks.1.resnets.0.conv_shortcut", "lora_unet_input_blocks_4_0_skip_connection"),
    (
      0, "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
      "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    ),
    (0, "unet.down_blocks.1.downsamplers.0.conv", "lora_unet_input_blocks_6_0_op"),
    (
      0, "unet.down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_out.0",
      "lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_out_0"
    ),
    (0, "unet.mid_block.resnets.0.conv2", "lora_unet_middle_block_0_out_layers_3"),
    (
      0, "unet.mid_block.attentions.0.transformer_blocks.3.ff.net.0.proj",
      "lora_unet_middle_block_1_transformer_blocks_3_ff_net_0_proj"
    ),
    (0, "unet.mid_block.resnets.1.conv1", "lora_unet_middle_block_2_in_layers_2"),
    (0, "unet.up_blocks.0.attentions.2.proj_in", "lora_unet_output_blocks_2_1_proj_in"),
    (0, "unet.up_blocks.0.upsamplers.0.conv", "lora_unet_output_blocks_2_2_conv"),
    (0, "unet.up_blocks.1.attentions.0.proj_out", "lora_unet_output_blocks_3_1_proj_out"),
    (0, "unet.up_blocks.1.upsamplers.0.conv", "lora_unet_output_blocks_5_2_conv"),
    (0, "unet.up_blocks.2.resnets.2.conv2", "lora_unet_output_blocks_8_0_out_layers_3"),
    (
      0, "text_encoder.text_model.encoder.layers.11.self_attn.q_proj",
      "lora_te1_text_model_encoder_layers_11_self_attn_q_proj"
    ),
    (0, "text_encoder_2.text_model.encoder.layers.31.mlp.fc2", "lora_te2_text_model_encoder_layers_31_mlp_fc2"),
    (
      1, "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
      "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    ),
    (1, "unet.up_blocks.3.attentions.2.proj_in", "lora_unet_up_blocks_3_attentions_2_proj_in"),
    (1, "text_encoder.text_model.encoder.layers.0.mlp.fc1", "lora_te_text_model_encoder_layers_0_mlp_fc1"),
  ]

  @Test("kohya's name of a layer", arguments: goldenNames)
  func kohyaNames(base: Int, path: String, stem: String) {
    #expect(Dialects.kohya.spellings(in: Self.bases[base].1)[path]?.first == stem)
  }

  @Test("PEFT gets the names of transformers 5, which has text_model in the second text encoder only")
  func namesOfTextEncodersInPEFT() {
    let spellings = Dialects.named("peft")?.spellings(in: .stableDiffusionXL)
    let layer = "text_model.encoder.layers.0.mlp.fc1"
    #expect(spellings?["text_encoder.\(layer)"]?.first == "base_model.model.encoder.layers.0.mlp.fc1")
    #expect(spellings?["text_encoder.\(layer)"]?.contains("base_model.model.\(layer)") == true, "is read as well")
    #expect(spellings?["text_encoder_2.\(layer)"]?.first == "base_model.model.\(layer)")
  }

  @Test("SD 1.5 files may have the original names, too; there one upsampler stands where no attention is")
  func originalNamesOfStableDiffusion1() {
    let spellings = Dialects.kohya.spellings(in: .stableDiffusion1)
    #expect(spellings["unet.up_blocks.0.upsamplers.0.conv"]?.last == "lora_unet_output_blocks_2_1_conv")
    #expect(spellings["unet.up_blocks.1.upsamplers.0.conv"]?.last == "lora_unet_output_blocks_5_2_conv")
    // Parsed as text, input_blocks_1 is also the beginning of input_blocks_10 and 11.
    #expect(spellings["unet.down_blocks.3.resnets.0.conv1"]?.last == "lora_unet_input_blocks_10_0_in_layers_2")
    #expect(spellings["unet.down_blocks.0.resnets.0.conv1"]?.last == "lora_unet_input_blocks_1_0_in_layers_2")
  }

  @Test("no two layers of a component have the same name", arguments: Dialects.all.map(\.name), 0..<2)
  func namesAreUnique(dialect: String, base: Int) throws {
    let base = Self.bases[base].1
    let spellings = try #require(Dialects.named(dialect)).spellings(in: base)
    #expect(spellings.keys == base.paths)
    for component in Component.allCases {
      let stems = spellings.filter { Component(of: $0.key) == component }.values.flatMap { $0 }
      #expect(Set(stems).count == stems.count)
    }
  }

  @Test(
    "a LoRA that diffusers saved reads the same in both dialects", arguments: ["attention", "text", "convolution"])
  func goldens(name: String) throws {
    let base = try ModuleNames.golden("sdxl")
    let files = try ["peft", "kohya"].map { try AdapterFile(path: "\(TestFiles.goldens)/adapters/\(name)/\($0).safetensors") }
    #expect(files.map(\.dialect.name) == ["diffusers", "kohya"])
    let adapters = try files.map { try $0.adapter(for: base) }
    #expect(adapters[0].factors.count == ["attention": 136, "text": 228, "convolution": 187][name])
    #expect(adapters[0].factors.keys == adapters[1].factors.keys)
    for (path, factors) in adapters[0].factors {
      let other = try #require(adapters[1].factors[path])
      #expect(factors.down.equals(other.down) && factors.up.equals(other.up), "\(path)")
      #expect(factors.alpha == 2 && other.alpha == 2 && factors.scale == 0.5, "\(path)")
    }
  }

  @Test("written files have the keys that diffusers and sd-scripts write", arguments: ["attention", "text", "convolution"])
  func writtenKeys(name: String) throws {
    let base = try ModuleNames.golden("sdxl")
    let source = "\(TestFiles.goldens)/adapters/\(name)"
    let adapter = try AdapterFile.read("\(source)/kohya.safetensors", for: base)
    let folder = try TemporaryFolder()
    try AdapterFile.write(adapter, to: folder("kohya.safetensors"), as: Dialects.kohya, for: base)
    #expect(try keys(of: folder("kohya.safetensors")) == keys(of: "\(source)/kohya.safetensors"))
    try AdapterFile.write(adapter, to: folder("peft.safetensors"), as: Dialects.diffusers, for: base)
    // transformers 5 has dropped text_model from the first text encoder; diffusers takes it with and without.
    let expected = try keys(of: "\(source)/peft.safetensors").map {
      $0.replacing("text_encoder.encoder", with: "text_encoder.text_model.encoder")
    }
    #expect(try keys(of: folder("peft.safetensors")) == expected.sorted())
  }

  @Test("every key of a golden file belongs to exactly one dialect", arguments: ["peft", "kohya"])
  func claims(file: String) throws {
    for key in try keys(of: "\(TestFiles.goldens)/adapters/text/\(file).safetensors") {
      #expect(Dialects.all.filter { $0.claims(key) }.count == 1, "\(key)")
    }
  }

  @Test func keysRoundTrip() throws {
    for dialect in Dialects.all {
      for stems in dialect.spellings(in: .stableDiffusionXL).values.prefix(50) {
        for part in [AdapterKey.Part.down, .up, .alpha] where dialect.name != "ziplora-pytorch" {
          #expect(dialect.parse(dialect.key(stems[0], part)) == AdapterKey(stems[0], part))
        }
      }
    }
  }
}

@Suite struct MetadataTests {
  let base = ModuleNames.stableDiffusionXL
  let paths = [
    "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
    "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k",
    "text_encoder.text_model.encoder.layers.0.mlp.fc1",
  ]

  /// Reads a diffusers file of rank 4 with this LoraConfig.
  private func alphas(_ configuration: String) throws -> [Double] {
    let adapter = randomAdapter(paths, of: base, ranks: [4])
    let tensors = adapter.factors.reduce(into: OrderedDictionary<String, Tensor>()) { tensors, layer in
      tensors["\(layer.key).lora_A.weight"] = layer.value.down
      tensors["\(layer.key).lora_B.weight"] = layer.value.up
    }
    let folder = try TemporaryFolder()
    let path = folder("a.safetensors")
    try saveSafeTensors(tensors, metadata: ["lora_adapter_metadata": configuration], to: path)
    let read = try AdapterFile.read(path, for: base)
    return paths.map { read.factors[$0]!.alpha }
  }

  @Test func alphaOfEachComponent() throws {
    // Where nothing is said, alpha is the rank.
    #expect(try alphas(#"{"unet.lora_alpha": 8}"#) == [8, 8, 4])
    #expect(try alphas(#"{"unet.lora_alpha": 8, "text_encoder.lora_alpha": 1.5}"#) == [8, 8, 1.5])
  }

  @Test func patterns() throws {
    #expect(try alphas(#"{"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn2.to_k": 3}}"#) == [8, 3, 4])
    #expect(
      try alphas(
        #"{"unet.alpha_pattern": {"^mid_block.attentions.0.transformer_blocks.0.attn1.to_q": 2}, "unet.lora_alpha": 8}"#)
        == [2, 8, 4])
    #expect(try alphas(#"{"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn[12]\\.to_(q|k)": 3}}"#) == [3, 3, 4])
    // The dot is any character, and ^ the beginning, as for Python's re.
    #expect(try alphas(#"{"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn2.to.k": 3}}"#) == [8, 3, 4])
    #expect(try alphas(#"{"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_.": 3}}"#) == [3, 3, 4])
    #expect(try alphas(#"{"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn..to_q": 3}}"#) == [3, 8, 4])
    #expect(
      try alphas(#"{"unet.lora_alpha": 8, "unet.alpha_pattern": {"^to_q": 3, "ttn1.to_q": 3, "n2.to_k": 3}}"#) == [8, 8, 4])
    // The first that fits, in the file's order.
    #expect(try alphas(#"{"unet.alpha_pattern": {"to_k": 3, "attn2.to_k": 5}, "unet.r": 4}"#)[1] == 3)
    #expect(try alphas(#"{"unet.alpha_pattern": {"attn2\\.to_k": 5, "to_k": 3}, "unet.r": 4}"#)[1] == 5)
    // peft's own default where a configuration does not say it.
    #expect(try alphas(#"{"unet.r": 4}"#) == [8, 8, 4])
  }

  @Test(
    "expressions of paths or their endings, as Python's re reads them",
    arguments: [
      (#"to_[qk]"#, [1, 1, 0]), (#"to_[^q]"#, [0, 1, 0]), (#"attn\d\.to_\w"#, [1, 1, 0]), (#".*"#, [1, 1, 1]),
      (#"^mid_block.*(to_q|to_v)$"#, [1, 0, 0]), (#"^attn1\.to_q"#, [0, 0, 0]), (#"o_q|fc\d+"#, [0, 0, 1]),
      (#"(?:\w+\.)+to_q"#, [1, 0, 0]),
      (#"attn[0-9]{1}.to_.{1,3}?"#, [1, 1, 0]), (#"(layers\.\d+\.)?mlp\.fc[12]"#, [0, 0, 1]), (#"fc1{2,}"#, [0, 0, 0]),
      (#"|x"#, [0, 0, 0]), (#"to_q\b"#, nil), (#"(?=to_q)to_q"#, nil), (#"(to_q)\1"#, nil), (#"*"#, nil), (#"to_q**"#, nil),
      (#"a{2"#, nil),
      (#"[z-a]"#, nil), (#"[]"#, nil), (#")"#, nil), (#"((a{200}){200}){200}"#, nil), (#"((){60000}){60000}"#, nil),
      // Ways to match that a matcher which tries one after the other would never be through with.
      (#"(.*.*)*x"#, [0, 0, 0]), (#"(.*)*.*.*.*.*.*.*.*1"#, [0, 0, 1]), (#"(([a-z_]+|\w+)+\W?)+!"#, [0, 0, 0]),
    ] as [(String, [Int]?)])
  func expressions(expression: String, matches: [Int]?) throws {
    let escaped = expression.replacing("\\", with: "\\\\")
    let text = """
      {"unet.lora_alpha": 4, "unet.alpha_pattern": {"\(escaped)": 3},
       "text_encoder.lora_alpha": 4, "text_encoder.alpha_pattern": {"\(escaped)": 3}}
      """
    guard let matches else {
      let error = try #require(throws: AdapterFileError.self) { try alphas(text) }
      #expect(error.description.contains("alpha_pattern that is no regular expression: \(expression)\n(groups, choices, sets"))
      return
    }
    #expect(try alphas(text) == matches.map { $0 == 1 ? 3 : 4 })
  }

  @Test("rsLoRA divides alpha by the root of the rank")
  func rsLoRA() throws {
    #expect(try alphas(#"{"unet.lora_alpha": 8, "unet.use_rslora": true}"#) == [16, 16, 4])
  }

  @Test("starts that leave the base as it is", arguments: ["true", "false", "\"gaussian\"", "\"eva\"", "\"orthogonal\""])
  func starts(start: String) throws {
    #expect(try alphas(#"{"unet.lora_alpha": 8, "unet.init_lora_weights": \#(start)}"#) == [8, 8, 4])
  }

  @Test("starts that change the base", arguments: ["pissa", "corda", "OLoRA", "loftq", "lora_ga"])
  func startsOfAnotherBase(start: String) throws {
    let error = try #require(throws: AdapterFileError.self) { try alphas(#"{"unet.init_lora_weights": "\#(start)"}"#) }
    #expect(error.description.contains("save it again with peft's path_initial_model_for_weight_conversion"), "\(error)")
  }

  @Test func unusableMetadata() throws {
    for (text, message) in [
      ("{", "a.safetensors: the metadata lora_adapter_metadata is not a JSON object"),
      (#"{"unet.lora_alpha": "8"}"#, "has a unet.lora_alpha that is no number"),
      (#"{"unet.use_dora": true}"#, "attn1.to_q lacks the magnitudes of DoRA, which the metadata asks for (use_dora)"),
      (#"{"unet.alpha_pattern": {"to_q": "much"}}"#, "has no number for unet.alpha_pattern to_q"),
      (#"{"unet.alpha_pattern": {"to_(q": 1}}"#, "has an entry of unet.alpha_pattern that is no regular expression: to_(q"),
    ] {
      let error = try #require(throws: AdapterFileError.self) { try alphas(text) }
      #expect(error.description.contains(message), "\(error)")
    }
  }

  @Test("kohya's tools find what they look for, and nothing depends on the date")
  func kohyaMetadata() throws {
    let folder = try TemporaryFolder()
    var adapter = randomAdapter(paths, of: base, ranks: [4], alphas: [2])
    adapter.metadata = ["modelspec.title": "cat", "ss_network_dim": "999", "sshs_model_hash": "of the old file"]
    try AdapterFile.write(adapter, to: folder("a.safetensors"), as: Dialects.kohya, for: base)
    let metadata = try AdapterFile(path: folder("a.safetensors")).metadata
    #expect(metadata["ss_network_module"] == "networks.lora")
    #expect(metadata["ss_network_dim"] == "4", "what the file holds, not what the adapter came with")
    #expect(metadata["ss_network_alpha"] == "2.0")
    #expect(metadata["ss_base_model_version"] == "sdxl_base_v1-0")
    #expect(metadata["ss_v2"] == "False")
    #expect(metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora")
    #expect(metadata["modelspec.title"] == "cat" && metadata["sshs_model_hash"]?.count == 64, "not of the old file")
    let mixed = randomAdapter(paths, of: base, ranks: [4, 2], alphas: [2, 1])
    try AdapterFile.write(mixed, to: folder("b.safetensors"), as: Dialects.kohya, for: base)
    let file = try AdapterFile(path: folder("b.safetensors"))
    #expect(file.metadata["ss_network_dim"] == "Dynamic")
    // diffusers loses alphas that differ within a kohya file; two of the three layers have 2.
    #expect(file.layers.values.allSatisfy { $0.alpha == 2 } && file.metadata["ss_network_alpha"] == "2.0")
    let silenced = Adapter(factors: mixed.factors.mapValues { $0.scaled(by: 0) })
    try AdapterFile.write(silenced, to: folder("c.safetensors"), as: Dialects.kohya, for: base)
    let quiet = try AdapterFile(path: folder("c.safetensors"))
    #expect(quiet.layers.values.allSatisfy { $0.alpha == 1 && $0.norm == 0 }, "to sd-scripts alpha 0 is the rank")
  }

  @Test("what a file says of a base of the same family stays where it says more")
  func baseWithVPrediction() throws {
    let folder = try TemporaryFolder()
    let base = ModuleNames(["unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": [4, 1024]])
    var adapter = randomAdapter(Array(base.paths), of: base, ranks: [2], alphas: [2])
    func written(_ version: String, _ architecture: String) throws -> [String?] {
      adapter.metadata = ["ss_base_model_version": version, "modelspec.architecture": architecture]
      try AdapterFile.write(adapter, to: folder("a.safetensors"), as: Dialects.kohya, for: base, overwrite: true)
      let metadata = try AdapterFile(path: folder("a.safetensors")).metadata
      return [metadata["ss_base_model_version"], metadata["modelspec.architecture"]]
    }
    let ofVelocity = ["sd_v2_v", "stable-diffusion-v2-768-v/lora"]
    #expect(try written(ofVelocity[0], ofVelocity[1]) == ofVelocity)
    #expect(try written("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora") == ["sd_v2", "stable-diffusion-v2-512/lora"])
  }

  @Test("peft finds rank and alpha, which is the rank, whatever it was")
  func peftMetadata() throws {
    let folder = try TemporaryFolder()
    let adapter = randomAdapter(paths, of: base, ranks: [4, 4, 2], alphas: [2, 0.5, 2])
    try AdapterFile.write(adapter, to: folder("a.safetensors"), as: Dialects.diffusers, for: base)
    let text = try #require(try AdapterFile(path: folder("a.safetensors")).metadata["lora_adapter_metadata"])
    let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? NSDictionary)
    #expect(
      object == [
        "unet.r": 4, "unet.lora_alpha": 4, "unet.rank_pattern": [String: Int](), "unet.alpha_pattern": [String: Double](),
        "unet.target_modules": paths.prefix(2).map { String($0.dropFirst(5)) },
        "text_encoder.r": 2, "text_encoder.lora_alpha": 2, "text_encoder.rank_pattern": [String: Int](),
        "text_encoder.alpha_pattern": [String: Double](),
        "text_encoder.target_modules": ["encoder.layers.0.mlp.fc1"],
      ] as NSDictionary)
    #expect(!text.contains("4.0"), "ranks are integers")
  }
}
