package import Torch

extension CLIPTextModel {
  public enum Activation: String, Codable, Sendable, CaseIterable {
    case quickGelu = "quick_gelu"
    case gelu

    package func callAsFunction(_ x: Tensor) -> Tensor {
      switch self {
      case .quickGelu: x.quickGelu()
      case .gelu: x.gelu()
      }
    }
  }

  /// The settings of a `config.json` that matter to the computation, under transformers' names.
  ///
  /// Decoding takes transformers' defaults for absent keys, throws `ConfigurationError` for a value that is not supported,
  /// and ignores keys that it does not know; what is encoded is a `config.json` that transformers loads.
  public struct Configuration: Sendable, Equatable {
    /// Whether the pooled text is projected: the architecture CLIPTextModelWithProjection.
    public var withProjection: Bool
    public var vocabSize: Int
    public var hiddenSize: Int
    public var intermediateSize: Int
    public var projectionDim: Int
    public var numHiddenLayers: Int
    public var numAttentionHeads: Int
    public var maxPositionEmbeddings: Int
    public var hiddenAct: Activation
    public var layerNormEps: Double
    public var padTokenId: Int
    public var bosTokenId: Int
    /// 2 means the position of the largest id, as in all configurations from before transformers 4.31.
    public var eosTokenId: Int

    /// The defaults are those of the first text encoder of Stable Diffusion XL.
    public init(
      withProjection: Bool = false, vocabSize: Int = 49408, hiddenSize: Int = 768, intermediateSize: Int = 3072,
      projectionDim: Int = 768, numHiddenLayers: Int = 12, numAttentionHeads: Int = 12, maxPositionEmbeddings: Int = 77,
      hiddenAct: Activation = .quickGelu, layerNormEps: Double = 1e-5, padTokenId: Int = 1, bosTokenId: Int = 49406,
      eosTokenId: Int = 49407
    ) {
      self.withProjection = withProjection
      self.vocabSize = vocabSize
      self.hiddenSize = hiddenSize
      self.intermediateSize = intermediateSize
      self.projectionDim = projectionDim
      self.numHiddenLayers = numHiddenLayers
      self.numAttentionHeads = numAttentionHeads
      self.maxPositionEmbeddings = maxPositionEmbeddings
      self.hiddenAct = hiddenAct
      self.layerNormEps = layerNormEps
      self.padTokenId = padTokenId
      self.bosTokenId = bosTokenId
      self.eosTokenId = eosTokenId
    }
  }
}

extension CLIPTextModel.Configuration {
  func validate() throws {
    try ConfigurationError.require(
      numAttentionHeads > 0 && 1...ConfigurationError.widest ~= hiddenSize && hiddenSize % numAttentionHeads == 0,
      "hidden_size", "\(hiddenSize)",
      "a multiple of num_attention_heads = \(numAttentionHeads), \(ConfigurationError.widest) at most")
    try ConfigurationError.require(
      1...ConfigurationError.deepest ~= numHiddenLayers, "num_hidden_layers", "\(numHiddenLayers)",
      "a positive number, \(ConfigurationError.deepest) at most")
  }
}

extension CLIPTextModel.Configuration: Codable {
  private enum Architecture: String, Codable, CaseIterable {
    case plain = "CLIPTextModel"
    case withProjection = "CLIPTextModelWithProjection"
  }

  private enum CodingKeys: String, CodingKey {
    case architectures
    case modelType = "model_type"
    case vocabSize = "vocab_size"
    case hiddenSize = "hidden_size"
    case intermediateSize = "intermediate_size"
    case projectionDim = "projection_dim"
    case numHiddenLayers = "num_hidden_layers"
    case numAttentionHeads = "num_attention_heads"
    case maxPositionEmbeddings = "max_position_embeddings"
    case hiddenAct = "hidden_act"
    case layerNormEps = "layer_norm_eps"
    case padTokenId = "pad_token_id"
    case bosTokenId = "bos_token_id"
    case eosTokenId = "eos_token_id"
  }

  private static var fixed: KeyValuePairs<String, [SettingValue]> {
    [
      "model_type": [.string("clip_text_model")],
      "attention_dropout": [.number(0)],
      // Of the configurations of 2022.
      "dropout": [.number(0)],
    ]
  }

  public init(from decoder: any Decoder) throws {
    try decoder.requireSupported(Self.fixed)
    let container = try decoder.container(keyedBy: CodingKeys.self)
    let architectures = try container.setting(.architectures, default: [String]())
    self.init(
      withProjection: architectures.contains(Architecture.withProjection.rawValue),
      vocabSize: try container.setting(.vocabSize, default: 49408),
      hiddenSize: try container.setting(.hiddenSize, default: 512),
      intermediateSize: try container.setting(.intermediateSize, default: 2048),
      projectionDim: try container.setting(.projectionDim, default: 512),
      numHiddenLayers: try container.setting(.numHiddenLayers, default: 12),
      numAttentionHeads: try container.setting(.numAttentionHeads, default: 8),
      maxPositionEmbeddings: try container.setting(.maxPositionEmbeddings, default: 77),
      hiddenAct: try container.choice(.hiddenAct, default: .quickGelu),
      layerNormEps: try container.setting(.layerNormEps, default: 1e-5),
      padTokenId: try container.setting(.padTokenId, default: 1),
      bosTokenId: try container.setting(.bosTokenId, default: 49406),
      eosTokenId: try container.setting(.eosTokenId, default: 49407))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode([withProjection ? Architecture.withProjection : .plain], forKey: .architectures)
    try container.encode("clip_text_model", forKey: .modelType)
    try container.encode(vocabSize, forKey: .vocabSize)
    try container.encode(hiddenSize, forKey: .hiddenSize)
    try container.encode(intermediateSize, forKey: .intermediateSize)
    try container.encode(projectionDim, forKey: .projectionDim)
    try container.encode(numHiddenLayers, forKey: .numHiddenLayers)
    try container.encode(numAttentionHeads, forKey: .numAttentionHeads)
    try container.encode(maxPositionEmbeddings, forKey: .maxPositionEmbeddings)
    try container.encode(hiddenAct, forKey: .hiddenAct)
    try container.encode(layerNormEps, forKey: .layerNormEps)
    try container.encode(padTokenId, forKey: .padTokenId)
    try container.encode(bosTokenId, forKey: .bosTokenId)
    try container.encode(eosTokenId, forKey: .eosTokenId)
  }
}
