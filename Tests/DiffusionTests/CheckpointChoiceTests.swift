import Diffusion
import Foundation
import TestFiles
import TestSupport
import Testing
import Tokenization
import Torch

@Suite("what a checkpoint is made of, and what may be said about it")
struct CheckpointChoiceTests {
  private func names(_ checkpoint: Checkpoint) -> [String] {
    checkpoint.files.map { String($0.dropFirst(checkpoint.path.count + 1)) }
  }

  @Test("of two precisions, the one that is read is named, and the other changes nothing")
  func files() throws {
    let folder = try TemporaryFolder()
    let path = try folder.copy("pipelines/sdxl")
    let whole = try names(Checkpoint(path: path))
    #expect(whole.contains("model_index.json") && whole.contains("scheduler/scheduler_config.json"))
    for part in ["unet", "vae"] {
      #expect(whole.contains("\(part)/config.json") && whole.contains("\(part)/diffusion_pytorch_model.safetensors"))
    }
    for part in ["text_encoder", "text_encoder_2"] {
      #expect(whole.contains("\(part)/config.json") && whole.contains("\(part)/model.safetensors"))
    }
    #expect(whole.contains("tokenizer_2/vocab.json"))
    let unet = "\(path)/unet/diffusion_pytorch_model"
    try FileManager.default.copyItem(atPath: "\(unet).safetensors", toPath: "\(unet).half.safetensors")
    #expect(try names(Checkpoint(path: path)) == whole)
    let half = try names(Checkpoint(path: path, .init(variant: "half")))
    #expect(half == whole.map { $0.hasPrefix("unet/diffusion") ? "unet/diffusion_pytorch_model.half.safetensors" : $0 })
  }

  @Test("pictures of U-Nets from before diffusers 0.9 are of 512 pixels, whatever they say")
  func oldSampleSize() throws {
    func size(_ settings: String) throws -> OneOrMany? {
      try JSONDecoder().decode(UNet2DConditionModel.Configuration.self, from: Data("{\(settings)}".utf8)).sampleSize
    }
    for version in ["0.6.0", "0.8.0.dev0", "0.8.1"] {
      #expect(try size(#""_diffusers_version": "\#(version)", "sample_size": 32"#) == 64)
    }
    #expect(try size(#""_diffusers_version": "0.6.0", "sample_size": 96"#) == 96)
    #expect(try size(#""_diffusers_version": "0.6.0""#) == nil)
    for version in ["0.9.0", "0.10.2", "0.42.1", "1.0.0"] {
      #expect(try size(#""_diffusers_version": "\#(version)", "sample_size": 32"#) == 32)
    }
    #expect(try size(#""sample_size": 32"#) == 32)
  }

  @Test("of models distilled for few steps, what training needs is known", arguments: ["LCMScheduler", "TCDScheduler"])
  func consistencyModels(name: String) throws {
    let read = try JSONDecoder().decode(
      NoiseSchedule.Configuration.self, from: Data(#"{"_class_name": "\#(name)", "prediction_type": "epsilon"}"#.utf8))
    #expect(read.isConsistencyModel && read.className == name)
    #expect((read.betaStart, read.betaEnd) == (0.00085, 0.012) && read.betaSchedule == .scaledLinear)
    #expect(!NoiseSchedule.Configuration.stableDiffusion.isConsistencyModel)
  }

  @Test("timesteps of a distilled model are those that it was made for")
  func spacing() throws {
    let checkpoint = try Checkpoint(path: "\(goldens)/pipelines/sdxl", .init(timestepSpacing: .trailing))
    let model = try DiffusionModel(checkpoint)
    let steps = try Sampler.euler.plan(model.schedule, steps: 4).steps.map(\.from.timestep)
    // scheduling_euler_discrete.py: round(arange(1000, 0, -250)) - 1
    #expect(steps == [999, 749, 499, 249])
  }

  @Test("only layers that text encoders have and that the U-Net could read are read", arguments: [("sdxl", 2), ("sd15", 1)])
  func clipSkip(family: String, usual: Int) throws {
    let folder = "\(goldens)/pipelines/\(family)"
    func model(_ clipSkip: Int?) throws -> DiffusionModel {
      try DiffusionModel(Checkpoint(path: folder, .init(clipSkip: clipSkip)))
    }
    #expect(try model(nil).clipSkip == usual)
    let sizes = SizeConditioning(height: 16, width: 16)
    func states(_ clipSkip: Int?) throws -> Tensor { try model(clipSkip).conditioning(["a cat"], sizes: sizes).states }
    #expect(try states(usual).equals(states(nil)))
    #expect(try !states(3).equals(states(nil)))
    // What is to be avoided is read to the same layer, as in A1111.
    let skipping = try model(3)
    #expect(
      skipping.unconditional("a cat", count: 1, sizes: sizes).states
        .equals(skipping.conditioning(["a cat"], sizes: sizes).states))
    for wrong in [usual - 1, 4, -1] {
      let error = #expect(throws: CheckpointError.self) { _ = try model(wrong) }
      #expect(
        error?.description
          == "\(folder): --clip-skip \(wrong); expected \(usual), which is what the model was trained with, to 3, "
          + "the layers of its text_encoder")
    }
  }

