public import Diffusion
public import Torch

/// DINOv2's vision transformer (transformers: models/dinov2/modeling_dinov2.py Dinov2Model).
///
/// Paths of weights are the keys of published checkpoints.
public final class Dinov2Model {
  public let configuration: Configuration
  private let embeddings: ViTEmbeddings
  private let layers: [Dinov2Layer]
  private let layerNorm: LayerNorm

  /// - Throws: `ConfigurationError` for settings that cannot hold together.
  public init(_ configuration: Configuration, _ weights: Weights) throws {
    try configuration.validate()
    self.configuration = configuration
    embeddings = ViTEmbeddings(
      weights / "embeddings", width: configuration.hiddenSize, patches: configuration.imageSize / configuration.patchSize,
      patchSize: configuration.patchSize)
    layers = (0..<configuration.numHiddenLayers).map { Dinov2Layer(weights / "encoder" / "layer" / $0, configuration) }
    layerNorm = LayerNorm(weights / "layernorm", width: configuration.hiddenSize, epsilon: configuration.layerNormEps)
  }

  /// Pixels [N, 3, H, W] of any size → last_hidden_state [N, 1 + patches, hiddenSize], through the last norm.
  public func callAsFunction(_ pixels: Tensor) -> Tensor {
    layerNorm(layers.reduce(embeddings(pixels)) { $1($0) })
  }
}

/// transformers: models/dinov2/modeling_dinov2.py Dinov2Layer
private struct Dinov2Layer {
  let norm1: LayerNorm
  let attention: ViTAttention
  let layerScale1: Tensor
  let norm2: LayerNorm
  let mlp: any FeedForward
  let layerScale2: Tensor

  init(_ weights: Weights, _ configuration: Dinov2Model.Configuration) {
    let (width, epsilon) = (configuration.hiddenSize, configuration.layerNormEps)
    norm1 = LayerNorm(weights / "norm1", width: width, epsilon: epsilon)
    attention = ViTAttention(
      weights / "attention", width: width, heads: configuration.numAttentionHeads, qkvBias: configuration.qkvBias)
    layerScale1 = (weights / "layer_scale1").parameter("lambda1", [width], .ones)
    norm2 = LayerNorm(weights / "norm2", width: width, epsilon: epsilon)
    mlp =
      configuration.useSwigluFfn
      ? Dinov2SwiGLUFFN(weights / "mlp", configuration) : Dinov2MLP(weights / "mlp", configuration)
    layerScale2 = (weights / "layer_scale2").parameter("lambda1", [width], .ones)
  }

  /// x [N, L, D] → [N, L, D]
  func callAsFunction(_ x: Tensor) -> Tensor {
    let attended = attention(norm1(x)) * layerScale1 + x
    return mlp(norm2(attended)) * layerScale2 + attended
  }
}

private protocol FeedForward {
  /// x [N, L, D] → [N, L, D]
  func callAsFunction(_ x: Tensor) -> Tensor
}

/// transformers: models/dinov2/modeling_dinov2.py Dinov2MLP
private struct Dinov2MLP: FeedForward {
  let activation: CLIPTextModel.Activation
  let fc1: Linear
  let fc2: Linear

  init(_ weights: Weights, _ configuration: Dinov2Model.Configuration) {
    activation = configuration.hiddenAct
    fc1 = Linear(weights / "fc1", configuration.hiddenSize, configuration.innerWidth)
    fc2 = Linear(weights / "fc2", configuration.innerWidth, configuration.hiddenSize)
  }

  func callAsFunction(_ x: Tensor) -> Tensor { fc2(activation(fc1(x))) }
}

/// silu(gate) · up, projected back (transformers: models/dinov2/modeling_dinov2.py Dinov2SwiGLUFFN).
private struct Dinov2SwiGLUFFN: FeedForward {
  /// Gate and up: one matrix in published files, two in those that transformers 5 writes under its own names.
  let weightsIn: [Linear]
  let weightsOut: Linear

  init(_ weights: Weights, _ configuration: Dinov2Model.Configuration) {
    let (width, inner) = (configuration.hiddenSize, configuration.gatedWidth)
    weightsIn =
      weights.has("gate_proj.weight")
      ? ["gate_proj", "up_proj"].map { Linear(weights / $0, width, inner) } : [Linear(weights / "weights_in", width, 2 * inner)]
    weightsOut = Linear(weights / "weights_out", inner, width)
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    let halves = weightsIn.flatMap { $0(x).chunked(2 / weightsIn.count, along: -1) }
    return weightsOut(halves[0].silu() * halves[1])
  }
}

