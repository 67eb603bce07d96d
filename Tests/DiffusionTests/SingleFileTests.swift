import Crypto
import Diffusion
import Foundation
import LayerNames
import OrderedCollections
import SafeTensors
import TestFiles
import TestSupport
import Testing
import Tokenization
import Torch

@Suite struct SingleFileTests {
  @Test("one file gives the same tensors, tokens and settings as diffusers' folder", arguments: ["sdxl", "sd15"])
  func sameModel(name: String) throws {
    let checkpoint = try OriginalCheckpoint(name)
    let found = try DiffusionModel(try checkpoint.open())
    let expected = try DiffusionModel(folder: checkpoint.pipeline)
    #expect(found.stores.keys == expected.stores.keys)
    for part in expected.stores.keys { try expectEqual(found.stores[part], expected.stores[part]) }
    #expect(found.unet.configuration == expected.unet.configuration)
    #expect(found.schedule.configuration == expected.schedule.configuration)
    #expect(try checkpoint.open().projectionShapes() == projectionShapes(expected))
    #expect(try Checkpoint(path: checkpoint.pipeline).projectionShapes() == projectionShapes(expected))
    #expect(found.forceZerosForEmptyPrompt == expected.forceZerosForEmptyPrompt)
    for (a, b) in zip(found.textEncoders, expected.textEncoders) {
      #expect(a.tokenizer.encode("a cat") == b.tokenizer.encode("a cat"))
    }
    let sizes = SizeConditioning(height: 48, width: 48)
    #expect(
      found.conditioning(["a sbu cat"], sizes: sizes).states.equals(expected.conditioning(["a sbu cat"], sizes: sizes).states))
  }

  @Test("the OpenCLIP encoder of Stable Diffusion 2, and what its files have beyond the layers in use")
  func stableDiffusion2() throws {
    let folder = try TemporaryFolder()
    // A pipeline of parts that are like those of Stable Diffusion 2.
    for (part, golden) in [
      ("unet", "models/unet_sd2"), ("vae", "models/vae_sd"), ("text_encoder", "models/clip_text_sd15"),
      ("scheduler", "pipelines/sd15/scheduler"), ("tokenizer", "pipelines/sd15/tokenizer"),
    ] {
      try FileManager.default.copyItem(atPath: "\(goldens)/\(golden)", toPath: "\(folder.path)/\(part)")
    }
    let parts = try Checkpoint(path: folder.path)
    let (unet, text) = (try parts.unet().1, try parts.textEncoder().1)
    var tensors = try OriginalGolden("sd2.unet").originals(of: unet.parameters)
    tensors.merge(try OriginalGolden("sd2.text_encoder").originals(of: text.parameters)) { a, _ in a }
    let encoder = "cond_stage_model.model"
    for (name, tensor) in tensors where name.hasPrefix("\(encoder).transformer.resblocks.2.") {
      tensors[name.replacing("resblocks.2.", with: "resblocks.3.")] = tensor
    }
    tensors["\(encoder).text_projection"] = Tensor.ones([32, 24])
    tensors["\(encoder).logit_scale"] = Tensor(4.6)
    let path = "\(folder.path)/v2.safetensors"
    try saveSafeTensors(tensors, to: path)

    // The maker's configurations say what it predicts; the family's do not.
    let found = try #require(throws: LoadingError.self) {
      try DiffusionModel(Checkpoint(path: path, .init(vae: "\(folder.path)/vae", predictionType: .velocity)))
    }
    #expect(found.description.contains("does not fit Stable Diffusion 2.x"))
    #expect(found.misshapen.contains("\(encoder).token_embedding.weight: found [100, 32], expected [49408, 1024]"))
    let undecided = try #require(throws: CheckpointError.self) { try DiffusionModel(Checkpoint(path: path)) }
    #expect(undecided.description.contains("Stable Diffusion 2.x, which does not say what its U-Net predicts; choose with"))
    #expect(undecided.description.contains("--prediction-type: v_prediction for the models for 768 pixels"))

    let checkpoint = try Checkpoint(path: path, .init(vae: "\(folder.path)/vae", configuration: folder.path))
    try expectEqual(try checkpoint.unet().1, unet)
    try expectEqual(try checkpoint.textEncoder().1, text)
  }

  @Test("names in files of full size, as diffusers' conversion finds them")
  func publishedNames() throws {
    let families = OriginalFamily.all
    let json = try Data(contentsOf: URL(filePath: "\(goldens)/original/published.json"))
    let published = try JSONDecoder().decode([String: [String: PartOrName]].self, from: json)
    #expect(Set(published.keys) == Set(families.map(\.name)))
    for family in families {
      func check(_ part: String, _ prefix: String, _ names: [String], _ place: (String) -> OriginalParameter?) throws {
        let expected = try #require(published[family.name]?[part]?.part)
        let lines = try names.sorted().map { name in
          let place = try #require(place(name))
          return "\(name)\t\(prefix)\(place.key)\t\(place.form.letter)\n"
        }
        #expect(lines.count == expected.parameters)
        let digest = SHA256.hash(data: Data(lines.joined().utf8)).map { String(format: "%02x", $0) }.joined()
        #expect(digest == expected.sha256, "\(family.name) \(part)")
      }
      let unet = try parameters { try UNet2DConditionModel(family.unet, $0) }
      try check("unet", "model.diffusion_model.", unet, OriginalUNetNames(unet).parameter)
      let vae = try parameters { try AutoencoderKL(family.vae, $0) }
      let levels = family.vae.blockOutChannels.count
      try check("vae", "first_stage_model.", vae, OriginalAutoencoderNames(levels: levels).parameter)
      for (encoder, part) in zip(family.textEncoders, ["text_encoder", "text_encoder_2"]) {
        let names = try parameters { try CLIPTextModel(encoder.configuration, $0) }
        try check(part, encoder.prefix, names, encoder.place)
      }
    }
  }

  @Test("text encoders of 2022 without text_model, and projections as diffusers writes them")
  func variants() throws {
    var old = try OriginalCheckpoint("sd15")
    let renamed = old.tensors.map { ($0.replacing("transformer.text_model.", with: "transformer."), $1) }
    old.tensors = OrderedDictionary(uniqueKeysWithValues: renamed)
    let sd15 = try DiffusionModel(folder: old.pipeline)
    try expectEqual(try old.open().textEncoder().1, sd15.stores["text_encoder"])

    var converted = try OriginalCheckpoint("sdxl")
    let projection = "conditioner.embedders.1.model.text_projection"
    let removed = converted.tensors.removeValue(forKey: projection)
    let tensor = try #require(removed)
    converted.tensors["\(projection).weight"] = tensor.transposed(0, 1).contiguous()
    let sdxl = try DiffusionModel(folder: converted.pipeline)
    try expectEqual(try converted.open().textEncoder(1).1, sdxl.stores["text_encoder_2"])
  }

  @Test("what the U-Net predicts: keys, metadata, the family, and a choice that wins over all of them")
  func predictionType() throws {
    var checkpoint = try OriginalCheckpoint("sdxl")
    func schedule(
      _ chosen: NoiseSchedule.PredictionType? = nil, metadata: OrderedDictionary<String, String> = [:]
    ) throws -> NoiseSchedule.Configuration {
      try DiffusionModel(checkpoint.open(metadata: metadata) { $0.predictionType = chosen }).schedule.configuration
    }
    #expect(try schedule().predictionType == .epsilon)
    #expect(try schedule(.velocity).predictionType == .velocity)
    #expect(try schedule(metadata: ["modelspec.prediction_type": "v"]).predictionType == .velocity)
    #expect(try schedule(.epsilon, metadata: ["modelspec.prediction_type": "v"]).predictionType == .epsilon)
    checkpoint.tensors["v_pred"] = Tensor.empty([0])
    #expect(try schedule().predictionType == .velocity)
    #expect(try !schedule().rescaleBetasZeroSNR)
    #expect(try schedule(.epsilon).predictionType == .epsilon)
    checkpoint.tensors["ztsnr"] = Tensor.empty([0])
    #expect(try schedule().rescaleBetasZeroSNR)
    let error = try #require(throws: ConfigurationError.self) { try schedule(.epsilon) }
    #expect(error.description.contains(#"prediction_type is "epsilon", expected "v_prediction", because rescale"#))
    #expect(error.description.hasPrefix(checkpoint.path))

    let folder = try Checkpoint(path: "\(goldens)/pipelines/sd15", .init(predictionType: .velocity))
    #expect(try DiffusionModel(folder).schedule.configuration.predictionType == .velocity)
  }

  @Test("an autoencoder of its own: a folder, and a file with either names")
  func otherAutoencoder() throws {
    let checkpoint = try OriginalCheckpoint("sdxl")
    let configuration = try Checkpoint(path: checkpoint.pipeline).vae().0.configuration
    let store = WeightStore(.random(Generator(seed: 9)))
    _ = try AutoencoderKL(configuration, store.root)
    let folder = "\(checkpoint.folder.path)/other"
    try ModelFolder.save(configuration, store.parameters, to: folder)
    let original = try OriginalGolden("sdxl.vae").originals(of: store.parameters)
    let bare = "\(checkpoint.folder.path)/bare.safetensors"
    var tensors = OrderedDictionary(uniqueKeysWithValues: original.map { (String($0.dropFirst(18)), $1) })
    tensors["loss.logvar"] = Tensor(0)
    try saveSafeTensors(tensors, to: bare)
    for vae in [folder, "\(folder)/diffusion_pytorch_model.safetensors", bare] {
      try expectEqual(try DiffusionModel(checkpoint.open { $0.vae = vae }).stores["vae"], store)
    }
    let model = try Checkpoint(path: checkpoint.pipeline, .init(vae: bare))
    try expectEqual(try DiffusionModel(model).stores["vae"], store)

    var without = checkpoint
    without.tensors.removeAll { $0.key.hasPrefix("first_stage_model.") }
    let error = try #require(throws: CheckpointError.self) { try DiffusionModel(without.open()) }
    #expect(error.description.contains("no autoencoder (first_stage_model.…); give one with --vae"))
  }

  @Test("tokenizers: beside the file, in a folder, one for both with the family's padding, or an error that says what to fetch")
  func tokenizers() throws {
    let checkpoint = try OriginalCheckpoint("sdxl")
    func second(_ change: (inout Checkpoint.Choices) -> Void) throws -> CLIPTokenizer {
      try DiffusionModel(checkpoint.open(change)).textEncoders[1].tokenizer
    }
    let expected = try CLIPTokenizer(folder: URL(filePath: "\(checkpoint.pipeline)/tokenizer_2"))
    #expect(try second { $0.tokenizer = checkpoint.pipeline }.encode("a") == expected.encode("a"))
    #expect(try second { $0.tokenizer = "\(checkpoint.pipeline)/tokenizer" }.encode("a") == expected.encode("a"))

    // Configurations without tokenizers, as of a family of this package.
    let bare = "\(checkpoint.folder.path)/bare"
    try FileManager.default.copyItem(atPath: checkpoint.pipeline, toPath: bare)
    for part in ["tokenizer", "tokenizer_2"] { try FileManager.default.removeItem(atPath: "\(bare)/\(part)") }
    let without = try checkpoint.open { $0.configuration = bare }
    #expect(without.repositoryOfTokenizers == "stabilityai/stable-diffusion-xl-base-1.0")
    let error = try #require(throws: CheckpointError.self) { try DiffusionModel(without) }
    #expect(error.description.contains("--tokenizer stabilityai/stable-diffusion-xl-base-1.0"))
    for part in ["tokenizer", "tokenizer_2"] {
      try FileManager.default.copyItem(atPath: "\(checkpoint.pipeline)/\(part)", toPath: "\(checkpoint.folder.path)/\(part)")
    }
    let beside = try checkpoint.open { $0.configuration = bare }
    #expect(beside.repositoryOfTokenizers == nil)
    #expect(try DiffusionModel(beside).textEncoders[1].tokenizer.encode("a") == expected.encode("a"))
    #expect(beside.files.first == checkpoint.path)
    #expect(beside.files.contains("\(bare)/unet/config.json"))
    #expect(beside.files.contains("\(checkpoint.folder.path)/tokenizer_2/vocab.json"))
    #expect(beside.files.count { $0.hasSuffix(".safetensors") } == 1)
  }

  @Test("a dropped, a foreign and a reshaped tensor are called as the file calls them")
  func strictness() throws {
    var checkpoint = try OriginalCheckpoint("sdxl")
    let inputs = "model.diffusion_model.input_blocks"
    checkpoint.tensors["\(inputs).4.1.proj_in.bias"] = nil
    checkpoint.tensors["\(inputs).9.0.in_layers.0.bias"] = Tensor.zeros([1])
    checkpoint.tensors["\(inputs).0.0.weight"] = Tensor.zeros([4, 6, 3, 3])
    let error = try #require(throws: LoadingError.self) { try DiffusionModel(checkpoint.open()) }
    #expect(error.missing == ["\(inputs).4.1.proj_in.bias [8]"])
    #expect(error.unused == ["\(inputs).9.0.in_layers.0.bias"])
    #expect(error.misshapen == ["\(inputs).0.0.weight: found [4, 6, 3, 3], expected [4, 4, 3, 3]"])
    #expect(error.description.contains("does not fit the model that \(checkpoint.pipeline) describes"))
  }

  @Test("files of other kinds, and choices for the other layout")
  func refusals() throws {
    let folder = try TemporaryFolder()
    func message(_ name: String, _ keys: [String], _ choices: Checkpoint.Choices = .init()) throws -> String {
      let path = "\(folder.path)/\(name)"
      try saveSafeTensors(.init(uniqueKeysWithValues: keys.map { ($0, Tensor(0)) }), to: path, overwrite: true)
      return try #require(throws: CheckpointError.self) { try Checkpoint(path: path, choices) }.description
    }
    for ending in ["ckpt", "pt", "pth", "bin"] {
      let pickle = try message("old.\(ending)", ["a"])
      #expect(pickle.contains("old.\(ending): a pickle, which is a program and is not run; convert it where you trust it:"))
      #expect(pickle.hasSuffix("old.\(ending)' '\(folder.path)/old.safetensors'"))
    }
    #expect(try message("lora.safetensors", ["lora_unet_a.alpha"]).contains("no whole model of Stable Diffusion"))
    #expect(try message("lora.safetensors", ["lora_unet_a.alpha"]).contains("found lora_unet_a.alpha; a model in diffusers'"))
    let sdxl = ["model.diffusion_model.a", "conditioner.embedders.0.transformer.a", "conditioner.embedders.1.model.a"]
    #expect(try message("playground.safetensors", sdxl + ["edm_mean"]).contains("Playground 2.5, which is not supported"))
    let refiner = ["model.diffusion_model.a", "conditioner.embedders.0.model.a"]
    #expect(try message("refiner.safetensors", refiner).contains("no whole model"))
    #expect(try message("a.safetensors", sdxl, .init(variant: "fp16")).contains("one file has no variants"))
    let configured = try #require(throws: CheckpointError.self) {
      try Checkpoint(path: folder.path, .init(configuration: folder.path))
    }
    #expect(configured.description.contains("--config is for a model in one file"))
    let absent = try #require(throws: CheckpointError.self) { try Checkpoint(path: "\(folder.path)/absent.safetensors") }
    #expect(
      absent.description.contains("absent.safetensors: no such folder or file; expected a folder in the layout of diffusers"))
  }

  @Test("a model read in another type equals the one that is converted afterwards")
  func otherType() throws {
    let checkpoint = try OriginalCheckpoint("sdxl")
    let (found, expected) = (
      try DiffusionModel(try checkpoint.open(), dtype: .bfloat16), try DiffusionModel(try checkpoint.open())
    )
    for part in ["unet", "text_encoder_2"] {
      let (halves, singles) = (try #require(found.stores[part]), try #require(expected.stores[part]))
      for (name, tensor) in halves.parameters {
        #expect(tensor.equals(try #require(singles.parameters[name]).to(dtype: .bfloat16)), "\(name)")
      }
    }
  }

  private func projectionShapes(_ model: DiffusionModel) -> OrderedDictionary<String, [Int]> {
    var shapes: OrderedDictionary<String, [Int]> = [:]
    for part in ["unet", "text_encoder", "text_encoder_2"] {
      for (path, projection) in model.stores[part]?.projections ?? [:] { shapes["\(part).\(path)"] = projection.weight.shape }
    }
    return shapes
  }

  private func parameters<Model>(_ make: (Weights) throws -> Model) rethrows -> [String] {
    let store = WeightStore(.shapes, device: .meta)
    _ = try make(store.root)
    return Array(store.parameters.keys)
  }
}

/// `like`, or what is known of a part.
private enum PartOrName: Decodable {
  struct Part: Decodable {
    let parameters: Int
    let sha256: String
  }

  case name(String)
  case part(Part)

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    self = try (try? container.decode(String.self)).map { .name($0) } ?? .part(container.decode(Part.self))
  }

  var part: Part? { if case .part(let part) = self { part } else { nil } }
}

extension OriginalParameter.Form {
  /// As in Tests/Goldens/original.
  fileprivate var letter: String {
    switch self {
    case .same: ""
    case .third(let index): "\(index)"
    case .transposed: "T"
    case .pointwise: "P"
    }
  }
}
