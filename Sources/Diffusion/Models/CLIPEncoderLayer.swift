package import Torch

/// A layer of CLIP's encoders of text and of pictures
/// (transformers: models/clip/modeling_clip.py CLIPEncoderLayer with CLIPAttention and CLIPMLP).
package final class CLIPEncoderLayer {
  private let heads: Int
  private let activation: CLIPTextModel.Activation
  private let layerNorm1: LayerNorm
  private let qProj: Linear
  private let kProj: Linear
  private let vProj: Linear
  private let outProj: Linear
  private let layerNorm2: LayerNorm
  private let fc1: Linear
  private let fc2: Linear

  package init(
    _ weights: Weights, width: Int, innerWidth: Int, heads: Int, activation: CLIPTextModel.Activation, epsilon: Double
  ) {
    let attention = weights / "self_attn"
    self.heads = heads
    self.activation = activation
    layerNorm1 = LayerNorm(weights / "layer_norm1", width: width, epsilon: epsilon)
    qProj = Linear(attention / "q_proj", width, width)
    kProj = Linear(attention / "k_proj", width, width)
    vProj = Linear(attention / "v_proj", width, width)
    outProj = Linear(attention / "out_proj", width, width)
    layerNorm2 = LayerNorm(weights / "layer_norm2", width: width, epsilon: epsilon)
    fc1 = Linear(weights / "mlp" / "fc1", width, innerWidth)
    fc2 = Linear(weights / "mlp" / "fc2", innerWidth, width)
  }

  /// x [N, L, D] → [N, L, D].
  ///
  /// - Parameter isCausal: whether no token sees a later one.
  package func callAsFunction(_ x: Tensor, isCausal: Bool) -> Tensor {
    let attended = x + attend(layerNorm1(x), isCausal)
    return attended + fc2(activation(fc1(layerNorm2(attended))))
  }

  private func attend(_ x: Tensor, _ isCausal: Bool) -> Tensor {
    let attended = Tensor.attention(
      qProj(x).splitHeads(heads), kProj(x).splitHeads(heads), vProj(x).splitHeads(heads), isCausal: isCausal)
    return outProj(attended.joinedHeads())
  }
}

extension Tensor {
  /// [N, L, heads · width] → [N, heads, L, width].
  package func splitHeads(_ heads: Int) -> Tensor { reshaped(dim(0), dim(1), heads, dim(2) / heads).transposed(1, 2) }

  /// [N, heads, L, width] → [N, L, heads · width].
  package func joinedHeads() -> Tensor { transposed(1, 2).flattened(from: 2) }
}
