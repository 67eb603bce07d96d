import Diffusion
import Foundation
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

/// Whole pipelines against diffusers 0.42.1 (Tests/Goldens/pipelines).
@Suite struct TextToImageTests {
  /// An entry of `cases.json`: the arguments of the call.
  struct Case: Decodable {
    let prompt: String
    let negative_prompt: String?
    let guidance_scale: Double
    let num_inference_steps: Int
    let seed: UInt64
    let sampler: String
    let height: Int?
    let width: Int?
    let original_size: [Int]?
    let crops_coords_top_left: [Int]?
    let target_size: [Int]?
    let guidance_rescale: Double?
    let clip_skip: Int?
    let parts: Int?

    func request() throws -> TextToImage {
      var request = TextToImage(
        prompts: [prompt], negativePrompt: negative_prompt, sampler: try Sampler.named(sampler),
        steps: num_inference_steps, guidance: guidance_scale, guidanceRescale: guidance_rescale ?? 0, width: width,
        height: height, seed: seed)
      if let original_size, let crops_coords_top_left, let target_size {
        request.sizes = SizeConditioning(
          original: (original_size[0], original_size[1]), crop: (crops_coords_top_left[0], crops_coords_top_left[1]),
          target: (target_size[0], target_size[1]))
      }
      return request
    }
  }

  private func load(_ family: String, _ name: String) throws -> (DiffusionModel, Case, (String) throws -> Tensor) {
    let folder = "\(goldens)/pipelines/\(family)"
    let cases = try ModelFolder(path: folder).configuration([String: Case].self, file: "cases.json")
    let expected = try SafeTensorsCollection(path: "\(folder)/expected.safetensors")
    let arguments = try #require(cases[name])
    // diffusers counts from the layer that the model was trained with.
    let clipSkip = arguments.clip_skip.map { $0 + (family == "sdxl" ? 2 : 1) }
    let model = try DiffusionModel(Checkpoint(path: folder, .init(clipSkip: clipSkip, textParts: arguments.parts)))
    return (model, arguments, { try expected.tensor("\(name).\($0)") })
  }

  private static let names = ["ddim", "euler", "euler-ancestral", "dpm++2m", "unguided", "clip-skip", "rescaled", "long"]

  @Test("text states, pooled text and sizes", arguments: ["sdxl", "sd15"], names)
  func conditioning(family: String, name: String) throws {
    let (model, arguments, expected) = try load(family, name)
    let request = try arguments.request()
    let picture = try expected("image")
    let sizes = request.sizes ?? SizeConditioning(height: picture.dim(0), width: picture.dim(1))
    var found = model.conditioning(request.prompts, sizes: sizes)
    if request.guidance > 1 {
      found = .concatenated([model.unconditional(request.negativePrompt, count: 1, sizes: sizes), found])
    }
    #expect(try difference(found.states, expected("encoder_hidden_states")) < 1e-5)
    #expect((found.added != nil) == (family == "sdxl"))
    if let added = found.added {
      #expect(try difference(added.textEmbeds, expected("text_embeds")) < 1e-5)
      #expect(added.timeIds.equals(try expected("time_ids")))
    }
  }

  @Test("the same seed gives the picture of diffusers, latents up to 2.3e-6 apart", arguments: ["sdxl", "sd15"], names)
  func pictures(family: String, name: String) throws {
    let (model, arguments, expected) = try load(family, name)
    let request = try arguments.request()
    var steps: [Int] = []
    let latents = try request.latents(with: model) { steps.append($0.step) }
    #expect(steps == Array(0...request.steps))
    let final = try expected("latents")
    let error = difference(latents, final[final.dim(0) - 1])
    #expect(error < 1e-5, "latents: \(error)")
    let decoded = model.vae.decode(model.vae.denormalized(latents))
    #expect(try difference(decoded, expected("decoded")) < 1e-4)

    let picture = try request.generate(with: model)
    let bytes = (picture[0].permuted(1, 2, 0) * 255).rounded()
    let reference = try expected("image").to(dtype: .float32)
    try #require(bytes.shape == reference.shape)
    #expect((bytes - reference).abs().max().item() <= 1)
  }

  @Test("a picture does not depend on the others of its request")
  func batches() throws {
    let (model, _, _) = try load("sdxl", "euler")
    let request = TextToImage(
      prompts: ["a cat", "a dog on grass"], sampler: .eulerAncestral, steps: 3, width: 24, height: 16, seed: 5, count: 2)
    let all = try request.generate(with: model)
    #expect(all.shape == [4, 3, 16, 24])
    for (index, (prompt, seed)) in [("a cat", 5), ("a cat", 6), ("a dog on grass", 5), ("a dog on grass", 6)].enumerated() {
      #expect(request.source(index) == (prompt, UInt64(seed)))
      var alone = request
      (alone.prompts, alone.seed, alone.count) = ([prompt], UInt64(seed), 1)
      #expect(try difference(all[index..<index + 1], alone.generate(with: model)) < 1e-4)
    }
    #expect(request.total == 4)
    #expect(try difference(all[1..<3], request.generate(with: model, pictures: 1..<3)) < 1e-4)
    #expect(difference(all[0..<1], all[1..<2]) > 1e-2)
  }

