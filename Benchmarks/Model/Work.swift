internal import ArgumentParser
internal import Diffusion
internal import LoRA
internal import Merging
internal import OrderedCollections
internal import Torch
internal import Training

struct BenchmarkSettings {
  let model: String
  let size: Int?
  let dtype: DType
  let device: Device
  let rank: Int
  let loras: Int
  let layers: Int?
  let batch: Int
  let samplingSteps: Int
  /// Of a whole zip, nil for the defaults.
  let draws: Int?
  let updates: Int?
  let checkpointing: GradientCheckpointing
  /// Bytes to take at most, blocks being computed again; nil without a plan.
  let memory: Int?
  let seed: UInt64
}

/// What is measured.
struct PreparedWork {
  /// What the plan expects the process to hold at most, in bytes; nil without one.
  var expectedPeak: Int?
  let repetition: () throws -> Void
}

/// What can be measured.
enum Work: String, CaseIterable, ExpressibleByArgument {
  /// A pass of the U-Net without gradients.
  case unet
  /// What the paper repeats: two passes with one LoRA alone, two of the merged model and their backward passes, and the update of
  /// the coefficients.
  case zipStep = "zip-step"
  /// What `ziplora zip` repeats by default: the same on fixed draws, for which each LoRA alone was asked before.
  case zipUpdate = "zip-update"
  /// What `ziplora zip` does before its updates: each LoRA alone on the fixed draws, and the closed form.
  case zipPrepare = "zip-prepare"
  /// All that `ziplora zip` does: that and the updates.
  case zip
  /// What `ziplora train` repeats: a pass with a LoRA, its backward pass, and the update of the LoRA.
  case trainStep = "train-step"
  /// Sampling with guidance and decoding.
  case picture
  /// Latents to pixels.
  case decode

  /// - Returns: one repetition.
  func prepared(_ settings: BenchmarkSettings) throws -> PreparedWork {
    let model = try BenchmarkModel(
      settings.model, dtype: settings.dtype, device: settings.device,
      parts: self == .decode ? .autoencoder : self == .picture ? .all : .unet,
      seed: settings.seed)
    let size = try model.latentSize(settings.size)
    let generator = Generator(seed: settings.seed &+ 1)
    let latentShape = [settings.batch, model.unet.configuration.inChannels, size, size]
    switch self {
    case .unet:
      let probe = RandomProbe(model, size: size, batch: settings.batch)
      let input = probe.draw(of: .lora(0), generator: generator)
      return PreparedWork { withoutGrad { _ = probe.prediction(of: input) } }
    case .zipStep, .zipUpdate, .zipPrepare, .zip:
      return try zipping(model, RandomProbe(model, size: size, batch: settings.batch), settings)
    case .trainStep:
      model.unet.checkpointing = settings.checkpointing
      let step = try trainStep(model, RandomProbe(model, size: size, batch: settings.batch), rank: settings.rank, generator)
      return PreparedWork(repetition: step)
    case .picture:
      let input = RandomProbe(model, size: size, batch: 2 * settings.batch).draw(of: .lora(0), generator: generator)
      let plan = try Sampler.euler.plan(.stableDiffusion, steps: settings.samplingSteps)
      let denoiser = Guidance(
        EpsilonDenoiser { sample, level in
          model.unet(
            sample: sample.to(dtype: model.dtype),
            timestep: Tensor.full([2 * settings.batch], level.timestep, device: model.device),
            encoderHiddenStates: input.conditioning.states, addedConditions: input.conditioning.added
          ).to(dtype: .float32)
        }, scale: 5)
      let noise = Tensor.randn(latentShape, generator: generator).to(device: model.device)
      return PreparedWork {
        let latents = try Sampler.euler.sample(denoiser, noise: noise, plan: plan)
        _ = withoutGrad { model.vae.decode(latents.to(dtype: model.dtype)) }
      }
    case .decode:
      let latents = Tensor.randn(latentShape, generator: generator)
        .to(dtype: model.dtype, device: model.device)
      return PreparedWork { _ = withoutGrad { model.vae.decode(latents) } }
    }
  }

  private func zipping(_ model: BenchmarkModel, _ probe: RandomProbe, _ settings: BenchmarkSettings) throws -> PreparedWork {
    model.unet.checkpointing = settings.checkpointing
    let loras = try model.adapters(rank: settings.rank, count: settings.loras, layers: settings.layers)
    func zip(_ method: ZipOptions.Method, steps: Int?) throws -> ZipLoRA {
      var options = ZipOptions(method: method)
      options.steps = steps ?? options.steps
      if method == .closedForm { options.draws = settings.draws ?? options.draws }
      if self == .zipUpdate { options.draws = 1 }
      options.seed = settings.seed
      return try ZipLoRA(loras, probe: probe, options: options)
    }
    let repeatsSteps = self == .zipStep || self == .zipUpdate
    let first = try zip(repeatsSteps ? .paper : .closedForm, steps: repeatsSteps ? 1_000_000 : nil)
    let expected = try settings.memory.map { budget in
      let plan = try probe.memoryPlan(of: first, budget: budget)
      model.unet.checkpointing = plan.checkpointing
      return plan.peak
    }
    if repeatsSteps { return PreparedWork(expectedPeak: expected) { try first.step() } }
    return PreparedWork(expectedPeak: expected) { [steps = self == .zip ? settings.updates : 0] in
      try zip(.closedForm, steps: steps).optimize()
    }
  }

  private func trainStep(
    _ model: BenchmarkModel, _ probe: RandomProbe, rank: Int, _ generator: Generator
  ) throws -> () throws -> Void {
    let adapter = try Adapter.trainable(
      at: try Targets.attention.paths(in: ModuleNames(model.projections)), of: model.projections, rank: rank,
      alpha: Double(rank), generator: generator)
    let leaves = adapter.factors.values.flatMap { [$0.down.requiringGrad(), $0.up.requiringGrad()] }
    let attachment = try Attachment(adapter, to: model.projections)
    let optimizer = AdamW(leaves, .init(learningRate: 1e-4, weightDecay: 0.01))
    return {
      let input = probe.draw(of: .lora(0), generator: generator)
      let target = Tensor.randn(input.noisy.shape, generator: generator).to(device: model.device)
      attachment.whileAttached { probe.prediction(of: input).meanSquaredError(target).backward() }
      optimizer.clipGradients(to: 1)
      optimizer.step()
      optimizer.zeroGrad()
    }
  }
}
