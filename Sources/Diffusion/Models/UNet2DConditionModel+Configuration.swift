extension UNet2DConditionModel {
  public enum DownBlockType: String, Codable, Sendable, CaseIterable {
    case downBlock2D = "DownBlock2D"
    case crossAttnDownBlock2D = "CrossAttnDownBlock2D"
  }

  public enum MidBlockType: String, Codable, Sendable, CaseIterable {
    case unetMidBlock2DCrossAttn = "UNetMidBlock2DCrossAttn"
    /// One residual block without attention.
    case unetMidBlock2D = "UNetMidBlock2D"
  }

  public enum UpBlockType: String, Codable, Sendable, CaseIterable {
    case upBlock2D = "UpBlock2D"
    case crossAttnUpBlock2D = "CrossAttnUpBlock2D"
  }

  public enum AdditionEmbedType: String, Codable, Sendable, CaseIterable {
    /// Pooled text, sizes and crops (SDXL).
    case textTime = "text_time"
  }

  /// The settings of a `config.json` that matter to the computation, under diffusers' names.
  ///
  /// Decoding takes diffusers' defaults for absent keys, throws `ConfigurationError` for a value that is not supported, and
  /// ignores keys that it does not know; what is encoded is a `config.json` that diffusers loads.
  public struct Configuration: Sendable, Equatable {
    /// Height and width of the latents it was trained on.
    public var sampleSize: OneOrMany?
    public var inChannels: Int
    public var outChannels: Int
    /// Whether to scale the input from [0, 1] to [−1, 1].
    public var centerInputSample: Bool
    public var flipSinToCos: Bool
    public var freqShift: Int
    public var downBlockTypes: [DownBlockType]
    /// nil for none at all.
    public var midBlockType: MidBlockType?
    public var upBlockTypes: [UpBlockType]
    public var blockOutChannels: [Int]
    public var layersPerBlock: OneOrMany
    public var downsamplePadding: Int
    public var normNumGroups: Int
    public var normEps: Double
    /// Width of the text states.
    public var crossAttentionDim: OneOrMany
    public var transformerLayersPerBlock: OneOrMany
    /// The NUMBER of attention heads: the name is a mistake that diffusers keeps for the sake of published files.
    public var attentionHeadDim: OneOrMany
    public var useLinearProjection: Bool
    /// Without effect: diffusers' attention kernel, followed here, ignores it too.
    public var upcastAttention: Bool
    public var additionEmbedType: AdditionEmbedType?
    /// Width of the sinusoids of one size.
    public var additionTimeEmbedDim: Int?
    /// Width of the pooled text and six sinusoids.
    public var projectionClassEmbeddingsInputDim: Int?

    /// The defaults are those of Stable Diffusion XL.
    public init(
      sampleSize: OneOrMany? = 128, inChannels: Int = 4, outChannels: Int = 4, centerInputSample: Bool = false,
      flipSinToCos: Bool = true, freqShift: Int = 0,
      downBlockTypes: [DownBlockType] = [.downBlock2D, .crossAttnDownBlock2D, .crossAttnDownBlock2D],
      midBlockType: MidBlockType? = .unetMidBlock2DCrossAttn,
      upBlockTypes: [UpBlockType] = [.crossAttnUpBlock2D, .crossAttnUpBlock2D, .upBlock2D],
      blockOutChannels: [Int] = [320, 640, 1280], layersPerBlock: OneOrMany = 2, downsamplePadding: Int = 1,
      normNumGroups: Int = 32, normEps: Double = 1e-5, crossAttentionDim: OneOrMany = 2048,
      transformerLayersPerBlock: OneOrMany = [1, 2, 10], attentionHeadDim: OneOrMany = [5, 10, 20],
      useLinearProjection: Bool = true, upcastAttention: Bool = false,
      additionEmbedType: AdditionEmbedType? = .textTime, additionTimeEmbedDim: Int? = 256,
      projectionClassEmbeddingsInputDim: Int? = 2816
    ) {
      self.sampleSize = sampleSize
      self.inChannels = inChannels
      self.outChannels = outChannels
      self.centerInputSample = centerInputSample
      self.flipSinToCos = flipSinToCos
      self.freqShift = freqShift
      self.downBlockTypes = downBlockTypes
      self.midBlockType = midBlockType
      self.upBlockTypes = upBlockTypes
      self.blockOutChannels = blockOutChannels
      self.layersPerBlock = layersPerBlock
      self.downsamplePadding = downsamplePadding
      self.normNumGroups = normNumGroups
      self.normEps = normEps
      self.crossAttentionDim = crossAttentionDim
      self.transformerLayersPerBlock = transformerLayersPerBlock
      self.attentionHeadDim = attentionHeadDim
      self.useLinearProjection = useLinearProjection
      self.upcastAttention = upcastAttention
      self.additionEmbedType = additionEmbedType
      self.additionTimeEmbedDim = additionTimeEmbedDim
      self.projectionClassEmbeddingsInputDim = projectionClassEmbeddingsInputDim
    }
  }
}

