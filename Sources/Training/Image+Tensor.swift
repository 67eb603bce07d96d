public import Images
public import Torch

extension Image {
  /// [3, height, width] in 0...1, float32.
  public var tensor: Tensor {
    Tensor(pixels, shape: [height, width, 3]).permuted(2, 0, 1).to(dtype: .float32) / 255
  }

  /// - Parameter tensor: [3, height, width] in 0...1.
  public init(_ tensor: Tensor) {
    let pixels = (tensor.clamped(min: 0, max: 1) * 255).rounded().permuted(1, 2, 0).bytes()
    self.init(width: tensor.dim(2), height: tensor.dim(1), pixels: pixels)
  }
}
