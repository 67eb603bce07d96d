public import Diffusion
public import Torch

/// A vision transformer, such as DINO's (transformers: models/vit/modeling_vit.py ViTModel without its pooler).
///
/// Paths of weights are the keys of published checkpoints.
public final class ViTModel {
  public let configuration: Configuration
  private let embeddings: ViTEmbeddings
  private let layers: [ViTLayer]
  private let layerNorm: LayerNorm

  /// - Throws: `ConfigurationError` for settings that cannot hold together.
  public init(_ configuration: Configuration, _ weights: Weights) throws {
    try configuration.validate()
    self.configuration = configuration
    embeddings = ViTEmbeddings(
      weights / "embeddings", width: configuration.hiddenSize, patches: configuration.imageSize / configuration.patchSize,
      patchSize: configuration.patchSize)
    layers = (0..<configuration.numHiddenLayers).map { ViTLayer(weights / "encoder" / "layer" / $0, configuration) }
    layerNorm = LayerNorm(weights / "layernorm", width: configuration.hiddenSize, epsilon: configuration.layerNormEps)
  }

  /// Pixels [N, 3, imageSize, imageSize] → last_hidden_state [N, 1 + patches, hiddenSize], through the last norm.
  public func callAsFunction(_ pixels: Tensor) -> Tensor {
    layerNorm(layers.reduce(embeddings(pixels)) { $1($0) })
  }
}

/// transformers: models/vit/modeling_vit.py ViTLayer
private struct ViTLayer {
  let activation: CLIPTextModel.Activation
  let layerNormBefore: LayerNorm
  let attention: ViTAttention
  let layerNormAfter: LayerNorm
  let intermediate: Linear
  let output: Linear

  init(_ weights: Weights, _ configuration: ViTModel.Configuration) {
    let (width, epsilon) = (configuration.hiddenSize, configuration.layerNormEps)
    activation = configuration.hiddenAct
    layerNormBefore = LayerNorm(weights / "layernorm_before", width: width, epsilon: epsilon)
    attention = ViTAttention(
      weights / "attention", width: width, heads: configuration.numAttentionHeads, qkvBias: configuration.qkvBias)
    layerNormAfter = LayerNorm(weights / "layernorm_after", width: width, epsilon: epsilon)
    intermediate = Linear(weights / "intermediate" / "dense", width, configuration.intermediateSize)
    output = Linear(weights / "output" / "dense", configuration.intermediateSize, width)
  }

  /// x [N, L, D] → [N, L, D]
  func callAsFunction(_ x: Tensor) -> Tensor {
    let attended = attention(layerNormBefore(x)) + x
    return output(activation(intermediate(layerNormAfter(attended)))) + attended
  }
}

extension ViTModel {
  /// The settings of a `config.json` that matter to the computation, under transformers' names; decoding as of
  /// `CLIPVisionModel.Configuration`.
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
    public var qkvBias: Bool

    /// The defaults are those of `facebook/dino-vits16`.
    public init(
      hiddenSize: Int = 384, intermediateSize: Int = 1536, numHiddenLayers: Int = 12, numAttentionHeads: Int = 6,
      imageSize: Int = 224, patchSize: Int = 16, hiddenAct: CLIPTextModel.Activation = .gelu, layerNormEps: Double = 1e-12,
      qkvBias: Bool = true
    ) {
      self.hiddenSize = hiddenSize
      self.intermediateSize = intermediateSize
      self.numHiddenLayers = numHiddenLayers
      self.numAttentionHeads = numAttentionHeads
      self.imageSize = imageSize
      self.patchSize = patchSize
      self.hiddenAct = hiddenAct
      self.layerNormEps = layerNormEps
      self.qkvBias = qkvBias
    }
  }
}

extension ViTModel.Configuration: Decodable {
  func validate() throws {
    try VisionSettings.validate(
      width: hiddenSize, heads: numAttentionHeads, layers: numHiddenLayers, imageSize: imageSize, patchSize: patchSize)
  }

  private enum CodingKeys: String, CodingKey {
    case hiddenSize = "hidden_size"
    case intermediateSize = "intermediate_size"
    case numHiddenLayers = "num_hidden_layers"
    case numAttentionHeads = "num_attention_heads"
    case imageSize = "image_size"
    case patchSize = "patch_size"
    case hiddenAct = "hidden_act"
    case layerNormEps = "layer_norm_eps"
    case qkvBias = "qkv_bias"
  }

  public init(from decoder: any Decoder) throws {
    try decoder.requireSupported(["model_type": [.string("vit")], "num_channels": [.number(3)]])
    let container = try decoder.container(keyedBy: CodingKeys.self)
    self.init(
      hiddenSize: try container.setting(.hiddenSize, default: 768),
      intermediateSize: try container.setting(.intermediateSize, default: 3072),
      numHiddenLayers: try container.setting(.numHiddenLayers, default: 12),
      numAttentionHeads: try container.setting(.numAttentionHeads, default: 12),
      imageSize: try container.setting(.imageSize, default: 224),
      patchSize: try container.setting(.patchSize, default: 16),
      hiddenAct: try container.choice(.hiddenAct, default: .gelu),
      layerNormEps: try container.setting(.layerNormEps, default: 1e-12),
      qkvBias: try container.setting(.qkvBias, default: true))
  }
}

extension ModelFolder {
  /// A ViTModel, of any model with one: prefixes are taken off, heads and the pooler are left out.
  public func vit(dtype: DType = .float32, device: Device = .cpu) throws -> (ViTModel, WeightStore) {
    let source = ModelSource(
      configuration: try configuration(ViTModel.Configuration.self), file: configurationFile,
      weights: RenamedTensors(try weights(stem: Self.transformersStem)) { PublishedNames.vit.name(of: $0) })
    return try source.load(dtype, device, ignoring: PublishedNames.isHead) { try ViTModel($0, $1) }
  }
}