// MARK: what follows from the settings

extension UNet2DConditionModel.Configuration {
  /// What one resolution consists of.
  struct Level {
    let layers: Int
    let transformer: Transformer2DModel.Settings
  }

  /// The levels from the highest resolution to the lowest.
  func plan() throws -> [Level] {
    let count = blockOutChannels.count
    try ConfigurationError.require(count > 0, "block_out_channels", "[]", "one number a block")
    for (key, found) in [("down_block_types", downBlockTypes.count), ("up_block_types", upBlockTypes.count)] {
      try ConfigurationError.require(found == count, key, "\(found) names", "\(count), as many as block_out_channels has")
    }
    for channels in blockOutChannels {
      try ConfigurationError.require(
        normNumGroups > 0 && 1...ConfigurationError.widest ~= channels && channels % normNumGroups == 0, "block_out_channels",
        "\(blockOutChannels)", "multiples of norm_num_groups = \(normNumGroups), \(ConfigurationError.widest) at most")
    }
    try ConfigurationError.require(
      sampleSize?.numbers.allSatisfy { 1...ConfigurationError.widest ~= $0 } ?? true, "sample_size",
      sampleSize.map { "\($0)" } ?? "null",
      "positive numbers, \(ConfigurationError.widest) at most")
    let layers = try layersPerBlock.expanded(to: count, key: "layers_per_block", atMost: ConfigurationError.deepest)
    let heads = try attentionHeadDim.expanded(to: count, key: "attention_head_dim")
    let widths = try crossAttentionDim.expanded(to: count, key: "cross_attention_dim")
    let transformerLayers = try transformerLayersPerBlock.expanded(
      to: count, key: "transformer_layers_per_block", atMost: ConfigurationError.deepest)
    return try (0..<count).map { index in
      try ConfigurationError.require(
        blockOutChannels[index] % heads[index] == 0 || !hasAttention(index), "attention_head_dim", "\(attentionHeadDim)",
        "numbers of heads that divide block_out_channels = \(blockOutChannels)")
      return Level(
        layers: layers[index],
        transformer: Transformer2DModel.Settings(
          layers: transformerLayers[index], heads: heads[index], crossAttentionDim: widths[index],
          useLinearProjection: useLinearProjection, groups: normNumGroups))
    }
  }

  /// Whether any block of this resolution has transformers.
  private func hasAttention(_ level: Int) -> Bool {
    let last = blockOutChannels.count - 1
    return downBlockTypes[level] == .crossAttnDownBlock2D || upBlockTypes[last - level] == .crossAttnUpBlock2D
      || level == last && midBlockType == .unetMidBlock2DCrossAttn
  }

  /// Widths of the sinusoids of one size and of the whole addition embedding; nil for a model without one.
  func additionWidths() throws -> (each: Int, all: Int)? {
    guard additionEmbedType == .textTime else { return nil }
    guard let each = additionTimeEmbedDim, 1...ConfigurationError.widest ~= each else {
      throw missing("addition_time_embed_dim", additionTimeEmbedDim)
    }
    guard let all = projectionClassEmbeddingsInputDim, 1...ConfigurationError.widest ~= all else {
      throw missing("projection_class_embeddings_input_dim", projectionClassEmbeddingsInputDim)
    }
    return (each, all)
  }

