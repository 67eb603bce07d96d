extension NoiseSchedule {
  public enum BetaSchedule: String, Sendable, Codable, CaseIterable {
    case linear
    /// Linear in √β; what Stable Diffusion uses.
    case scaledLinear = "scaled_linear"
  }

  /// What the network predicts.
  public enum PredictionType: String, Sendable, Codable, CaseIterable {
    case epsilon
    /// √ᾱ · noise − √(1 − ᾱ) · clean (arXiv 2202.00512).
    case velocity = "v_prediction"
  }

  /// Which training timesteps a sampler visits (arXiv 2305.08891, table 2).
  public enum TimestepSpacing: String, Sendable, Codable, CaseIterable {
    case linspace
    case leading
    case trailing
  }

  /// The settings of a `scheduler_config.json` that say what the model was trained with and where samplers stop, under
  /// diffusers' names.
  ///
  /// Decoding takes diffusers' defaults for absent keys and throws `ConfigurationError` for a value that is not supported.
  /// Settings of one solver (`solver_order`, `skip_prk_steps`) are ignored: the sampler is chosen by name, not by the file.
  public struct Configuration: Sendable, Equatable {
    /// diffusers' class that the file names; any that shares these settings.
    public var className: String
    public var numTrainTimesteps: Int
    public var betaStart: Double
    public var betaEnd: Double
    public var betaSchedule: BetaSchedule
    /// The variances themselves, instead of a formula.
    public var trainedBetas: [Double]?
    public var predictionType: PredictionType
    /// nil for the default of the sampler.
    public var timestepSpacing: TimestepSpacing?
    public var stepsOffset: Int
    /// Whether DDIM's last step ends without any noise, or with that of timestep 0.
    public var setAlphaToOne: Bool
    public var rescaleBetasZeroSNR: Bool
    /// Whether samplers that know Karras spacing (arXiv 2206.00364, equation 5) use it.
    public var useKarrasSigmas: Bool
    /// Whether DDIM cuts what it takes for the clean picture off at ±1, which is for pixels; no model here is made for it.
    var clipSample = false

    /// The defaults are those of the schedulers in diffusers.
    public init(
      className: String = "EulerDiscreteScheduler", numTrainTimesteps: Int = 1000, betaStart: Double = 0.0001,
      betaEnd: Double = 0.02, betaSchedule: BetaSchedule = .linear, trainedBetas: [Double]? = nil,
      predictionType: PredictionType = .epsilon, timestepSpacing: TimestepSpacing? = nil, stepsOffset: Int = 0,
      setAlphaToOne: Bool = true, rescaleBetasZeroSNR: Bool = false, useKarrasSigmas: Bool = false
    ) {
      self.className = className
      self.numTrainTimesteps = numTrainTimesteps
      self.betaStart = betaStart
      self.betaEnd = betaEnd
      self.betaSchedule = betaSchedule
      self.trainedBetas = trainedBetas
      self.predictionType = predictionType
      self.timestepSpacing = timestepSpacing
      self.stepsOffset = stepsOffset
      self.setAlphaToOne = setAlphaToOne
      self.rescaleBetasZeroSNR = rescaleBetasZeroSNR
      self.useKarrasSigmas = useKarrasSigmas
    }

    /// What Stable Diffusion XL is published with.
    public static let stableDiffusion = Configuration(
      betaStart: 0.00085, betaEnd: 0.012, betaSchedule: .scaledLinear, timestepSpacing: .leading, stepsOffset: 1,
      setAlphaToOne: false)
  }
}

extension NoiseSchedule.Configuration: Codable {
  private enum CodingKeys: String, CodingKey {
    case className = "_class_name"
    case version = "_diffusers_version"
    case numTrainTimesteps = "num_train_timesteps"
    case betaStart = "beta_start"
    case betaEnd = "beta_end"
    case betaSchedule = "beta_schedule"
    case trainedBetas = "trained_betas"
    case predictionType = "prediction_type"
    case timestepSpacing = "timestep_spacing"
    case stepsOffset = "steps_offset"
    case setAlphaToOne = "set_alpha_to_one"
    case rescaleBetasZeroSNR = "rescale_betas_zero_snr"
    case useKarrasSigmas = "use_karras_sigmas"
    case clipSample = "clip_sample"
  }

  /// Schedulers whose settings mean the same in all of them (diffusers: KarrasDiffusionSchedulers).
  private static let classNames =
    [
      "DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler",
      "HeunDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler",
      "DPMSolverSinglestepScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler",
      "DEISMultistepScheduler", "UniPCMultistepScheduler", "DPMSolverSDEScheduler",
    ] + consistencyClassNames

