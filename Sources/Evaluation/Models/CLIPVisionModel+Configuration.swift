public import Diffusion

extension CLIPVisionModel {
  /// The settings of a `vision_config` that matter to the computation, under transformers' names.
  ///
  /// Decoding takes transformers' defaults for absent keys, throws `ConfigurationError` for a value that is not supported,
  /// and ignores keys that it does not know.
  public struct Configuration: Sendable, Equatable {
    public var hiddenSize: Int
    public var intermediateSize: Int
    public var numHiddenLayers: Int
    public var numAttentionHeads: Int
    /// Height and width of the pictures.
    public var imageSize: Int
    public var patchSize: Int
    public var hiddenAct: CLIPTextModel.Activation
    public var layerNormEps: Double

    /// The defaults are those of ViT-B/32.
    public init(
      hiddenSize: Int = 768, intermediateSize: Int = 3072, numHiddenLayers: Int = 12, numAttentionHeads: Int = 12,
      imageSize: Int = 224, patchSize: Int = 32, hiddenAct: CLIPTextModel.Activation = .quickGelu, layerNormEps: Double = 1e-5
    ) {
      self.hiddenSize = hiddenSize
      self.intermediateSize = intermediateSize
      self.numHiddenLayers = numHiddenLayers
      self.numAttentionHeads = numAttentionHeads
      self.imageSize = imageSize
      self.patchSize = patchSize
      self.hiddenAct = hiddenAct
      self.layerNormEps = layerNormEps
    }

    /// Patches in a row and in a column.
    public var patches: Int { imageSize / patchSize }
  }
}

extension CLIPVisionModel.Configuration {
  func validate() throws {
    try VisionSettings.validate(
      width: hiddenSize, heads: numAttentionHeads, layers: numHiddenLayers, imageSize: imageSize, patchSize: patchSize)
  }
}

extension CLIPVisionModel.Configuration: Decodable {
  private enum CodingKeys: String, CodingKey {
    case hiddenSize = "hidden_size"
    case intermediateSize = "intermediate_size"
    case numHiddenLayers = "num_hidden_layers"
    case numAttentionHeads = "num_attention_heads"
    case imageSize = "image_size"
    case patchSize = "patch_size"
    case hiddenAct = "hidden_act"
    case layerNormEps = "layer_norm_eps"
  }

  public init(from decoder: any Decoder) throws {
    try decoder.requireSupported(["model_type": [.string("clip_vision_model")], "num_channels": [.number(3)]])
    let container = try decoder.container(keyedBy: CodingKeys.self)
    self.init(
      hiddenSize: try container.setting(.hiddenSize, default: 768),
      intermediateSize: try container.setting(.intermediateSize, default: 3072),
      numHiddenLayers: try container.setting(.numHiddenLayers, default: 12),
      numAttentionHeads: try container.setting(.numAttentionHeads, default: 12),
      imageSize: try container.setting(.imageSize, default: 224),
      patchSize: try container.setting(.patchSize, default: 32),
      hiddenAct: try container.choice(.hiddenAct, default: .quickGelu),
      layerNormEps: try container.setting(.layerNormEps, default: 1e-5))
  }
}
