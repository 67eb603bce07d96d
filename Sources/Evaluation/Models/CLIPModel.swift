public import Diffusion
public import Torch

/// CLIP: texts and pictures in one space (transformers: models/clip/modeling_clip.py CLIPModel).
public final class CLIPModel {
  /// The settings of a `config.json`, under transformers' names.
  public struct Configuration: Sendable, Equatable {
    /// With the projection, whose width is `projectionDim` of the whole model.
    public var textConfig: CLIPTextModel.Configuration
    public var visionConfig: CLIPVisionModel.Configuration
    /// Width of the space that texts and pictures have in common.
    public var projectionDim: Int

    public init(
      textConfig: CLIPTextModel.Configuration, visionConfig: CLIPVisionModel.Configuration = .init(), projectionDim: Int = 512
    ) {
      self.textConfig = textConfig
      self.textConfig.withProjection = true
      self.textConfig.projectionDim = projectionDim
      self.visionConfig = visionConfig
      self.projectionDim = projectionDim
    }
  }

  public let configuration: Configuration
  public let textModel: CLIPTextModel
  public let visionModel: CLIPVisionModel
  /// Logarithm of what cosines are multiplied with for classification; scores are plain cosines.
  public let logitScale: Tensor
  private let visualProjection: Linear

  /// - Throws: `ConfigurationError` for settings that cannot hold together.
  public init(_ configuration: Configuration, _ weights: Weights) throws {
    self.configuration = configuration
    textModel = try CLIPTextModel(configuration.textConfig, weights)
    visionModel = try CLIPVisionModel(configuration.visionConfig, weights)
    visualProjection = Linear(
      weights / "visual_projection", configuration.visionConfig.hiddenSize, configuration.projectionDim, bias: false)
    logitScale = weights.parameter("logit_scale", [], .ones)
  }

  /// Token ids [N, L] → [N, projectionDim] (transformers: get_text_features).
  public func textEmbeds(_ ids: Tensor) -> Tensor { textModel(ids).textEmbeds! }

  /// Pixels [N, 3, imageSize, imageSize] → [N, projectionDim] (transformers: get_image_features).
  public func imageEmbeds(_ pixels: Tensor) -> Tensor { visualProjection(visionModel(pixels).poolerOutput) }
}

extension CLIPModel.Configuration: Decodable {
  private enum CodingKeys: String, CodingKey {
    case textConfig = "text_config"
    case visionConfig = "vision_config"
    // Of 2022. Where they stand they say everything, and what is beside them does not count.
    case textConfigDict = "text_config_dict"
    case visionConfigDict = "vision_config_dict"
    case projectionDim = "projection_dim"
  }

  public init(from decoder: any Decoder) throws {
    try decoder.requireSupported(["model_type": [.string("clip")]])
    let container = try decoder.container(keyedBy: CodingKeys.self)
    func part<Part: Decodable>(_ key: CodingKeys, _ older: CodingKeys) throws -> Part {
      try container.decodeIfPresent(Part.self, forKey: older) ?? container.decode(Part.self, forKey: key)
    }
    self.init(
      textConfig: try part(.textConfig, .textConfigDict), visionConfig: try part(.visionConfig, .visionConfigDict),
      projectionDim: try container.setting(.projectionDim, default: 512))
  }
}

extension ModelFolder {
  /// A CLIPModel with its weights; errors as of `ModelFolder.unet`. So do the following.
  public func clip(dtype: DType = .float32, device: Device = .cpu) throws -> (CLIPModel, WeightStore) {
    let source = ModelSource(
      configuration: try configuration(CLIPModel.Configuration.self), file: configurationFile,
      weights: try weights(stem: Self.transformersStem))
    // Buffers of 0, 1, 2 … that older files carry.
    let buffers = ["text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"]
    return try source.load(dtype, device, ignoring: buffers.contains) { try CLIPModel($0, $1) }
  }
}
