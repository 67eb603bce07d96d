public import Torch

/// How noisy a sample is: signal · clean + spread · noise with signal² + spread² = 1, the scale that networks are trained on.
public struct NoiseLevel: Sendable, Equatable {
  /// What the network is told; between training timesteps where a sampler asks for it.
  public var timestep: Double
  /// Noise in relation to the picture, k-diffusion's σ: 0 for a clean picture, ∞ for noise alone.
  public var sigma: Double

  public init(timestep: Double, sigma: Double) {
    self.timestep = timestep
    self.sigma = sigma
  }

  /// A picture without noise.
  public static let clean = NoiseLevel(timestep: 0, sigma: 0)

  /// √ᾱ = 1 / √(1 + σ²).
  public var signal: Double { 1 / (1 + sigma * sigma).squareRoot() }
  /// √(1 − ᾱ) = σ / √(1 + σ²).
  public var spread: Double { 1 / (1 + 1 / (sigma * sigma)).squareRoot() }

  /// What is left of `sample` when `clean` is taken away.
  public func noise(in sample: Tensor, clean: Tensor) -> Tensor { (sample - signal * clean) / spread }
}

/// The one thing that samplers know of a model: its guess D(x, σ) of the clean picture in a noisy one (arXiv 2206.00364).
///
/// k-diffusion's x is clean + σ · noise; here it is scaled to unit variance, as networks see it, so that σ may be infinite
/// (schedules with zero terminal SNR).
public protocol Denoiser {
  /// - Parameter sample: signal · clean + spread · noise, [N, ...].
  /// - Returns: the mean of all clean pictures that this sample may come from, [N, ...].
  func callAsFunction(_ sample: Tensor, at level: NoiseLevel) throws -> Tensor
}

/// What a network says about a noisy sample [N, ...] → [N, ...].
public typealias Prediction = (_ sample: Tensor, _ level: NoiseLevel) throws -> Tensor

/// A network that predicts the noise.
public struct EpsilonDenoiser: Denoiser {
  private let noise: Prediction

  public init(_ noise: @escaping Prediction) { self.noise = noise }

  public func callAsFunction(_ sample: Tensor, at level: NoiseLevel) throws -> Tensor {
    NoiseSchedule.PredictionType.epsilon.clean(in: sample, predicted: try noise(sample, level), at: level)
  }
}

/// A network that predicts v = signal · noise − spread · clean.
public struct VDenoiser: Denoiser {
  private let velocity: Prediction

  public init(_ velocity: @escaping Prediction) { self.velocity = velocity }

  public func callAsFunction(_ sample: Tensor, at level: NoiseLevel) throws -> Tensor {
    NoiseSchedule.PredictionType.velocity.clean(in: sample, predicted: try velocity(sample, level), at: level)
  }
}

/// Classifier-free guidance (arXiv 2207.12598): unconditional + scale · (conditional − unconditional).
public struct Guidance: Denoiser {
  /// How far the guided prediction is brought back to the standard deviation of the conditional one, which guidance makes larger and
  /// pictures overexposed with it, most with zero terminal SNR (arXiv 2305.08891, section 3.4; diffusers: rescale_noise_cfg).
  public struct Rescaling: Sendable {
    /// 0...1; the paper takes 0.7.
    public let share: Double
    /// What the network says, whose standard deviation it is.
    public let predictionType: NoiseSchedule.PredictionType

    public init(share: Double, predictionType: NoiseSchedule.PredictionType) {
      self.share = share
      self.predictionType = predictionType
    }

    func callAsFunction(_ guided: Tensor, towards conditional: Tensor, in sample: Tensor, at level: NoiseLevel) -> Tensor {
      let predictions = [guided, conditional].map { predictionType.prediction(of: $0, in: sample, at: level) }
      let axes = Array(1..<sample.rank)
      let deviations = predictions.map { $0.variance(axes, keeping: true).sqrt() }
      let factor = (deviations[1] / deviations[0]) * share + (1 - share)
      return predictionType.clean(in: sample, predicted: predictions[0] * factor, at: level)
    }
  }

  private let denoiser: any Denoiser
  public let scale: Double
  public let rescaling: Rescaling?

  /// - Parameter denoiser: of twice the samples, the first half without, the second with the prompt.
  public init(_ denoiser: any Denoiser, scale: Double, rescaling: Rescaling? = nil) {
    self.denoiser = denoiser
    self.scale = scale
    self.rescaling = rescaling
  }

  public func callAsFunction(_ sample: Tensor, at level: NoiseLevel) throws -> Tensor {
    let halves = try denoiser(Tensor.concatenated([sample, sample]), at: level).chunked(2, along: 0)
    let guided = halves[0].lerp(halves[1], scale)
    return rescaling?(guided, towards: halves[1], in: sample, at: level) ?? guided
  }
}

/// The same model in several states, such as with one LoRA and with another.
public protocol ModelVariant {
  /// How much it counts beside the others.
  var share: Double { get }
  /// Runs `body` while the model is in this state.
  func apply<Result>(_ body: () throws -> Result) rethrows -> Result
}

/// What several variants of a model guess, each in proportion to its share: how StyleDrop (arXiv 2306.00983, section 3.4) brings
/// a subject and a style together while sampling, without a merged model and at the price of running each.
public struct VariantMixture: Denoiser {
  private let parts: [(variant: any ModelVariant, denoiser: any Denoiser)]

  /// - Parameters:
  ///   - variants: at least one, with shares that do not add up to zero.
  ///   - denoiser: called in each variant's state, because prompts may mean something else there.
  public init(_ variants: [any ModelVariant], denoiser: () throws -> any Denoiser) rethrows {
    parts = try variants.map { ($0, try $0.apply(denoiser)) }
  }

  public func callAsFunction(_ sample: Tensor, at level: NoiseLevel) throws -> Tensor {
    let total = parts.reduce(0) { $0 + $1.variant.share }
    let guesses = try parts.map { part in
      try part.variant.apply { try part.denoiser(sample, at: level) } * (part.variant.share / total)
    }
    return guesses.dropFirst().reduce(guesses[0], +)
  }
}

extension NoiseSchedule.PredictionType {
  /// The clean picture in a sample of which the network says this.
  func clean(in sample: Tensor, predicted: Tensor, at level: NoiseLevel) -> Tensor {
    switch self {
    case .epsilon: (sample - level.spread * predicted) / level.signal
    case .velocity: level.signal * sample - level.spread * predicted
    }
  }

  /// What the network says of a sample in which this is the clean picture.
  func prediction(of clean: Tensor, in sample: Tensor, at level: NoiseLevel) -> Tensor {
    switch self {
    case .epsilon: (sample - level.signal * clean) / level.spread
    case .velocity: (level.signal * sample - clean) / level.spread
    }
  }

  /// The denoiser of a network that predicts this.
  public func denoiser(_ prediction: @escaping Prediction) -> any Denoiser {
    switch self {
    case .epsilon: EpsilonDenoiser(prediction)
    case .velocity: VDenoiser(prediction)
    }
  }
}
