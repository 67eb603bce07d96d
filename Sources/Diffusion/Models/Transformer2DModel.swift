internal import Torch

/// Multi-head attention (diffusers: models/attention_processor.py Attention with AttnProcessor2_0).
final class Attention {
  let heads: Int
  let toQ: Linear
  let toK: Linear
  let toV: Linear
  let toOut: Linear

  /// - Parameter context: width of what is attended to; that of the queries for self-attention.
  init(_ weights: Weights, width: Int, context: Int, heads: Int, bias: Bool = false) {
    self.heads = heads
    toQ = Linear(weights / "to_q", width, width, bias: bias)
    toK = Linear(weights / "to_k", context, width, bias: bias)
    toV = Linear(weights / "to_v", context, width, bias: bias)
    toOut = Linear(weights / "to_out" / 0, width, width)
  }

  /// x [N, L, width], context [N, S, context] (x where nil) → [N, L, width]
  func callAsFunction(_ x: Tensor, _ context: Tensor? = nil) -> Tensor {
    let context = context ?? x
    let attended = Tensor.attention(
      toQ(x).splitHeads(heads), toK(context).splitHeads(heads), toV(context).splitHeads(heads))
    return toOut(attended.joinedHeads())
  }
}

/// A linear layer whose second half of outputs gates the first (diffusers: models/activations.py GEGLU), and one back
/// (models/attention.py FeedForward).
final class FeedForward {
  let proj: Linear
  let output: Linear

  init(_ weights: Weights, width: Int) {
    proj = Linear(weights / "net" / 0 / "proj", width, 8 * width)
    output = Linear(weights / "net" / 2, 4 * width, width)
  }

  /// x [N, L, width] → [N, L, width]
  func callAsFunction(_ x: Tensor) -> Tensor { output(proj(x).geglu()) }
}

/// Self-attention, cross-attention and feed-forward, each on a normalised input and added to it
/// (diffusers: models/attention.py BasicTransformerBlock with norm_type "layer_norm").
final class BasicTransformerBlock {
  let norm1: LayerNorm
  let attn1: Attention
  let norm2: LayerNorm
  let attn2: Attention
  let norm3: LayerNorm
  let ff: FeedForward

  init(_ weights: Weights, width: Int, heads: Int, crossAttentionDim: Int) {
    norm1 = LayerNorm(weights / "norm1", width: width)
    attn1 = Attention(weights / "attn1", width: width, context: width, heads: heads)
    norm2 = LayerNorm(weights / "norm2", width: width)
    attn2 = Attention(weights / "attn2", width: width, context: crossAttentionDim, heads: heads)
    norm3 = LayerNorm(weights / "norm3", width: width)
    ff = FeedForward(weights / "ff", width: width)
  }

  /// x [N, L, width], encoderHiddenStates [N, S, crossAttentionDim] → [N, L, width]
  func callAsFunction(_ x: Tensor, _ encoderHiddenStates: Tensor) -> Tensor {
    var x = x
    x = attn1(norm1(x)) + x
    x = attn2(norm2(x), encoderHiddenStates) + x
    x = ff(norm3(x)) + x
    return x
  }
}

/// Transformer blocks over the pixels of a feature map, with a shortcut around all of them
/// (diffusers: models/transformers/transformer_2d.py Transformer2DModel on continuous input).
final class Transformer2DModel {
  /// How pixels enter and leave: a linear layer on [N, HW, C] or a 1×1 convolution on [N, C, H, W].
  private enum Projections {
    case linear(input: Linear, output: Linear)
    case convolution(input: Conv2d, output: Conv2d)
  }

  struct Settings {
    /// Number of transformer blocks.
    var layers: Int
    var heads: Int
    var crossAttentionDim: Int
    var useLinearProjection: Bool
    var groups: Int
  }

  let norm: GroupNorm
  private let projections: Projections
  let blocks: [BasicTransformerBlock]

  init(_ weights: Weights, channels: Int, _ settings: Settings) {
    norm = GroupNorm(weights / "norm", groups: settings.groups, channels: channels, epsilon: 1e-6)
    let (input, output) = (weights / "proj_in", weights / "proj_out")
    projections =
      settings.useLinearProjection
      ? .linear(input: Linear(input, channels, channels), output: Linear(output, channels, channels))
      : .convolution(
        input: Conv2d(input, channels, channels, kernel: 1), output: Conv2d(output, channels, channels, kernel: 1))
    blocks = (0..<settings.layers).map { index in
      BasicTransformerBlock(
        weights / "transformer_blocks" / index, width: channels, heads: settings.heads,
        crossAttentionDim: settings.crossAttentionDim)
    }
  }

  /// x [N, C, H, W], encoderHiddenStates [N, S, crossAttentionDim] → [N, C, H, W]
  func callAsFunction(_ x: Tensor, _ encoderHiddenStates: Tensor) -> Tensor {
    func transformed(_ pixels: Tensor) -> Tensor { blocks.reduce(pixels) { $1($0, encoderHiddenStates) } }
    let hidden = norm(x)
    let result =
      switch projections {
      case .linear(let input, let output): image(output(transformed(input(pixels(hidden)))), like: x)
      case .convolution(let input, let output): output(image(transformed(pixels(input(hidden))), like: x))
      }
    return result + x
  }

  /// [N, C, H, W] → [N, HW, C]
  private func pixels(_ image: Tensor) -> Tensor { image.permuted(0, 2, 3, 1).flattened(from: 1, to: 2) }

  /// [N, HW, C] → [N, C, H, W]
  private func image(_ pixels: Tensor, like x: Tensor) -> Tensor {
    pixels.reshaped(x.dim(0), x.dim(2), x.dim(3), -1).permuted(0, 3, 1, 2).contiguous()
  }
}
