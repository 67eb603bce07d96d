internal import Torch

/// What those that look at pictures must not care about. Pictures: [N, C, H, W], −1 ... 1.
enum Augmentation {
  /// Generated pictures are a little soft and noisy.
  static func softened(_ pictures: Tensor, _ generator: Generator) -> Tensor {
    let count = pictures.dim(0)
    let small = pictures.averagePooled(2).upsampledNearest(height: pictures.dim(2), width: pictures.dim(3))
    let softness = Tensor.rand([count, 1, 1, 1], generator: generator) * 0.35
    let spread = Tensor.rand([count, 1, 1, 1], generator: generator) * 0.12
    return pictures + (small - pictures) * softness + Tensor.randn(pictures.shape, generator: generator) * spread
  }

  /// Every other picture, by chance, as in a mirror.
  static func mirrored(_ pictures: Tensor, _ generator: Generator) -> Tensor {
    (Tensor.rand([pictures.dim(0), 1, 1, 1], generator: generator) .< 0.5).choose(pictures.flipped([3]), pictures)
  }
}