  @Test("a text in parts is the states of each, one after the other, and what is beyond is told")
  func textParts() throws {
    let folder = "\(goldens)/pipelines/sdxl"
    let sizes = SizeConditioning(height: 16, width: 16)
    func model(_ parts: Int) throws -> DiffusionModel {
      try DiffusionModel(Checkpoint(path: folder, .init(textParts: parts)))
    }
    let (one, two) = (try model(1), try model(2))
    let tokenizer = one.textEncoders[0].tokenizer
    let phrase = "a cat on grass, "
    let text = String(repeating: phrase, count: 100 / tokenizer.tokenIDs(of: phrase).count + 1)
    let tokens = tokenizer.tokenIDs(of: text)
    try #require(tokens.count > 75 && tokens.count < 150)
    #expect(tokenizer.encode(text, parts: 1) == [tokenizer.encode(text)])
    let parts = tokenizer.encode(text, parts: 3)
    #expect(parts.allSatisfy { $0.count == 77 } && parts[2] == tokenizer.encode(""))
    #expect(Array(parts.prefix(2).flatMap { $0[1..<76] }.prefix(tokens.count)) == tokens)
    let (short, long) = (one.conditioning([text, "a dog"], sizes: sizes), two.conditioning([text, "a dog"], sizes: sizes))
    #expect(long.states.shape == [2, 154, short.states.dim(2)])
    // A batch of another size is rounded otherwise.
    #expect(difference(long.states.sliced(1, from: 0, to: 77), short.states) < 1e-5)
    let (found, expected) = (try #require(long.added), try #require(short.added))
    #expect(difference(found.textEmbeds, expected.textEmbeds) < 1e-5)
    #expect(one.overflow(of: text) != nil && two.overflow(of: text) == nil)
    #expect(two.overflow(of: text + text)?.isEmpty == false)
  }

  @Test("guidance is taken back in what the network says", arguments: NoiseSchedule.PredictionType.allCases, [0.7, 1])
  func rescaling(type: NoiseSchedule.PredictionType, share: Double) throws {
    let generator = Generator(seed: 3)
    let sample = Tensor.randn([2, 4, 6, 5], generator: generator)
    let predictions = Tensor.randn([4, 4, 6, 5], generator: generator) * 1.5 + 0.2
    let levels = [0.3, 4] + (type == .velocity ? [Double.infinity] : [])
    for level in levels.map({ NoiseLevel(timestep: 1, sigma: $0) }) {
      let guidance = Guidance(
        type.denoiser { _, _ in predictions }, scale: 6, rescaling: .init(share: share, predictionType: type))
      let (without, with) = (predictions[0..<2], predictions[2..<4])
      // diffusers: rescale_noise_cfg
      let guided = without + (with - without) * 6
      let (wanted, found) = (with.flattened(from: 1).variance([1]).sqrt(), guided.flattened(from: 1).variance([1]).sqrt())
      let expected = guided * ((wanted / found).reshaped([2, 1, 1, 1]) * share + (1 - share))
      let clean =
        switch type {
        case .epsilon: (sample - level.spread * expected) / level.signal
        case .velocity: level.signal * sample - level.spread * expected
        }
      #expect(try difference(guidance(sample, at: level), clean) < 1e-5, "σ = \(level.sigma)")
    }
  }

  @Test("a tokenizer is not replaced unasked")
  func tokenizer() throws {
    let folder = try TemporaryFolder()
    let place = URL(filePath: folder("tokenizer"))
    let tokenizer = try CLIPTokenizer(folder: URL(filePath: "\(goldens)/pipelines/sdxl/tokenizer"))
    try tokenizer.save(to: place)
    let error = try #require(throws: TokenizerError.self) { try tokenizer.save(to: place) }
    #expect("\(error)".contains("it is there already"))
    try tokenizer.save(to: place, overwrite: true)
  }

  @Test("autocast on shapes alone changes nothing")
  func autocastOnMeta() {
    let product = autocast(to: .bfloat16, device: .meta) {
      Tensor.zeros([2, 3], device: .meta).matmul(Tensor.zeros([3, 4], device: .meta))
    }
    #expect(product.shape == [2, 4] && product.dtype == .float32)
  }
}
