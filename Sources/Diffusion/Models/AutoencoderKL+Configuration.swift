extension AutoencoderKL {
  public enum DownBlockType: String, Codable, Sendable, CaseIterable {
    case downEncoderBlock2D = "DownEncoderBlock2D"
  }

  public enum UpBlockType: String, Codable, Sendable, CaseIterable {
    case upDecoderBlock2D = "UpDecoderBlock2D"
  }

  /// The settings of a `config.json` that matter to the computation, under diffusers' names.
  ///
  /// Decoding takes diffusers' defaults for absent keys, throws `ConfigurationError` for a value that is not supported, and
  /// ignores keys that it does not know; what is encoded is a `config.json` that diffusers loads.
  public struct Configuration: Sendable, Equatable {
    public var inChannels: Int
    public var outChannels: Int
    /// Channels of the blocks of the encoder, from the highest resolution to the lowest; reversed in the decoder.
    public var blockOutChannels: [Int]
    /// Residual blocks a block in the encoder; the decoder has one more.
    public var layersPerBlock: Int
    public var latentChannels: Int
    public var normNumGroups: Int
    /// Height and width of the pictures it was trained on.
    public var sampleSize: OneOrMany
    /// 1 / the standard deviation of latents.
    public var scalingFactor: Double
    /// The mean of latents.
    public var shiftFactor: Double?
    /// Mean and deviation of each channel of latents, instead of the shift.
    public var latentsMean: [Double]?
    public var latentsStd: [Double]?
    /// Whether it overflows in float16 and must run in float32.
    public var forceUpcast: Bool
    public var useQuantConv: Bool
    public var usePostQuantConv: Bool
    public var midBlockAddAttention: Bool

    /// The defaults are those of Stable Diffusion XL.
    public init(
      inChannels: Int = 3, outChannels: Int = 3, blockOutChannels: [Int] = [128, 256, 512, 512], layersPerBlock: Int = 2,
      latentChannels: Int = 4, normNumGroups: Int = 32, sampleSize: OneOrMany = 1024, scalingFactor: Double = 0.13025,
      shiftFactor: Double? = nil, latentsMean: [Double]? = nil, latentsStd: [Double]? = nil, forceUpcast: Bool = true,
      useQuantConv: Bool = true, usePostQuantConv: Bool = true, midBlockAddAttention: Bool = true
    ) {
      self.inChannels = inChannels
      self.outChannels = outChannels
      self.blockOutChannels = blockOutChannels
      self.layersPerBlock = layersPerBlock
      self.latentChannels = latentChannels
      self.normNumGroups = normNumGroups
      self.sampleSize = sampleSize
      self.scalingFactor = scalingFactor
      self.shiftFactor = shiftFactor
      self.latentsMean = latentsMean
      self.latentsStd = latentsStd
      self.forceUpcast = forceUpcast
      self.useQuantConv = useQuantConv
      self.usePostQuantConv = usePostQuantConv
      self.midBlockAddAttention = midBlockAddAttention
    }
  }
}

extension AutoencoderKL.Configuration {
  func validate() throws {
    try ConfigurationError.require(
      !blockOutChannels.isEmpty && normNumGroups > 0
        && blockOutChannels.allSatisfy { 1...ConfigurationError.widest ~= $0 && $0 % normNumGroups == 0 },
      "block_out_channels", "\(blockOutChannels)",
      "multiples of norm_num_groups = \(normNumGroups), \(ConfigurationError.widest) at most")
    try ConfigurationError.require(
      1...ConfigurationError.deepest ~= layersPerBlock, "layers_per_block", "\(layersPerBlock)",
      "a positive number, \(ConfigurationError.deepest) at most")
    for (key, numbers) in [("latents_mean", latentsMean), ("latents_std", latentsStd)] {
      let together = (latentsMean == nil) == (latentsStd == nil)
      try ConfigurationError.require(
        together && (numbers == nil || numbers?.count == latentChannels), key, numbers.map { "\($0)" } ?? "null",
        "\(latentChannels) numbers, one a latent channel, in both latents_mean and latents_std, or null in both")
    }
  }
}

