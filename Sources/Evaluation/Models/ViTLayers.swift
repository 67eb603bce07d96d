internal import Diffusion
internal import Torch

// What ViTModel and Dinov2Model have in common.

/// A class token, patches and their positions
/// (transformers: models/vit/modeling_vit.py ViTEmbeddings, models/dinov2/modeling_dinov2.py Dinov2Embeddings).
struct ViTEmbeddings {
  private let classToken: Tensor
  private let positions: Tensor
  private let projection: Conv2d
  private let patches: Int

  /// - Parameter patches: in a row and in a column of the pictures that the positions were trained on.
  init(_ weights: Weights, width: Int, patches: Int, patchSize: Int) {
    self.patches = patches
    classToken = weights.parameter("cls_token", [1, 1, width], .normal(deviation: 0.02))
    positions = weights.parameter("position_embeddings", [1, 1 + patches * patches, width], .normal(deviation: 0.02))
    projection = Conv2d(weights / "patch_embeddings" / "projection", 3, width, kernel: patchSize, stride: patchSize)
  }

  /// pixels [N, 3, H, W] → [N, 1 + patches, D].
  func callAsFunction(_ pixels: Tensor) -> Tensor {
    let projected = projection(pixels)
    let tokens = Tensor.concatenated(
      [classToken.expanded([pixels.dim(0), 1, classToken.dim(2)]), projected.flattened(from: 2).transposed()], along: 1)
    return tokens + positions(height: projected.dim(2), width: projected.dim(3))
  }

  /// The positions of a grid of patches, scaled from those trained (interpolate_pos_encoding of both).
  private func positions(height: Int, width: Int) -> Tensor {
    guard height != patches || width != patches else { return positions }
    let grid = positions.sliced(1, from: 1).transposed().reshaped(1, positions.dim(2), patches, patches)
    let scaled = grid.to(dtype: .float32).resizedBicubic(height: height, width: width).to(dtype: positions.dtype)
    return Tensor.concatenated([positions.narrow(1, from: 0, count: 1), scaled.flattened(from: 2).transposed()], along: 1)
  }
}

/// transformers: models/vit/modeling_vit.py ViTAttention, models/dinov2/modeling_dinov2.py Dinov2Attention
struct ViTAttention {
  private let heads: Int
  private let query: Linear
  private let key: Linear
  private let value: Linear
  private let output: Linear

  init(_ weights: Weights, width: Int, heads: Int, qkvBias: Bool) {
    let inputs = weights / "attention"
    self.heads = heads
    query = Linear(inputs / "query", width, width, bias: qkvBias)
    key = Linear(inputs / "key", width, width, bias: qkvBias)
    value = Linear(inputs / "value", width, width, bias: qkvBias)
    output = Linear(weights / "output" / "dense", width, width)
  }

  /// x [N, L, D] → [N, L, D]; every token sees every other.
  func callAsFunction(_ x: Tensor) -> Tensor {
    output(
      Tensor.attention(query(x).splitHeads(heads), key(x).splitHeads(heads), value(x).splitHeads(heads)).joinedHeads())
  }
}
