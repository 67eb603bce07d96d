internal import Torch

/// Two convolutions with group norms, the time embedding added between them, and a shortcut around both
/// (diffusers: models/resnet.py ResnetBlock2D).
final class ResnetBlock2D {
  let norm1: GroupNorm
  let conv1: Conv2d
  let timeEmbProj: Linear?
  let norm2: GroupNorm
  let conv2: Conv2d
  let convShortcut: Conv2d?

  /// - Parameter timeWidth: width of the time embedding; nil for blocks without one (those of an autoencoder).
  init(_ weights: Weights, _ inputs: Int, _ outputs: Int, timeWidth: Int?, groups: Int, epsilon: Double) {
    norm1 = GroupNorm(weights / "norm1", groups: groups, channels: inputs, epsilon: epsilon)
    conv1 = Conv2d(weights / "conv1", inputs, outputs, kernel: 3, padding: 1)
    timeEmbProj = timeWidth.map { Linear(weights / "time_emb_proj", $0, outputs) }
    norm2 = GroupNorm(weights / "norm2", groups: groups, channels: outputs, epsilon: epsilon)
    conv2 = Conv2d(weights / "conv2", outputs, outputs, kernel: 3, padding: 1)
    convShortcut = inputs == outputs ? nil : Conv2d(weights / "conv_shortcut", inputs, outputs, kernel: 1)
  }

  /// x [N, inputs, H, W], timeEmbedding [N, timeWidth] → [N, outputs, H, W]
  func callAsFunction(_ x: Tensor, _ timeEmbedding: Tensor? = nil) -> Tensor {
    var hidden = conv1(norm1(x).silu())
    if let timeEmbProj, let timeEmbedding {
      hidden = hidden + timeEmbProj(timeEmbedding.silu()).unsqueezed(-1).unsqueezed(-1)
    }
    hidden = conv2(norm2(hidden).silu())
    return (convShortcut?(x) ?? x) + hidden
  }
}

/// Halves height and width with a convolution (diffusers: models/downsampling.py Downsample2D).
final class Downsample2D {
  let conv: Conv2d

  /// - Parameter padding: 1, or 0 for one row and column of zeros at the end only, as autoencoders have it.
  init(_ weights: Weights, channels: Int, padding: Int) {
    conv = Conv2d(weights / "conv", channels, channels, kernel: 3, stride: 2, padding: padding)
  }

  /// x [N, C, H, W] → [N, C, ⌈H/2⌉, ⌈W/2⌉] (⌊ ⌋ at padding 0)
  func callAsFunction(_ x: Tensor) -> Tensor {
    conv(conv.padding == 0 ? x.padded(left: 0, right: 1, top: 0, bottom: 1) : x)
  }
}

/// Scales up by repeating pixels, then a convolution (diffusers: models/upsampling.py Upsample2D).
final class Upsample2D {
  let conv: Conv2d

  init(_ weights: Weights, channels: Int) {
    conv = Conv2d(weights / "conv", channels, channels, kernel: 3, padding: 1)
  }

  /// x [N, C, H, W] → [N, C, height, width], twice the size of x where none is given.
  func callAsFunction(_ x: Tensor, height: Int? = nil, width: Int? = nil) -> Tensor {
    conv(x.upsampledNearest(height: height ?? 2 * x.dim(2), width: width ?? 2 * x.dim(3)))
  }
}
