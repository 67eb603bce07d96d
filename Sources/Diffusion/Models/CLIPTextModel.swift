public import Torch

/// CLIP's text encoder, with or without the projection of the pooled text
/// (transformers: models/clip/modeling_clip.py CLIPTextModel and CLIPTextModelWithProjection).
///
/// Paths of weights are the keys of published checkpoints, which begin with `text_model.`.
public final class CLIPTextModel {
  public struct Output {
    /// The embeddings and what each layer makes of them, each [N, L, hiddenSize]; none of them through the last norm.
    public let hiddenStates: [Tensor]
    /// The last of them through the last norm, [N, L, hiddenSize].
    public let lastHiddenState: Tensor
    /// `lastHiddenState` at the end-of-text token, [N, hiddenSize].
    public let poolerOutput: Tensor
    /// The projection of `poolerOutput`, [N, projectionDim]; nil for a model without one.
    public let textEmbeds: Tensor?
  }

  public let configuration: Configuration
  private let tokenEmbedding: Embedding
  private let positionEmbedding: Embedding
  private let layers: [CLIPEncoderLayer]
  private let finalLayerNorm: LayerNorm
  private let textProjection: Linear?

  /// - Throws: `ConfigurationError` for settings that cannot hold together.
  public init(_ configuration: Configuration, _ weights: Weights) throws {
    try configuration.validate()
    self.configuration = configuration
    let width = configuration.hiddenSize
    let model = weights / "text_model"
    let embeddings = model / "embeddings"
    tokenEmbedding = Embedding(embeddings / "token_embedding", count: configuration.vocabSize, width: width)
    positionEmbedding = Embedding(
      embeddings / "position_embedding", count: configuration.maxPositionEmbeddings, width: width)
    layers = (0..<configuration.numHiddenLayers).map {
      CLIPEncoderLayer(model / "encoder" / "layers" / $0, configuration)
    }
    finalLayerNorm = LayerNorm(model / "final_layer_norm", width: width, epsilon: configuration.layerNormEps)
    textProjection =
      configuration.withProjection
      ? Linear(weights / "text_projection", width, configuration.projectionDim, bias: false) : nil
  }

  /// - Parameter ids: token ids [N, L], L at most `maxPositionEmbeddings`.
  public func callAsFunction(_ ids: Tensor) -> Output {
    precondition(
      ids.dim(1) <= configuration.maxPositionEmbeddings,
      "\(ids.dim(1)) tokens are more than the model's \(configuration.maxPositionEmbeddings)")
    let positions = Tensor.arange(ids.dim(1), device: ids.device)
    var hiddenStates = [tokenEmbedding(ids) + positionEmbedding(positions)]
    for layer in layers { hiddenStates.append(layer(hiddenStates[hiddenStates.count - 1])) }
    let last = finalLayerNorm(hiddenStates[hiddenStates.count - 1])
    let pooled = pooled(last, ids)
    return Output(
      hiddenStates: hiddenStates, lastHiddenState: last, poolerOutput: pooled, textEmbeds: textProjection?(pooled))
  }

  /// The states [N, L, D] at the first end-of-text token of each row → [N, D].
  ///
  /// Configurations from before transformers 4.31 say 2, which no text contains; then it is the position of the largest id.
  private func pooled(_ states: Tensor, _ ids: Tensor) -> Tensor {
    let isEnd =
      configuration.eosTokenId == 2 ? ids : (ids .== Double(configuration.eosTokenId)).to(dtype: .int32)
    let rowStarts = Tensor((0..<ids.dim(0)).map { $0 * ids.dim(1) }).to(device: ids.device)
    return states.flattened(from: 0, to: 1).gathered(isEnd.argmax(-1) + rowStarts)
  }
}

/// transformers: models/clip/modeling_clip.py CLIPEncoderLayer with CLIPAttention and CLIPMLP
private final class CLIPEncoderLayer {
  let heads: Int
  let activation: CLIPTextModel.Activation
  let layerNorm1: LayerNorm
  let query: Linear
  let key: Linear
  let value: Linear
  let output: Linear
  let layerNorm2: LayerNorm
  let fc1: Linear
  let fc2: Linear

  init(_ weights: Weights, _ configuration: CLIPTextModel.Configuration) {
    let width = configuration.hiddenSize
    let attention = weights / "self_attn"
    heads = configuration.numAttentionHeads
    activation = configuration.hiddenAct
    layerNorm1 = LayerNorm(weights / "layer_norm1", width: width, epsilon: configuration.layerNormEps)
    query = Linear(attention / "q_proj", width, width)
    key = Linear(attention / "k_proj", width, width)
    value = Linear(attention / "v_proj", width, width)
    output = Linear(attention / "out_proj", width, width)
    layerNorm2 = LayerNorm(weights / "layer_norm2", width: width, epsilon: configuration.layerNormEps)
    fc1 = Linear(weights / "mlp" / "fc1", width, configuration.intermediateSize)
    fc2 = Linear(weights / "mlp" / "fc2", configuration.intermediateSize, width)
  }

  /// x [N, L, D] → [N, L, D]; no token sees a later one.
  func callAsFunction(_ x: Tensor) -> Tensor {
    let attended = x + attend(layerNorm1(x))
    return attended + fc2(activation(fc1(layerNorm2(attended))))
  }

  private func attend(_ x: Tensor) -> Tensor {
    let (count, length, width) = (x.dim(0), x.dim(1), x.dim(2))
    func split(_ y: Tensor) -> Tensor { y.reshaped(count, length, heads, width / heads).transposed(1, 2) }
    let attended = Tensor.attention(split(query(x)), split(key(x)), split(value(x)), isCausal: true)
    return output(attended.transposed(1, 2).reshaped(count, length, width))
  }
}
