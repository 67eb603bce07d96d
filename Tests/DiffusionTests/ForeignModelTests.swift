import Diffusion
import Foundation
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

@Suite("models that were saved in other ways, and models of other kinds")
struct ForeignModelTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func write(_ text: String, to path: String) throws {
    try text.write(toFile: path, atomically: true, encoding: .utf8)
  }

  /// - Parameter settings: members of the file beside those of all Stable Diffusion, each after a comma.
  private func writeDDIM(_ settings: String, in pipeline: String) throws {
    try write(
      #"""
      {"_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
       "set_alpha_to_one": false\#(settings)}
      """#, to: "\(pipeline)/scheduler/scheduler_config.json")
  }

  /// Of models from before DDIM was told of latents. Where nothing is said, DDIM takes the same.
  static let earlySettings = ["", #", "clip_sample": true, "steps_offset": 0"#]

  @Test("early settings of Stable Diffusion 1.x are set right, as its pipeline does", arguments: earlySettings)
  func earlyScheduler(settings: String) throws {
    let path = try folder.copy("pipelines/sd15")
    try writeDDIM(#", "clip_sample": false, "steps_offset": 1"#, in: path)
    let expected = try Checkpoint(path: path).schedule()
    #expect(expected.configuration.stepsOffset == 1)
    try writeDDIM(settings, in: path)
    for found in [try Checkpoint(path: path).schedule(), try DiffusionModel(folder: path).schedule] {
      #expect(found.configuration == expected.configuration)
      #expect(found.alphasCumprod.equals(expected.alphasCumprod))
    }
  }

  @Test("those of Stable Diffusion XL are not, and clipping is refused", arguments: earlySettings)
  func clippingXL(settings: String) throws {
    let path = try folder.copy("pipelines/sdxl")
    try writeDDIM(settings, in: path)
    let error = try #require(throws: ConfigurationError.self) { try Checkpoint(path: path).schedule() }
    #expect(
      error.description
        == "\(path)/scheduler/scheduler_config.json: clip_sample is true, as it is for DDIMScheduler where nothing is said, "
        + "expected false, as latents go beyond ±1")
    try writeDDIM(#", "clip_sample": false"#, in: path)
    #expect(try Checkpoint(path: path).schedule().configuration.stepsOffset == 0)
  }

  @Test("a pipeline of another kind is told by its name, and not by the U-Net that it lacks")
  func otherPipeline() throws {
    try write(
      #"{"_class_name": "StableDiffusion3Pipeline", "transformer": ["diffusers", "SD3Transformer2DModel"]}"#,
      to: folder("model_index.json"))
    let path = folder.path
    let message = #"\#(path)/model_index.json: _class_name is "StableDiffusion3Pipeline", which is not supported; supported: "#
    let loading = try #require(throws: ConfigurationError.self) { try DiffusionModel(folder: path) }
    #expect(loading.description.hasPrefix(message), "\(loading)")
    let checking = try #require(throws: ConfigurationError.self) { try Checkpoint.check(configurations: path) }
    #expect(checking == loading)
  }

  @Test("the refiner is told by the text encoder that its index does without")
  func refiner() throws {
    let path = try folder.copy("pipelines/sdxl")
    func writeIndex(textEncoder: String) throws {
      try write(
        #"{"_class_name": "StableDiffusionXLImg2ImgPipeline", "text_encoder": \#(textEncoder)}"#, to: "\(path)/model_index.json")
    }
    try writeIndex(textEncoder: "[null, null]")
    let error = try #require(throws: CheckpointError.self) { try DiffusionModel(folder: path) }
    #expect(
      error.description
        == "\(path): the refiner of Stable Diffusion XL, which is not supported; supported are Stable Diffusion 1.x, 2.x and XL")
    // A base model is saved by that pipeline, too.
    try writeIndex(textEncoder: #"["transformers", "CLIPTextModel"]"#)
    #expect(try DiffusionModel(folder: path).textEncoders.count == 2)
  }

  private static let kinds = [
    (channels: 5, name: "a model that is given depth"),
    (channels: 8, name: "a model that edits pictures (instruct-pix2pix)"),
    (channels: 9, name: "a model for inpainting"),
  ]

  @Test("what a file is for whose U-Net is given more than a noisy picture")
  func kindsOfFiles() throws {
    var file = try OriginalCheckpoint("sd15")
    for kind in Self.kinds {
      file.tensors["model.diffusion_model.input_blocks.0.0.weight"] = Tensor.zeros([8, kind.channels, 3, 3])
      let error = try #require(throws: CheckpointError.self) { try file.open() }
      #expect(error.path == file.path && error.reason == .foreign(kind.name), "\(error)")
      #expect(error.description.contains("\(kind.name), which is not supported"))
    }
  }

  @Test("what a folder is for whose U-Net is given more than a noisy picture")
  func kindsOfFolders() throws {
    let path = try folder.copy("pipelines/sd15")
    let file = "\(path)/unet/config.json"
    let settings = try String(contentsOfFile: file, encoding: .utf8)
    for kind in Self.kinds {
      let changed = settings.replacing(#""in_channels": 4"#, with: #""in_channels": \#(kind.channels)"#)
      try #require(changed != settings)
      try write(changed, to: file)
      let loading = try #require(throws: ConfigurationError.self) { try DiffusionModel(folder: path) }
      #expect(
        loading.description
          == "\(file): in_channels is \(kind.channels), which is \(kind.name), expected 4, latent_channels of the autoencoder")
      let checking = try #require(throws: ConfigurationError.self) { try Checkpoint.check(configurations: path) }
      #expect(checking == loading)
    }
  }

  @Test("of a whole model that is given for its autoencoder, that is taken", arguments: ["", "/vae"])
  func wholeModelAsAutoencoder(part: String) throws {
    let other = "\(goldens)/pipelines/sd15"
    let (found, weights) = try Checkpoint(path: "\(goldens)/pipelines/sdxl", .init(vae: other + part)).vae()
    let (expected, expectedWeights) = try ModelFolder(path: "\(other)/vae").vae()
    #expect(found.configuration == expected.configuration)
    try expectEqual(weights, expectedWeights)
  }

  @Test("a projection beside a text encoder that does without it, under the names of either transformers")
  func spareProjection() throws {
    let path = try folder.copy("models/clip_text_sd15")
    let (_, expected) = try ModelFolder(path: path).textEncoder()
    var tensors = expected.parameters
    tensors["text_projection.weight"] = Tensor.ones([32, 32])
    let bare = OrderedDictionary(uniqueKeysWithValues: tensors.map { ($0.replacing("text_model.", with: ""), $1) })
    for tensors in [tensors, bare] {
      try saveSafeTensors(tensors, to: "\(path)/model.safetensors", overwrite: true)
      let (_, found) = try ModelFolder(path: path).textEncoder()
      try expectEqual(found, expected)
    }
  }

  @Test("the way to convert a pickle has its path as one word of the shell")
  func pickle() throws {
    let path = folder("it's an old one.ckpt")
    try Data().write(to: URL(filePath: path))
    let error = try #require(throws: CheckpointError.self) { try Checkpoint(path: path) }
    #expect(error.path == path && error.reason == .pickledFile)
    let stem = #"'\#(folder.path)/it'\''s an old one"#
    #expect(error.description.hasSuffix("sys.argv[2])' \(stem).ckpt' \(stem).safetensors'"), "\(error)")
  }
}