extension AutoencoderKL.Configuration: Codable {
  private enum CodingKeys: String, CodingKey {
    case className = "_class_name"
    case version = "_diffusers_version"
    case inChannels = "in_channels"
    case outChannels = "out_channels"
    case downBlockTypes = "down_block_types"
    case upBlockTypes = "up_block_types"
    case blockOutChannels = "block_out_channels"
    case layersPerBlock = "layers_per_block"
    case latentChannels = "latent_channels"
    case normNumGroups = "norm_num_groups"
    case sampleSize = "sample_size"
    case scalingFactor = "scaling_factor"
    case shiftFactor = "shift_factor"
    case latentsMean = "latents_mean"
    case latentsStd = "latents_std"
    case forceUpcast = "force_upcast"
    case useQuantConv = "use_quant_conv"
    case usePostQuantConv = "use_post_quant_conv"
    case midBlockAddAttention = "mid_block_add_attention"
  }

  private static var fixed: KeyValuePairs<String, [SettingValue]> {
    [
      "_class_name": [.string("AutoencoderKL")],
      "act_fn": [.string("silu"), .string("swish")],
    ]
  }

  public init(from decoder: any Decoder) throws {
    try decoder.requireSupported(Self.fixed)
    let container = try decoder.container(keyedBy: CodingKeys.self)
    let downBlocks: [AutoencoderKL.DownBlockType] = try container.choices(.downBlockTypes, default: [.downEncoderBlock2D])
    let upBlocks: [AutoencoderKL.UpBlockType] = try container.choices(.upBlockTypes, default: [.upDecoderBlock2D])
    let blockOutChannels = try container.setting(.blockOutChannels, default: [64])
    for (key, count) in [(CodingKeys.downBlockTypes, downBlocks.count), (.upBlockTypes, upBlocks.count)] {
      try ConfigurationError.require(
        count == blockOutChannels.count, key.rawValue, "\(count) names",
        "\(blockOutChannels.count), as many as block_out_channels has")
    }
    self.init(
      inChannels: try container.setting(.inChannels, default: 3),
      outChannels: try container.setting(.outChannels, default: 3),
      blockOutChannels: blockOutChannels,
      layersPerBlock: try container.setting(.layersPerBlock, default: 1),
      latentChannels: try container.setting(.latentChannels, default: 4),
      normNumGroups: try container.setting(.normNumGroups, default: 32),
      sampleSize: try container.setting(.sampleSize, default: 32),
      scalingFactor: try container.setting(.scalingFactor, default: 0.18215),
      shiftFactor: try container.decodeIfPresent(Double.self, forKey: .shiftFactor),
      latentsMean: try container.decodeIfPresent([Double].self, forKey: .latentsMean),
      latentsStd: try container.decodeIfPresent([Double].self, forKey: .latentsStd),
      forceUpcast: try container.setting(.forceUpcast, default: true),
      useQuantConv: try container.setting(.useQuantConv, default: true),
      usePostQuantConv: try container.setting(.usePostQuantConv, default: true),
      midBlockAddAttention: try container.setting(.midBlockAddAttention, default: true))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode("AutoencoderKL", forKey: .className)
    try container.encode(diffusersVersion, forKey: .version)
    try container.encode(inChannels, forKey: .inChannels)
    try container.encode(outChannels, forKey: .outChannels)
    try container.encode(
      blockOutChannels.map { _ in AutoencoderKL.DownBlockType.downEncoderBlock2D }, forKey: .downBlockTypes)
    try container.encode(blockOutChannels.map { _ in AutoencoderKL.UpBlockType.upDecoderBlock2D }, forKey: .upBlockTypes)
    try container.encode(blockOutChannels, forKey: .blockOutChannels)
    try container.encode(layersPerBlock, forKey: .layersPerBlock)
    try container.encode(latentChannels, forKey: .latentChannels)
    try container.encode(normNumGroups, forKey: .normNumGroups)
    try container.encode(sampleSize, forKey: .sampleSize)
    try container.encode(scalingFactor, forKey: .scalingFactor)
    try container.encode(shiftFactor, forKey: .shiftFactor)
    try container.encode(latentsMean, forKey: .latentsMean)
    try container.encode(latentsStd, forKey: .latentsStd)
    try container.encode(forceUpcast, forKey: .forceUpcast)
    try container.encode(useQuantConv, forKey: .useQuantConv)
    try container.encode(usePostQuantConv, forKey: .usePostQuantConv)
    try container.encode(midBlockAddAttention, forKey: .midBlockAddAttention)
  }
}
