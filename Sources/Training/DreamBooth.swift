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
    /// The largest rate of the layers of text encoders, which is to be smaller than that of the U-Net; the same when nil.
    public var textEncoderLearningRate: Double?
    public var weightDecay: Double
    /// Pictures of one pass, of all processes together; `accumulation` passes make a step.
    public var batch: Int
    public var accumulation: Int
    /// Weight of the loss on pictures of the whole class.
    public var priorWeight: Double
    /// γ of min-SNR weighting (arXiv 2303.09556), for which 5 is usual: what the own pictures are to teach at timesteps with little
    /// noise counts less; nil for all timesteps alike.
    public var minSNRGamma: Double?
    /// Standard deviation of what is added to the noise of each channel as a whole, so that pictures may come out brighter or darker
    /// than the base's; nil for none.
    public var noiseOffset: Double?
    public var seed: UInt64

    public init(
      rank: Int = 64, alpha: Double? = nil, targets: Targets = .attention, steps: Int = 1000,
      learningRate: LearningRate = LearningRate(peak: 5e-5), textEncoderLearningRate: Double? = nil,
      weightDecay: Double = 0.01, batch: Int = 1, accumulation: Int = 1, priorWeight: Double = 1, minSNRGamma: Double? = nil,
      noiseOffset: Double? = nil, seed: UInt64 = 0
    ) {
      self.rank = rank
      self.alpha = alpha
      self.targets = targets
      self.steps = steps
      self.learningRate = learningRate
      self.textEncoderLearningRate = textEncoderLearningRate
      self.weightDecay = weightDecay
      self.batch = batch
      self.accumulation = accumulation
      self.priorWeight = priorWeight
      self.minSNRGamma = minSNRGamma
      self.noiseOffset = noiseOffset
      self.seed = seed
    }

    /// What the loop does not know, or knows otherwise, as `ziplora train` calls it.
    ///
    /// - Parameter isNew: whether the LoRA is, and not one that has ranks and layers of its own.
    fileprivate func settings(isNew: Bool) -> OrderedDictionary<String, String> {
      func text(_ number: Double?, or other: String = "none") -> String { number.map { "\($0)" } ?? other }
      let ofNew: OrderedDictionary = [
        "--rank": "\(rank)", "--alpha": text(alpha, or: "the rank"), "--targets": "\(targets)",
      ]
      let ownRate = textEncoderLearningRate == learningRate.peak ? nil : textEncoderLearningRate
      let others: OrderedDictionary = [
        "--text-encoder-learning-rate": text(ownRate, or: "the learning rate"), "--batch": "\(batch)",
        "--prior-weight": "\(priorWeight)", "--min-snr-gamma": text(minSNRGamma), "--noise-offset": text(noiseOffset),
        "--seed": "\(seed)",
      ]
      return isNew ? ofNew.merging(others) { first, _ in first } : others
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
  ///   - start: the LoRA that the training goes on from, which stays as it is; its own ranks, alphas and layers hold in place of those
  ///     of `options`. A new one when nil.
  ///   - processes: those that split the batch; it has to be a multiple of their number.
  /// - Throws: `TargetsError`, `RankError`, `AttachmentError` and `TorchError`.
  public init(
    _ pictures: LatentCache, prior: LatentCache? = nil, model: DiffusionModel, options: Options = .init(),
    start: Adapter? = nil, phase: String = standardPhase, processes: ProcessGroup = ProcessGroup()
  ) throws {
    self.options = options
    self.processes = processes
    self.model = model
    self.pictures = pictures
    self.prior = prior
    // Another stream than the loop's, so that a resume need not draw the start again.
    adapter =
      try start.map { start in try withTorchErrors { start.trainable(on: model.device) } }
      ?? .trainable(
        at: options.targets.paths(in: model.moduleNames), of: model.projections, rank: options.rank,
        alpha: options.alpha ?? Double(options.rank), generator: Generator(seed: options.seed))
    var parameters: OrderedDictionary<String, Tensor> = [:]
    var rateFactors: [String: Double] = [:]
    for (path, factors) in adapter.factors {
      for (half, tensor) in [("down", factors.down), ("up", factors.up)] {
        parameters["\(path).\(half)"] = tensor
        if let rate = options.textEncoderLearningRate, Component(of: path) != .unet {
          rateFactors["\(path).\(half)"] = rate / options.learningRate.peak
        }
      }
    }
    loop = TrainingLoop(
      phase: phase, parameters: parameters,
      options: .init(
        steps: options.steps, learningRate: options.learningRate, weightDecay: options.weightDecay,
        accumulation: options.accumulation, seed: options.seed &+ 1),
      rateFactors: rateFactors, settings: options.settings(isNew: start == nil), processes: processes)
    let trainsText = adapter.adaptsText
    func fixed(_ cache: LatentCache?) -> [Conditioning]? {
      guard let cache, !trainsText else { return nil }
      return withoutGrad { cache.conditionings(model: model) }
    }
    fixedText = try withTorchErrors { fixed(pictures) }
    fixedPriorText = try withTorchErrors { fixed(prior) }
  }

  /// Refuses a file that is no state of a training, before there is anything to go on with.
  ///
  /// - Throws: `StateError`.
  public static func checkState(at path: String, phase: String = standardPhase) throws {
    _ = try TrainingLoop.openState(at: path, phase: phase)
  }

  public static let standardPhase = "training the LoRA"

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

  /// Of one batch. Pictures of the class count alike at all timesteps, as in diffusers' script.
  ///
  /// - Parameter size: height and width in latents that pictures are cut to; nil for the whole.
  private func loss(_ generator: Generator, size: (Int, Int)? = nil) -> Tensor {
    let own = loss(of: pictures, fixedText, generator, size, minSNRGamma: options.minSNRGamma)
    guard let prior else { return own }
    return own + loss(of: prior, fixedPriorText, generator, size, minSNRGamma: nil) * options.priorWeight
  }

  /// Mean squared error of the prediction at uniform timesteps.
  private func loss(
    of cache: LatentCache, _ text: [Conditioning]?, _ generator: Generator, _ size: (height: Int, width: Int)?,
    minSNRGamma: Double?
  ) -> Tensor {
    let indices = cache.choice(of: options.batch, generator: generator)
    let whole = cache.latents(indices, generator: generator)
    let clean = size.map { whole.cropped(height: $0.height, width: $0.width) } ?? whole
    let timesteps = Tensor.randint(0..<model.schedule.count, [options.batch], generator: generator)
      .to(device: clean.device)
    let noise = noise(clean.shape, generator, clean.device)
    // The whole batch is drawn, so that every process's generator goes on as that of one process would.
    let part = processes.part(of: options.batch)
    let pictures = Array(indices[part])
    let conditioning =
      text.map { text in Conditioning.concatenated(pictures.map { text[$0] }) }
      ?? cache.conditioning(pictures, model: model)
    let noisy = model.schedule.addNoise(noise, to: clean, at: timesteps)
    let prediction = model.prediction(noisy[part], timesteps[part], conditioning)
    let target = model.target(clean: clean, noise: noise, at: timesteps)[part]
    guard let minSNRGamma else { return prediction.meanSquaredError(target) }
    let weights = model.schedule.minSNRWeights(gamma: minSNRGamma, at: timesteps[part])
    return ((prediction - target).square().mean([1, 2, 3]) * weights).mean()
  }

  /// White noise, and what each channel of each picture is moved by as a whole (diffusers:
  /// examples/text_to_image/train_text_to_image_lora_sdxl.py, `noise_offset`).
  private func noise(_ shape: [Int], _ generator: Generator, _ device: Device) -> Tensor {
    let white = Tensor.randn(shape, generator: generator, device: device)
    guard let offset = options.noiseOffset else { return white }
    return white + Tensor.randn([shape[0], shape[1], 1, 1], generator: generator, device: device) * offset
  }
}