  /// Of models distilled for a few large steps of a sampler of their own. Their noise is Stable Diffusion's, which these classes have as
  /// the default (diffusers: schedulers/scheduling_lcm.py, scheduling_tcd.py).
  private static let consistencyClassNames = ["LCMScheduler", "TCDScheduler"]

  /// Whether the model was distilled for a sampler that is not among those here.
  public var isConsistencyModel: Bool { Self.consistencyClassNames.contains(className) }

  private static var fixed: KeyValuePairs<String, [SettingValue]> {
    [
      "_class_name": classNames.map { .string($0) },
      "final_sigmas_type": [.string("zero")],
      "interpolation_type": [.string("linear")],
      "sigma_max": [.null],
      "sigma_min": [.null],
      "thresholding": [.bool(false)],
      "timestep_type": [.string("discrete")],
      "use_beta_sigmas": [.bool(false), .null],
      "use_exponential_sigmas": [.bool(false), .null],
      "use_flow_sigmas": [.bool(false), .null],
      "use_lu_lambdas": [.bool(false), .null],
    ]
  }

  public init(from decoder: any Decoder) throws {
    try decoder.requireSupported(Self.fixed)
    let container = try decoder.container(keyedBy: CodingKeys.self)
    let hasSpacing = try container.decodeIfPresent(String.self, forKey: .timestepSpacing) != nil
    let className = try container.setting(.className, default: "EulerDiscreteScheduler")
    let usual = Self.consistencyClassNames.contains(className) ? Self.stableDiffusion : Self()
    self.init(
      className: className,
      numTrainTimesteps: try container.setting(.numTrainTimesteps, default: 1000),
      betaStart: try container.setting(.betaStart, default: usual.betaStart),
      betaEnd: try container.setting(.betaEnd, default: usual.betaEnd),
      betaSchedule: try container.choice(.betaSchedule, default: usual.betaSchedule),
      trainedBetas: try container.decodeIfPresent([Double].self, forKey: .trainedBetas),
      predictionType: try container.choice(.predictionType, default: .epsilon),
      timestepSpacing: hasSpacing ? try container.choice(.timestepSpacing, default: .linspace) : nil,
      stepsOffset: try container.setting(.stepsOffset, default: 0),
      setAlphaToOne: try container.setting(.setAlphaToOne, default: true),
      rescaleBetasZeroSNR: try container.setting(.rescaleBetasZeroSNR, default: false),
      useKarrasSigmas: try container.setting(.useKarrasSigmas, default: false))
    // The two that clip unless told otherwise (diffusers: schedulers/scheduling_ddim.py, scheduling_ddpm.py).
    clipSample = try container.setting(.clipSample, default: ["DDIMScheduler", "DDPMScheduler"].contains(className))
    try validate()
  }

  func validate() throws {
    try ConfigurationError.require(numTrainTimesteps > 1, "num_train_timesteps", "\(numTrainTimesteps)", "at least 2")
    for (key, beta) in [("beta_start", betaStart), ("beta_end", betaEnd)] {
      try ConfigurationError.require(beta > 0 && beta < 1, key, "\(beta)", "a variance between 0 and 1")
    }
    if let trainedBetas {
      try ConfigurationError.require(
        trainedBetas.count == numTrainTimesteps, "trained_betas", "\(trainedBetas.count) numbers",
        "num_train_timesteps = \(numTrainTimesteps) numbers")
    }
    try ConfigurationError.require(
      (0..<numTrainTimesteps).contains(stepsOffset), "steps_offset", "\(stepsOffset)",
      "a timestep below num_train_timesteps = \(numTrainTimesteps)")
    // Of the last timestep, which is noise alone, noise says nothing about the picture.
    try ConfigurationError.require(
      !rescaleBetasZeroSNR || predictionType == .velocity, "prediction_type", "\"\(predictionType.rawValue)\"",
      "\"v_prediction\", because rescale_betas_zero_snr is true")
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(className, forKey: .className)
    try container.encode(diffusersVersion, forKey: .version)
    try container.encode(numTrainTimesteps, forKey: .numTrainTimesteps)
    try container.encode(betaStart, forKey: .betaStart)
    try container.encode(betaEnd, forKey: .betaEnd)
    try container.encode(betaSchedule, forKey: .betaSchedule)
    try container.encode(trainedBetas, forKey: .trainedBetas)
    try container.encode(predictionType, forKey: .predictionType)
    try container.encodeIfPresent(timestepSpacing, forKey: .timestepSpacing)
    try container.encode(stepsOffset, forKey: .stepsOffset)
    try container.encode(setAlphaToOne, forKey: .setAlphaToOne)
    try container.encode(rescaleBetasZeroSNR, forKey: .rescaleBetasZeroSNR)
    try container.encode(useKarrasSigmas, forKey: .useKarrasSigmas)
    try container.encode(false, forKey: .clipSample)
  }
}