  private func missing(_ key: String, _ found: Int?) -> ConfigurationError {
    let expected = "a positive number up to \(ConfigurationError.widest), because addition_embed_type is \"text_time\""
    return ConfigurationError(.inconsistent(key: key, found: found.map { "\($0)" } ?? "null", expected: expected))
  }
}

// MARK: config.json

extension UNet2DConditionModel.Configuration: Codable {
  private enum CodingKeys: String, CodingKey {
    case className = "_class_name"
    case version = "_diffusers_version"
    case sampleSize = "sample_size"
    case inChannels = "in_channels"
    case outChannels = "out_channels"
    case centerInputSample = "center_input_sample"
    case flipSinToCos = "flip_sin_to_cos"
    case freqShift = "freq_shift"
    case downBlockTypes = "down_block_types"
    case midBlockType = "mid_block_type"
    case upBlockTypes = "up_block_types"
    case blockOutChannels = "block_out_channels"
    case layersPerBlock = "layers_per_block"
    case downsamplePadding = "downsample_padding"
    case normNumGroups = "norm_num_groups"
    case normEps = "norm_eps"
    case crossAttentionDim = "cross_attention_dim"
    case transformerLayersPerBlock = "transformer_layers_per_block"
    case attentionHeadDim = "attention_head_dim"
    case useLinearProjection = "use_linear_projection"
    case upcastAttention = "upcast_attention"
    case additionEmbedType = "addition_embed_type"
    case additionTimeEmbedDim = "addition_time_embed_dim"
    case projectionClassEmbeddingsInputDim = "projection_class_embeddings_input_dim"
  }

  /// Settings that may only have these values: others ask for computations that this package does not do.
  private static var fixed: KeyValuePairs<String, [SettingValue]> {
    [
      "_class_name": [.string("UNet2DConditionModel")],
      "act_fn": [.string("silu"), .string("swish")],
      "attention_type": [.string("default")],
      "class_embed_type": [.null],
      "class_embeddings_concat": [.bool(false)],
      "conv_in_kernel": [.number(3)],
      "conv_out_kernel": [.number(3)],
      "cross_attention_norm": [.null],
      "dropout": [.number(0)],
      "dual_cross_attention": [.bool(false)],
      "encoder_hid_dim": [.null],
      "encoder_hid_dim_type": [.null],
      "mid_block_only_cross_attention": [.null, .bool(false)],
      "mid_block_scale_factor": [.number(1)],
      // diffusers refuses it too: the number of heads is what attention_head_dim says.
      "num_attention_heads": [.null],
      "num_class_embeds": [.null],
      "only_cross_attention": [.bool(false), .null],
      "resnet_out_scale_factor": [.number(1)],
      "resnet_skip_time_act": [.bool(false)],
      "resnet_time_scale_shift": [.string("default")],
      "reverse_transformer_layers_per_block": [.null],
      "time_cond_proj_dim": [.null],
      "time_embedding_act_fn": [.null],
      "time_embedding_dim": [.null],
      "time_embedding_type": [.string("positional")],
      "timestep_post_act": [.null],
    ]
  }

