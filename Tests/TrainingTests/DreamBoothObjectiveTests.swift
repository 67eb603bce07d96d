import Diffusion
import Images
import LoRA
import OrderedCollections
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
    var repeats: [Int]
    var flips = false

    init(_ prompts: [String], seed: UInt64, for model: DiffusionModel) throws {
      let (width, height) = try model.pictureSize(width: nil, height: nil)
      let generator = Generator(seed: seed)
      images = prompts.map { _ in Image(Tensor.rand([3, height, width], generator: generator)) }
      self.prompts = prompts
      size = SizeConditioning(height: height, width: width)
      repeats = prompts.map { _ in 1 }
    }

    func cache(_ model: DiffusionModel) throws -> LatentCache {
      try LatentCache(images, prompts: prompts, repeats: repeats, flips: flips, model: model)
    }
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
  ///
  /// - Parameter material: the subject when nil.
  private func firstLoss(
    _ model: DiffusionModel, priorWeight: Double? = nil, material: Material? = nil, minSNRGamma: Double? = nil,
    noiseOffset: Double? = nil, start: Adapter? = nil
  ) throws -> Double {
    let options = DreamBooth.Options(
      rank: 2, steps: 1, batch: batch, priorWeight: priorWeight ?? 1, minSNRGamma: minSNRGamma, noiseOffset: noiseOffset,
      seed: seed)
    let prior = try priorWeight.map { _ in try others(model).cache(model) }
    let own = try (material ?? subject(model)).cache(model)
    let training = try DreamBooth(own, prior: prior, model: model, options: options, start: start)
    var figures: [(name: String, value: Double)] = []
    try training.run(progress: { report in
      figures = report.figures
      return true
    })
    return try #require(figures.first { $0.name == "loss" }?.value)
  }

  /// The mean squared error of one batch, of numbers drawn in the order of the training: pictures, the autoencoder's noise,
  /// timesteps, noise; and where they are asked for, which pictures are flipped after the autoencoder's noise, and the offsets last.
  private func error(
    _ material: Material, _ model: DiffusionModel, _ generator: Generator, minSNRGamma: Double? = nil, noiseOffset: Double = 0
  ) -> Double {
    withoutGrad {
      let table = material.repeats.indices.flatMap { Array(repeating: $0, count: material.repeats[$0]) }
      let chosen = Tensor.randint(0..<table.count, [batch], generator: generator).ints().map { table[$0] }
      // Drawn after this noise, and known before what it is added to.
      let state = generator.state
      let pixels = Tensor.stacked(chosen.map { material.images[$0].tensor * 2 - 1 })
      var clean = model.vae.normalized(model.vae.encode(pixels).sample(generator))
      if material.flips {
        let isFlipped = Tensor.randint(0..<2, [batch], generator: generator).ints()
        let after = generator.state
        generator.state = state
        let turned = Tensor.stacked(isFlipped.enumerated().map { $1 == 1 ? pixels[$0].flipped([2]) : pixels[$0] })
        clean = model.vae.normalized(model.vae.encode(turned).sample(generator))
        generator.state = after
      }
      let timesteps = Tensor.randint(0..<model.schedule.count, [batch], generator: generator)
      var noise = Tensor.randn(clean.shape, generator: generator)
      if noiseOffset != 0 {
        noise = noise + Tensor.randn([batch, clean.dim(1), 1, 1], generator: generator) * noiseOffset
      }
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
      let errors = (predicted - target).square().flattened(from: 1).mean([1]).floats().map(Double.init)
      let weights = kept.floats().map { alpha -> Double in
        guard let minSNRGamma else { return 1 }
        let ratio = Double(alpha) / (1 - Double(alpha))
        return switch model.schedule.configuration.predictionType {
        case .epsilon: min(ratio, minSNRGamma) / ratio
        case .velocity: min(ratio, minSNRGamma) / (ratio + 1)
        }
      }
      return zip(errors, weights).reduce(0) { $0 + $1.0 * $1.1 } / Double(batch)
    }
  }

  private func expectEqual(_ found: Double, _ expected: Double, _ what: String) {
    #expect(abs(found - expected) < 1e-5 * expected, "\(what): \(found), expected \(expected)")
  }

  @Test("with min-SNR weights own pictures count less at little noise", arguments: NoiseSchedule.PredictionType.allCases)
  func minSNR(type: NoiseSchedule.PredictionType) throws {
    let model = try model(type)
    for gamma in [0.01, 1, 5, 1e6] {
      let generator = Generator(seed: seed + 1)
      let own = try error(subject(model), model, generator, minSNRGamma: gamma)
      let prior = try error(others(model), model, generator)
      try expectEqual(firstLoss(model, minSNRGamma: gamma), own, "γ = \(gamma)")
      try expectEqual(firstLoss(model, priorWeight: 1, minSNRGamma: gamma), own + prior, "γ = \(gamma), with the class")
    }
    let plain = try firstLoss(model)
    #expect(try firstLoss(model, minSNRGamma: 0.01) < 0.9 * plain)
    if type == .epsilon { try expectEqual(firstLoss(model, minSNRGamma: 1e6), plain, "no limit") }
  }

  @Test("offsets move the noise of each channel as a whole")
  func noiseOffset() throws {
    let model = try model(.epsilon)
    for offset in [0.05, 1] {
      let expected = try error(subject(model), model, Generator(seed: seed + 1), noiseOffset: offset)
      try expectEqual(firstLoss(model, noiseOffset: offset), expected, "\(offset)")
    }
    #expect(try firstLoss(model, noiseOffset: 1) != firstLoss(model))
  }

  @Test("pictures are shown as often as they say, and left for right where they may be")
  func repeatsAndFlips() throws {
    let model = try model(.epsilon)
    for (repeats, flips) in [([1, 1], false), ([3, 1], false), ([1, 9], false), ([1, 1], true), ([2, 5], true)] {
      var material = try subject(model)
      (material.repeats, material.flips) = (repeats, flips)
      let expected = error(material, model, Generator(seed: seed + 1))
      try expectEqual(firstLoss(model, material: material), expected, "\(repeats), flips \(flips)")
    }
  }

  @Test("a training that goes on from a LoRA begins where that one is, and leaves it alone")
  func start() throws {
    let model = try model(.epsilon)
    let paths = try Targets("attn2.to_k,attn2.to_v").paths(in: model.moduleNames)
    var start = try Adapter.trainable(at: paths, of: model.projections, rank: 3, alpha: 6, generator: Generator(seed: 8))
    let generator = Generator(seed: 9)
    start.factors = .init(
      uniqueKeysWithValues: start.factors.map { path, factors in
        (path, LowRankFactors(down: factors.down.detached(), up: .randn(factors.up.shape, generator: generator), alpha: 6))
      })
    let before = start.parameters.map { $0.cloned() }
    let expected = try Attachment(start, to: model.projections).whileAttached {
      try error(subject(model), model, Generator(seed: seed + 1))
    }
    try expectEqual(firstLoss(model, start: start), expected, "beside the LoRA")
    #expect(try abs(firstLoss(model) - expected) > 1e-3 * expected)
    #expect(zip(before, start.parameters).allSatisfy { $0.equals($1) })

    let training = try DreamBooth(
      subject(model).cache(model), model: model,
      options: .init(rank: 64, steps: 2, learningRate: LearningRate(peak: 1e-2)), start: start)
    #expect(training.adapter.factors.keys == start.factors.keys)
    let trained = try training.run()
    #expect(trained.factors.values.allSatisfy { $0.rank == 3 && $0.alpha == 6 })
    #expect(zip(before, trained.parameters).allSatisfy { !$0.equals($1) })
    #expect(zip(before, start.parameters).allSatisfy { $0.equals($1) })
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
