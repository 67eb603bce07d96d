internal import Diffusion
public import Torch

/// CLIP's encoder of pictures (transformers: models/clip/modeling_clip.py CLIPVisionModel).
///
/// Paths of weights are the keys of published checkpoints, which begin with `vision_model.`.
public final class CLIPVisionModel {
  public struct Output {
    /// What the last layer makes of class token and patches, [N, 1 + patches, hiddenSize]; not through the last norm.
    public let lastHiddenState: Tensor
    /// The class token of it through the last norm, [N, hiddenSize].
    public let poolerOutput: Tensor
  }

  public let configuration: Configuration
  private let classEmbedding: Tensor
  private let patchEmbedding: Conv2d
  private let positionEmbedding: Embedding
  private let preLayerNorm: LayerNorm
  private let layers: [CLIPEncoderLayer]
  private let postLayerNorm: LayerNorm

  /// - Throws: `ConfigurationError` for settings that cannot hold together.
  public init(_ configuration: Configuration, _ weights: Weights) throws {
    try configuration.validate()
    self.configuration = configuration
    let (width, epsilon) = (configuration.hiddenSize, configuration.layerNormEps)
    let model = weights / "vision_model"
    let embeddings = model / "embeddings"
    classEmbedding = embeddings.parameter(
      "class_embedding", [width], .normal(deviation: 1 / Double(width).squareRoot()))
    patchEmbedding = Conv2d(
      embeddings / "patch_embedding", 3, width, kernel: configuration.patchSize, stride: configuration.patchSize, bias: false)
    positionEmbedding = Embedding(
      embeddings / "position_embedding", count: 1 + configuration.patches * configuration.patches, width: width)
    // The key is misspelt in every checkpoint.
    preLayerNorm = LayerNorm(model / "pre_layrnorm", width: width, epsilon: epsilon)
    layers = (0..<configuration.numHiddenLayers).map {
      CLIPEncoderLayer(
        model / "encoder" / "layers" / $0, width: width, innerWidth: configuration.intermediateSize,
        heads: configuration.numAttentionHeads, activation: configuration.hiddenAct, epsilon: epsilon)
    }
    postLayerNorm = LayerNorm(model / "post_layernorm", width: width, epsilon: epsilon)
  }

  /// - Parameter pixels: [N, 3, imageSize, imageSize], normalised as the model's preprocessing says.
  public func callAsFunction(_ pixels: Tensor) -> Output {
    let size = configuration.imageSize
    precondition(pixels.dim(2) == size && pixels.dim(3) == size, "pictures of \(pixels.shape) for a model of \(size) pixels")
    let patches = patchEmbedding(pixels).flattened(from: 2).transposed()
    let classes = classEmbedding.expanded([pixels.dim(0), 1, configuration.hiddenSize])
    let embeddings = Tensor.concatenated([classes, patches], along: 1) + positionEmbedding.weight
    let last = layers.reduce(preLayerNorm(embeddings)) { $1($0, isCausal: false) }
    return Output(lastHiddenState: last, poolerOutput: postLayerNorm(last.select(1, 0)))
  }
}