  public init(from decoder: any Decoder) throws {
    try decoder.requireSupported(Self.fixed)
    let container = try decoder.container(keyedBy: CodingKeys.self)
    let hasMidBlock = try !container.contains(.midBlockType) || !container.decodeNil(forKey: .midBlockType)
    let hasAddition = try container.contains(.additionEmbedType) && !container.decodeNil(forKey: .additionEmbedType)
    self.init(
      sampleSize: try Self.sampleSize(in: container),
      inChannels: try container.setting(.inChannels, default: 4),
      outChannels: try container.setting(.outChannels, default: 4),
      centerInputSample: try container.setting(.centerInputSample, default: false),
      flipSinToCos: try container.setting(.flipSinToCos, default: true),
      freqShift: try container.setting(.freqShift, default: 0),
      downBlockTypes: try container.choices(
        .downBlockTypes,
        default: [.crossAttnDownBlock2D, .crossAttnDownBlock2D, .crossAttnDownBlock2D, .downBlock2D]),
      midBlockType: hasMidBlock ? try container.choice(.midBlockType, default: .unetMidBlock2DCrossAttn) : nil,
      upBlockTypes: try container.choices(
        .upBlockTypes, default: [.upBlock2D, .crossAttnUpBlock2D, .crossAttnUpBlock2D, .crossAttnUpBlock2D]),
      blockOutChannels: try container.setting(.blockOutChannels, default: [320, 640, 1280, 1280]),
      layersPerBlock: try container.setting(.layersPerBlock, default: 2),
      downsamplePadding: try container.setting(.downsamplePadding, default: 1),
      normNumGroups: try container.setting(.normNumGroups, default: 32),
      normEps: try container.setting(.normEps, default: 1e-5),
      crossAttentionDim: try container.setting(.crossAttentionDim, default: 1280),
      transformerLayersPerBlock: try container.setting(.transformerLayersPerBlock, default: 1),
      attentionHeadDim: try container.setting(.attentionHeadDim, default: 8),
      useLinearProjection: try container.setting(.useLinearProjection, default: false),
      upcastAttention: try container.setting(.upcastAttention, default: false),
      additionEmbedType: hasAddition ? try container.choice(.additionEmbedType, default: .textTime) : nil,
      additionTimeEmbedDim: try container.decodeIfPresent(Int.self, forKey: .additionTimeEmbedDim),
      projectionClassEmbeddingsInputDim: try container.decodeIfPresent(
        Int.self, forKey: .projectionClassEmbeddingsInputDim))
  }

  /// What was saved before diffusers 0.9 says 32 and was trained on 64 (diffusers: pipelines/stable_diffusion/pipeline_stable_diffusion.py).
  private static func sampleSize(in container: KeyedDecodingContainer<CodingKeys>) throws -> OneOrMany? {
    let size = try container.decodeIfPresent(OneOrMany.self, forKey: .sampleSize)
    guard case .one(let side) = size, side < 64, let version = try container.decodeIfPresent(String.self, forKey: .version) else {
      return size
    }
    let numbers = version.split(separator: ".").prefix(2).map { Int($0) ?? 0 }
    return numbers.lexicographicallyPrecedes([0, 9]) ? 64 : size
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode("UNet2DConditionModel", forKey: .className)
    try container.encode(diffusersVersion, forKey: .version)
    // Optional settings are written as null: absent would mean diffusers' default.
    try container.encode(sampleSize, forKey: .sampleSize)
    try container.encode(inChannels, forKey: .inChannels)
    try container.encode(outChannels, forKey: .outChannels)
    try container.encode(centerInputSample, forKey: .centerInputSample)
    try container.encode(flipSinToCos, forKey: .flipSinToCos)
    try container.encode(freqShift, forKey: .freqShift)
    try container.encode(downBlockTypes, forKey: .downBlockTypes)
    try container.encode(midBlockType, forKey: .midBlockType)
    try container.encode(upBlockTypes, forKey: .upBlockTypes)
    try container.encode(blockOutChannels, forKey: .blockOutChannels)
    try container.encode(layersPerBlock, forKey: .layersPerBlock)
    try container.encode(downsamplePadding, forKey: .downsamplePadding)
    try container.encode(normNumGroups, forKey: .normNumGroups)
    try container.encode(normEps, forKey: .normEps)
    try container.encode(crossAttentionDim, forKey: .crossAttentionDim)
    try container.encode(transformerLayersPerBlock, forKey: .transformerLayersPerBlock)
    try container.encode(attentionHeadDim, forKey: .attentionHeadDim)
    try container.encode(useLinearProjection, forKey: .useLinearProjection)
    try container.encode(upcastAttention, forKey: .upcastAttention)
    try container.encode(additionEmbedType, forKey: .additionEmbedType)
    try container.encode(additionTimeEmbedDim, forKey: .additionTimeEmbedDim)
    try container.encode(projectionClassEmbeddingsInputDim, forKey: .projectionClassEmbeddingsInputDim)
  }
}
