public import Diffusion
public import LoRA
internal import OrderedCollections
public import Torch

/// Teaches a LoRA what a few pictures show (DreamBooth, arXiv 2208.12242, with the base frozen; diffusers:
/// examples/dreambooth/train_dreambooth_lora_sdxl.py).
public final class DreamBooth {
  public struct Options: Sendable, Codable, Equatable {
    public var rank: Int
    /// ΔW = alpha / rank · up · down; the rank itself when nil.
    public var alpha: Double?
    public var targets: Targets
    public var steps: Int
    public var learningRate: LearningRate
    public var weightDecay: Double
    /// Pictures of one pass, of all processes together; `accumulation` passes make a step.
    public var batch: Int
    public var accumulation: Int
    /// Weight of the loss on pictures of the whole class.
    public var priorWeight: Double
    public var seed: UInt64

    public init(
      rank: Int = 64, alpha: Double? = nil, targets: Targets = .attention, steps: Int = 1000,
      learningRate: LearningRate = LearningRate(peak: 5e-5), weightDecay: Double = 0.01, batch: Int = 1,
      accumulation: Int = 1, priorWeight: Double = 1, seed: UInt64 = 0
    ) {
      self.rank = rank
      self.alpha = alpha
      self.targets = targets
      self.steps = steps
      self.learningRate = learningRate
      self.weightDecay = weightDecay
      self.batch = batch
      self.accumulation = accumulation
      self.priorWeight = priorWeight
      self.seed = seed
    }

    /// What the loop does not know, or knows otherwise, as `ziplora train` calls it.
    fileprivate var settings: OrderedDictionary<String, String> {
      [
        "--rank": "\(rank)", "--alpha": alpha.map { "\($0)" } ?? "the rank", "--targets": "\(targets)", "--batch": "\(batch)",
        "--prior-weight": "\(priorWeight)", "--seed": "\(seed)",
      ]
    }
  }

  public let options: Options
  /// The LoRA, trained in place in float32.
  public let adapter: Adapter

  private let model: DiffusionModel
  private let pictures: LatentCache
  private let prior: LatentCache?
  private let processes: ProcessGroup
  private let loop: TrainingLoop
  /// Text states that stay as they are, because no text encoder is trained.
  private let fixedText: [Conditioning]?
  private let fixedPriorText: [Conditioning]?

  /// - Parameters:
  ///   - pictures: of the subject or style, with their prompts.
  ///   - prior: of the class in general, which the LoRA must leave as it is; nil for none.
  ///   - processes: those that split the batch; it has to be a multiple of their number.
  /// - Throws: `TargetsError`, `RankError` and `TorchError`.
  public init(
    _ pictures: LatentCache, prior: LatentCache? = nil, model: DiffusionModel, options: Options = .init(),
    phase: String = "training the LoRA", processes: ProcessGroup = ProcessGroup()
  ) throws {
    self.options = options
    self.processes = processes
    self.model = model
    self.pictures = pictures
    self.prior = prior
    let paths = try options.targets.paths(in: model.moduleNames)
    // Another stream than the loop's, so that a resume need not draw the start again.
    adapter = try .trainable(
      at: paths, of: model.projections, rank: options.rank, alpha: options.alpha ?? Double(options.rank),
      generator: Generator(seed: options.seed))
    var parameters: OrderedDictionary<String, Tensor> = [:]
    for (path, factors) in adapter.factors {
      parameters["\(path).down"] = factors.down
      parameters["\(path).up"] = factors.up
    }
    loop = TrainingLoop(
      phase: phase, parameters: parameters,
      options: .init(
        steps: options.steps, learningRate: options.learningRate, weightDecay: options.weightDecay,
        accumulation: options.accumulation, seed: options.seed &+ 1),
      settings: options.settings, processes: processes)
    let trainsText = adapter.adaptsText
    func fixed(_ cache: LatentCache?) -> [Conditioning]? {
      guard let cache, !trainsText else { return nil }
      return withoutGrad { cache.conditionings(model: model) }
    }
    fixedText = try withTorchErrors { fixed(pictures) }
    fixedPriorText = try withTorchErrors { fixed(prior) }
  }

  /// Runs the steps that are left and gives the LoRA.
  ///
  /// - Parameters:
  ///   - state: file to save the state in, and to continue from when it is there.
  ///   - identity: of pictures, prompts and base; a state of another one is refused.
  ///   - afterStep: called after each step with the branches attached, for sample pictures.
  /// - Throws: `Interrupted`, `Diverged`, `StateError`.
  @discardableResult
  public func run(
    state: String? = nil, identity: String = "", saveEvery: Double = 60, progress: ProgressHandler = { _ in true },
    afterStep: (Int) throws -> Void = { _ in }
  ) throws -> Adapter {
    let attachment = try Attachment(adapter, to: model.projections)
    try attachment.whileAttached {
      try loop.run(
        state: state, identity: identity, saveEvery: saveEvery, progress: progress, afterStep: afterStep
      ) { loss(loop.generator) }
    }
    return adapter
  }

  /// How much memory the training takes, and what is computed again so that it fits.
  ///
  /// - Parameters:
  ///   - budget: bytes that the process may hold.
  ///   - progress: hears of each pass of the model.
  /// - Throws: what passes of the model throw; `Interrupted` when the handler answers false.
  public func memoryPlan(budget: Int, progress: ProgressHandler = { _ in true }) throws -> MemoryPlan {
    let size = pictures.latents([0], generator: Generator(seed: 0)).shape.suffix(2)
    return try Attachment(adapter, to: model.projections).whileAttached {
      func pass(_ height: Int, _ width: Int) -> Tensor { loss(Generator(seed: 0), size: (height, width)) }
      return try MemoryPlan(
        model.unet, projections: model.projections, latents: (size.first!, size.last!), budget: budget, progress: progress,
        kept: { height, width in
          // Sets the model up, which is nothing that a step holds.
          _ = withoutGrad { pass(height, width) }
          return 0
        }, discard: loop.discardGradients, pass: pass)
    }
  }

  /// Of one batch.
  ///
  /// - Parameter size: height and width in latents that pictures are cut to; nil for the whole.
  private func loss(_ generator: Generator, size: (Int, Int)? = nil) -> Tensor {
    let own = loss(of: pictures, fixedText, generator, size)
    guard let prior else { return own }
    return own + loss(of: prior, fixedPriorText, generator, size) * options.priorWeight
  }

  /// Mean squared error of the prediction at uniform timesteps.
  private func loss(
    of cache: LatentCache, _ text: [Conditioning]?, _ generator: Generator, _ size: (height: Int, width: Int)?
  ) -> Tensor {
    let indices = Tensor.randint(0..<cache.count, [options.batch], generator: generator).ints()
    let whole = cache.latents(indices, generator: generator)
    let clean = size.map { whole.cropped(height: $0.height, width: $0.width) } ?? whole
    let timesteps = Tensor.randint(0..<model.schedule.count, [options.batch], generator: generator)
      .to(device: clean.device)
    let noise = Tensor.randn(clean.shape, generator: generator, device: clean.device)
    // The whole batch is drawn, so that every process's generator goes on as that of one process would.
    let part = processes.part(of: options.batch)
    let pictures = Array(indices[part])
    let conditioning =
      text.map { text in Conditioning.concatenated(pictures.map { text[$0] }) }
      ?? cache.conditioning(pictures, model: model)
    let noisy = model.schedule.addNoise(noise, to: clean, at: timesteps)
    return model.prediction(noisy[part], timesteps[part], conditioning)
      .meanSquaredError(model.target(clean: clean, noise: noise, at: timesteps)[part])
  }
}
