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
    fileprivate let finalLayerNorm: LayerNorm

    /// What the layer makes that is the `clipSkip`-th from the end, 1 being the last, [N, L, hiddenSize]; not through the last norm.
    func states(clipSkip: Int) -> Tensor { hiddenStates[hiddenStates.count - clipSkip] }

    /// The same through the last norm.
    func normalizedStates(clipSkip: Int) -> Tensor {
      clipSkip == 1 ? lastHiddenState : finalLayerNorm(states(clipSkip: clipSkip))
    }
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
      CLIPEncoderLayer(
        model / "encoder" / "layers" / $0, width: width, innerWidth: configuration.intermediateSize,
        heads: configuration.numAttentionHeads, activation: configuration.hiddenAct, epsilon: configuration.layerNormEps)
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
    for layer in layers { hiddenStates.append(layer(hiddenStates[hiddenStates.count - 1], isCausal: true)) }
    let last = finalLayerNorm(hiddenStates[hiddenStates.count - 1])
    let pooled = pooled(last, ids)
    return Output(
      hiddenStates: hiddenStates, lastHiddenState: last, poolerOutput: pooled, textEmbeds: textProjection?(pooled),
      finalLayerNorm: finalLayerNorm)
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
