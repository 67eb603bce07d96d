import Foundation
import TestFiles
import TestHub
import Testing

/// Models of the hub are known by their settings before any of their weights is fetched.
@Suite struct ForeignHubModelTests {
  private let cache: TemporaryCache

  init() throws { cache = try TemporaryCache() }

  /// Loads it, and gives what the hub was asked for.
  private func load(_ model: FakeModel) throws -> (run: Binary, paths: [String]) {
    let server = try ScriptedServer { request, _ in model.answer(request) }
    let environment = [
      "HF_ENDPOINT": server.address, "HF_HOME": cache.path, "HF_HUB_CACHE": cache.path, "HF_HUB_OFFLINE": "0",
      "no_proxy": "*",
    ]
    let run = try Binary.run(["load", "--base", "org/tiny"], environment: environment)
    return (run, server.paths)
  }

  private func isOfWeights(_ path: String) -> Bool { path.hasSuffix(".safetensors") }

  private func expectRefusal(
    _ model: FakeModel, _ message: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let (run, paths) = try load(model)
    #expect(run.status == 1 && run.output == "", sourceLocation: sourceLocation)
    #expect(run.errors.contains(message), "\(run.errors)", sourceLocation: sourceLocation)
    #expect(paths.contains(FakeModel.path(of: "model_index.json")), sourceLocation: sourceLocation)
    #expect(!paths.contains(where: isOfWeights), "\(paths)", sourceLocation: sourceLocation)
  }

  @Test("a pipeline of another kind, without a U-Net")
  func otherPipeline() throws {
    var model = try FakeModel.pipeline()
    model.files["model_index.json"] = Array(
      """
      {"_class_name": "StableDiffusion3Pipeline", "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
       "text_encoder": ["transformers", "CLIPTextModelWithProjection"], "tokenizer": ["transformers", "CLIPTokenizer"],
       "transformer": ["diffusers", "SD3Transformer2DModel"], "vae": ["diffusers", "AutoencoderKL"]}
      """.utf8)
    for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
      let file = model.files.removeValue(forKey: "unet/\(name)")
      let found: [UInt8] = try #require(file)
      model.files["transformer/\(name)"] = found
    }
    try expectRefusal(
      model, #"/model_index.json: _class_name is "StableDiffusion3Pipeline", which is not supported; supported: "#)
  }

  @Test("a model for inpainting, in a pipeline of a known kind")
  func inpainting() throws {
    var model = try FakeModel.pipeline()
    let settings = String(decoding: try #require(model.files["unet/config.json"]), as: UTF8.self)
    let changed = settings.replacing(#""in_channels": 4"#, with: #""in_channels": 9"#)
    try #require(changed != settings)
    model.files["unet/config.json"] = Array(changed.utf8)
    try expectRefusal(model, "/unet/config.json: in_channels is 9, which is a model for inpainting, expected 4")
  }

  @Test("a model that can be used is loaded, each file fetched once and its settings first")
  func supported() throws {
    let (run, paths) = try load(try FakeModel.pipeline())
    try #require(run.status == 0, "\(run.errors)")
    #expect(run.output.hasPrefix(#"{"parameters":"#))
    let files = paths.filter { $0 != FakeModel.listing }
    #expect(Set(files).count == files.count, "\(files)")
    #expect(files.count(where: isOfWeights) == 3)
    let firstOfWeights = try #require(files.firstIndex(where: isOfWeights))
    #expect(!files[firstOfWeights...].contains { !isOfWeights($0) }, "\(files)")
  }
}