  @Test("no negative prompt is zeros where the model was trained so, and an empty text elsewhere")
  func emptyPrompt() throws {
    let sizes = SizeConditioning(height: 16, width: 16)
    let (sdxl, _, _) = try load("sdxl", "euler")
    #expect(sdxl.forceZerosForEmptyPrompt)
    #expect(sdxl.unconditional(nil, count: 2, sizes: sizes).states.abs().max().item() == 0)
    #expect(sdxl.unconditional("", count: 2, sizes: sizes).states.abs().max().item() > 0)
    let folder = try TemporaryFolder()
    let path = try folder.copy("pipelines/sdxl")
    try edit("\(path)/model_index.json", #""force_zeros_for_empty_prompt": true"#, #""force_zeros_for_empty_prompt": false"#)
    let changed = try DiffusionModel(folder: path).unconditional(nil, count: 2, sizes: sizes)
    #expect(changed.states.equals(sdxl.unconditional("", count: 2, sizes: sizes).states))
    let (sd15, _, _) = try load("sd15", "euler")
    #expect(sd15.unconditional(nil, count: 1, sizes: sizes).states.abs().max().item() > 0)
  }

  @Test("16-bit types, with the autoencoder in float32 where it asks for it", arguments: [DType.bfloat16, .float16])
  func halfPrecision(dtype: DType) throws {
    let model = try DiffusionModel(folder: "\(goldens)/pipelines/sdxl", dtype: dtype)
    #expect(model.unet.configuration.crossAttentionDim == 40 && model.dtype == dtype)
    #expect(model.stores["vae"]?.dtype == .float32)
    let request = TextToImage(prompts: ["a cat"], steps: 3, width: 16, height: 16)
    // The same start in the other type, to compare with.
    let single = try DiffusionModel(folder: "\(goldens)/pipelines/sdxl")
    let noise = NoiseSource([Generator(seed: 0)], dtype: dtype)([4, 4, 4], device: .cpu)
    let sizes = SizeConditioning(height: 16, width: 16)
    let conditioning = Conditioning.concatenated([
      single.unconditional(nil, count: 1, sizes: sizes), single.conditioning(["a cat"], sizes: sizes),
    ])
    let exact = try request.sampler.sample(
      Guidance(single.denoiser(conditioning), scale: 5), noise: noise,
      plan: request.sampler.plan(single.schedule, steps: 3))
    let error = try difference(request.latents(with: model), exact)
    #expect(error > 1e-5 && error < 0.1, "\(error)")
    #expect(try request.generate(with: model).isFinite)
  }

  @Test("parts under the names that adapters use")
  func stores() throws {
    let (sdxl, _, _) = try load("sdxl", "euler")
    #expect(Set(sdxl.stores.keys) == ["unet", "vae", "text_encoder", "text_encoder_2"])
    #expect(sdxl.stores["unet"]?.projections["conv_in"] != nil)
    #expect(sdxl.family.name == "Stable Diffusion XL")
    let (sd15, _, _) = try load("sd15", "euler")
    #expect(Set(sd15.stores.keys) == ["unet", "vae", "text_encoder"])
  }

  @Test("a folder without model_index.json is known by its U-Net", arguments: ["sdxl", "sd15"])
  func withoutIndex(family: String) throws {
    let folder = try TemporaryFolder()
    let path = try folder.copy("pipelines/\(family)")
    try FileManager.default.removeItem(atPath: "\(path)/model_index.json")
    #expect(try DiffusionModel(folder: path).family.textEncoders.count == (family == "sdxl" ? 2 : 1))
  }

  // MARK: bad input

  private struct Stop: Error {}

  @Test("requests that cannot be fulfilled")
  func badRequests() throws {
    let (model, _, _) = try load("sd15", "euler")
    var request = TextToImage(prompts: ["a cat"], width: 30, height: 16)
    var error = try #require(throws: TextToImageError.self) { try request.generate(with: model) }
    #expect(error.description == "the width is 30 pixels; expected a multiple of 8, such as 32")
    (request.width, request.height) = (16, 0)
    error = try #require(throws: TextToImageError.self) { try request.generate(with: model) }
    #expect(error.description == "the height is 0 pixels; expected a multiple of 8, such as 8")
    (request.height, request.count) = (16, 0)
    error = try #require(throws: TextToImageError.self) { try request.generate(with: model) }
    #expect(error == .count(0))
    request.prompts = []
    error = try #require(throws: TextToImageError.self) { try request.generate(with: model) }
    #expect(error == .noPrompts)
    request = TextToImage(prompts: ["a cat"], steps: 0, width: 16, height: 16)
    #expect(throws: SamplingError.self) { try request.generate(with: model) }
  }

  @Test("the observer ends the work")
  func cancellation() throws {
    let (model, _, _) = try load("sd15", "euler")
    let request = TextToImage(prompts: ["a cat"], steps: 5, width: 16, height: 16)
    #expect(throws: Stop.self) { _ = try request.generate(with: model) { if $0.step == 2 { throw Stop() } } }
  }

  /// A model of one number, which a variant changes for a while.
  private final class Dial {
    var value = 0.0

    struct Variant: ModelVariant {
      let dial: Dial
      let value: Double
      let share: Double

      func apply<Result>(_ body: () throws -> Result) rethrows -> Result {
        dial.value = value
        defer { dial.value = 0 }
        return try body()
      }
    }
  }

  @Test("variants are mixed by their shares, each with the prompt as it reads it")
  func mixture() throws {
    struct Guess: Denoiser {
      let dial: Dial
      let prompt: Double

      func callAsFunction(_ sample: Tensor, at level: NoiseLevel) throws -> Tensor { sample * dial.value + prompt }
    }
    let dial = Dial()
    let variants = [Dial.Variant(dial: dial, value: 2, share: 1), Dial.Variant(dial: dial, value: 10, share: 3)]
    let mixture = VariantMixture(variants) { Guess(dial: dial, prompt: dial.value * 100) }
    let found = try mixture(Tensor([1, -1] as [Float]), at: .clean)
    // (2x + 200) / 4 + (10x + 1000) · 3 / 4
    #expect(found.equals(Tensor([808, 792] as [Float])))
    #expect(dial.value == 0)

    let (model, _, _) = try load("sdxl", "euler")
    let request = TextToImage(prompts: ["a cat"], steps: 3, width: 16, height: 16)
    let plain = try request.generate(with: model)
    #expect(try request.generate(with: model, variants: [variants[0]]).equals(plain))
    #expect(try difference(request.generate(with: model, variants: variants), plain) < 1e-5)
  }

  private func edit(_ path: String, _ old: String, _ new: String) throws {
    let text = try String(contentsOfFile: path, encoding: .utf8)
    try #require(text.contains(old))
    try text.replacing(old, with: new).write(toFile: path, atomically: true, encoding: .utf8)
  }

  @Test("SDXL's U-Net takes the pooled text of a second text encoder with a projection")
  func secondTextEncoderWithoutProjection() throws {
    let folder = try TemporaryFolder()
    let path = try folder.copy("pipelines/sdxl")
    try edit("\(path)/text_encoder_2/config.json", #""CLIPTextModelWithProjection""#, #""CLIPTextModel""#)
    let weights = "\(path)/text_encoder_2/model.safetensors"
    let collection = try SafeTensorsCollection(path: weights)
    let kept = try collection.keys.filter { !$0.hasPrefix("text_projection") }.map { ($0, try collection.tensor($0).cloned()) }
    try saveSafeTensors(OrderedDictionary(uniqueKeysWithValues: kept), to: weights, overwrite: true)
    let error = try #require(throws: ConfigurationError.self) { try DiffusionModel(folder: path) }
    #expect(error.description.contains("or a CLIPTextModelWithProjection in text_encoder_2, whose pooled text"), "\(error)")
  }

  @Test(
    "parts that do not fit are named with the file",
    arguments: [
      ("model_index.json", #""StableDiffusionXLPipeline""#, #""FluxPipeline""#, #"_class_name is "FluxPipeline""#),
      (
        "model_index.json", #""StableDiffusionXLPipeline""#, #""StableDiffusionPipeline""#,
        #"unet/config.json: addition_embed_type is "text_time", expected null"#
      ),
      (
        "scheduler/scheduler_config.json", #""epsilon""#, #""sample""#,
        #"scheduler/scheduler_config.json: prediction_type is "sample""#
      ),
      (
        "unet/config.json", #""in_channels": 4"#, #""in_channels": 9"#,
        "in_channels is 9, which is a model for inpainting, expected 4, latent_channels"
      ),
      (
        "unet/config.json", #""cross_attention_dim": 40"#, #""cross_attention_dim": 768"#,
        "cross_attention_dim is 768, expected 40, hidden_size of text_encoder and text_encoder_2"
      ),
      (
        "tokenizer_2/tokenizer_config.json", #""model_max_length": 77"#, #""model_max_length": 100"#,
        "text_encoder_2/config.json: max_position_embeddings is 77, expected at least 100"
      ),
      (
        "unet/config.json", #"input_dim": 68"#, #"input_dim": 70"#,
        "projection_class_embeddings_input_dim is 70, expected 68: proj"
      ),
      ("vae/config.json", #""out_channels": 3"#, #""out_channels": 4"#, "vae/config.json: out_channels is 4, expected 3"),
      ("text_encoder/config.json", #"hidden_layers": 3"#, #"hidden_layers": -1"#, "num_hidden_layers is -1, expected a positive"),
    ])
  func misfits(file: String, old: String, new: String, message: String) throws {
    let folder = try TemporaryFolder()
    let path = try folder.copy("pipelines/sdxl")
    try edit("\(path)/\(file)", old, new)
    let error = try #require(throws: ConfigurationError.self) { try DiffusionModel(folder: path) }
    #expect(error.description.contains(message), "\(error)")
    #expect(error.description.hasPrefix(path))
  }
}

extension Tensor {
  fileprivate var isFinite: Bool { abs().max().item().isFinite }
}