extension Dinov2Model {
  /// The settings of a `config.json` that matter to the computation, under transformers' names; decoding as of
  /// `CLIPVisionModel.Configuration`.
  public struct Configuration: Sendable, Equatable {
    public var hiddenSize: Int
    public var numHiddenLayers: Int
    public var numAttentionHeads: Int
    /// Width of the feed-forward layers in relation to `hiddenSize`.
    public var mlpRatio: Int
    /// Height and width of the pictures that the positions were trained on; others are possible.
    public var imageSize: Int
    public var patchSize: Int
    public var hiddenAct: CLIPTextModel.Activation
    public var layerNormEps: Double
    public var qkvBias: Bool
    /// Gated feed-forward layers, as in the giant model.
    public var useSwigluFfn: Bool

    /// The defaults are those of `facebook/dinov2-base`.
    public init(
      hiddenSize: Int = 768, numHiddenLayers: Int = 12, numAttentionHeads: Int = 12, mlpRatio: Int = 4, imageSize: Int = 518,
      patchSize: Int = 14, hiddenAct: CLIPTextModel.Activation = .gelu, layerNormEps: Double = 1e-6, qkvBias: Bool = true,
      useSwigluFfn: Bool = false
    ) {
      self.hiddenSize = hiddenSize
      self.numHiddenLayers = numHiddenLayers
      self.numAttentionHeads = numAttentionHeads
      self.mlpRatio = mlpRatio
      self.imageSize = imageSize
      self.patchSize = patchSize
      self.hiddenAct = hiddenAct
      self.layerNormEps = layerNormEps
      self.qkvBias = qkvBias
      self.useSwigluFfn = useSwigluFfn
    }

    fileprivate var innerWidth: Int { hiddenSize * mlpRatio }
    /// Two thirds of it, up to the next multiple of 8.
    fileprivate var gatedWidth: Int { (innerWidth * 2 / 3 + 7) / 8 * 8 }
  }
}

extension Dinov2Model.Configuration: Decodable {
  func validate() throws {
    try VisionSettings.validate(
      width: hiddenSize, heads: numAttentionHeads, layers: numHiddenLayers, imageSize: imageSize, patchSize: patchSize)
  }

  private enum CodingKeys: String, CodingKey {
    case hiddenSize = "hidden_size"
    case numHiddenLayers = "num_hidden_layers"
    case numAttentionHeads = "num_attention_heads"
    case mlpRatio = "mlp_ratio"
    case imageSize = "image_size"
    case patchSize = "patch_size"
    case hiddenAct = "hidden_act"
    case layerNormEps = "layer_norm_eps"
    case qkvBias = "qkv_bias"
    case useSwigluFfn = "use_swiglu_ffn"
  }

  public init(from decoder: any Decoder) throws {
    try decoder.requireSupported(["model_type": [.string("dinov2")], "num_channels": [.number(3)]])
    let container = try decoder.container(keyedBy: CodingKeys.self)
    self.init(
      hiddenSize: try container.setting(.hiddenSize, default: 768),
      numHiddenLayers: try container.setting(.numHiddenLayers, default: 12),
      numAttentionHeads: try container.setting(.numAttentionHeads, default: 12),
      mlpRatio: try container.setting(.mlpRatio, default: 4),
      imageSize: try container.setting(.imageSize, default: 224),
      patchSize: try container.setting(.patchSize, default: 14),
      hiddenAct: try container.choice(.hiddenAct, default: .gelu),
      layerNormEps: try container.setting(.layerNormEps, default: 1e-6),
      qkvBias: try container.setting(.qkvBias, default: true),
      useSwigluFfn: try container.setting(.useSwigluFfn, default: false))
  }
}

extension ModelFolder {
  /// A Dinov2Model, of any model with one: prefixes are taken off, heads and the mask token are left out.
  public func dinov2(dtype: DType = .float32, device: Device = .cpu) throws -> (Dinov2Model, WeightStore) {
    let source = ModelSource(
      configuration: try configuration(Dinov2Model.Configuration.self), file: configurationFile,
      weights: RenamedTensors(try weights(stem: Self.transformersStem)) { PublishedNames.dinov2.name(of: $0) })
    return try source.load(dtype, device, ignoring: PublishedNames.isHead) { try Dinov2Model($0, $1) }
  }
}
