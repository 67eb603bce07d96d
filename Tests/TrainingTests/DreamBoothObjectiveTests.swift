import Diffusion
import Images
import TestFiles
import Testing
import Torch
import Training

/// The loss of the first step, where the LoRA changes nothing yet, beside one computed here. On the tiny random SDXL pipeline of
/// the goldens.
@Suite struct DreamBoothObjectiveTests {
  /// Pictures of the size that the model takes, each with a prompt of its own.
  private struct Material {
    let images: [Image]
    let prompts: [String]
    let size: SizeConditioning

    init(_ prompts: [String], seed: UInt64, for model: DiffusionModel) throws {
      let (width, height) = try model.pictureSize(width: nil, height: nil)
      let generator = Generator(seed: seed)
      images = prompts.map { _ in Image(Tensor.rand([3, height, width], generator: generator)) }
      self.prompts = prompts
      size = SizeConditioning(height: height, width: width)
    }

    func cache(_ model: DiffusionModel) throws -> LatentCache { try LatentCache(images, prompts: prompts, model: model) }
  }

  private let batch = 3
  private let seed: UInt64 = 4

  private func model(_ type: NoiseSchedule.PredictionType) throws -> DiffusionModel {
    let model = try DiffusionModel(folder: "\(goldens)/pipelines/sdxl")
    var configuration = model.schedule.configuration
    configuration.predictionType = type
    return DiffusionModel(
      family: model.family, unet: model.unet, vae: model.vae, textEncoders: model.textEncoders,
      schedule: NoiseSchedule(configuration), forceZerosForEmptyPrompt: model.forceZerosForEmptyPrompt, stores: model.stores)
  }

  private func subject(_ model: DiffusionModel) throws -> Material {
    try Material(["a sbu cat", "a sbu cat on grass"], seed: 1, for: model)
  }

  private func others(_ model: DiffusionModel) throws -> Material {
    try Material(["a cat", "a black cat", "a cat in snow"], seed: 2, for: model)
  }

  /// What the training says of its first step.
  private func firstLoss(_ model: DiffusionModel, priorWeight: Double?) throws -> Double {
    let options = DreamBooth.Options(rank: 2, steps: 1, batch: batch, priorWeight: priorWeight ?? 1, seed: seed)
    let prior = try priorWeight.map { _ in try others(model).cache(model) }
    let training = try DreamBooth(subject(model).cache(model), prior: prior, model: model, options: options)
    var figures: [(name: String, value: Double)] = []
    try training.run(progress: { report in
      figures = report.figures
      return true
    })
    return try #require(figures.first { $0.name == "loss" }?.value)
  }

  /// The mean squared error of one batch, of numbers drawn in the order of the training: pictures, the autoencoder's noise,
  /// timesteps, noise.
  private func error(_ material: Material, _ model: DiffusionModel, _ generator: Generator) -> Double {
    withoutGrad {
      let chosen = Tensor.randint(0..<material.images.count, [batch], generator: generator).ints()
      let posterior = model.vae.encode(Tensor.stacked(chosen.map { material.images[$0].tensor * 2 - 1 }))
      let clean = model.vae.normalized(posterior.sample(generator))
      let timesteps = Tensor.randint(0..<model.schedule.count, [batch], generator: generator)
      let noise = Tensor.randn(clean.shape, generator: generator)
      let kept = model.schedule.alphasCumprod.gathered(timesteps).reshaped(batch, 1, 1, 1)
      let (signal, spread) = (kept.sqrt(), (1 - kept).sqrt())
      let target =
        switch model.schedule.configuration.predictionType {
        case .epsilon: noise
        case .velocity: signal * noise - spread * clean
        }
      let conditioning = model.conditioning(chosen.map { material.prompts[$0] }, sizes: material.size)
      let predicted = model.unet(
        sample: signal * clean + spread * noise, timestep: timesteps, encoderHiddenStates: conditioning.states,
        addedConditions: conditioning.added)
      return (predicted - target).square().mean().item()
    }
  }

  @Test("the loss is the squared error of what the model predicts", arguments: NoiseSchedule.PredictionType.allCases)
  func squaredError(type: NoiseSchedule.PredictionType) throws {
    let model = try model(type)
    // The loop's own generator, which is not that of the LoRA's start.
    let generator = Generator(seed: seed + 1)
    let own = try error(subject(model), model, generator)
    let prior = try error(others(model), model, generator)
    for (weight, expected) in [(nil, own), (0, own), (1, own + prior), (0.25, own + 0.25 * prior)] as [(Double?, Double)] {
      let found = try firstLoss(model, priorWeight: weight)
      #expect(abs(found - expected) < 1e-5 * expected, "weight \(weight ?? -1): \(found), expected \(expected)")
    }
  }

  @Test("pictures of the class count by their weight")
  func priorWeight() throws {
    let model = try model(.epsilon)
    let losses = try [0, 1, 2].map { try firstLoss(model, priorWeight: $0) }
    let (first, second) = (losses[1] - losses[0], losses[2] - losses[1])
    #expect(first > 0.01 * losses[0], "\(losses)")
    // Losses are rounded to float32.
    #expect(abs(second - first) < 5e-7 * losses[2], "\(losses)")
  }
}
