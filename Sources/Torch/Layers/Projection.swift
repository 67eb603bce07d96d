/// Something that adds to the output of a projection: a LoRA, a zipped pair of them.
public protocol Branch: AnyObject {
  /// - Parameter x: the projection's own input.
  /// - Returns: what is added to the projection's output.
  func callAsFunction(_ x: Tensor) -> Tensor
}

/// A frozen weight that branches can be attached to: y = base(x) + Σ branch(x).
public protocol Projection: AnyObject {
  /// [out, in] or [out, in, k, k].
  var weight: Tensor { get }
  var branches: [any Branch] { get set }
}

extension Projection {
  func adding(_ x: Tensor, to output: Tensor) -> Tensor { branches.reduce(output) { $0 + $1(x) } }
}

/// y = x Wᵀ + b over the last axis.
public final class Linear: Projection {
  /// [out, in]
  public let weight: Tensor
  /// [out]
  public let bias: Tensor?
  public var branches: [any Branch] = []

  public init(_ weights: Weights, _ inputs: Int, _ outputs: Int, bias: Bool = true) {
    let start = Initialization.uniform(bound: 1 / Double(inputs).squareRoot())
    weight = weights.parameter("weight", [outputs, inputs], start)
    self.bias = bias ? weights.parameter("bias", [outputs], start) : nil
    weights.register(self)
  }

  /// x [..., in] → [..., out]
  public func callAsFunction(_ x: Tensor) -> Tensor { adding(x, to: x.linear(weight, bias)) }
}

/// A 2-D convolution with square kernels.
public final class Conv2d: Projection {
  /// [out, in, k, k]
  public let weight: Tensor
  /// [out]
  public let bias: Tensor?
  public let stride: Int
  public let padding: Int
  public var branches: [any Branch] = []
  private var reordered: OneDNN.ReorderedWeight?

  public init(
    _ weights: Weights, _ inputs: Int, _ outputs: Int, kernel: Int, stride: Int = 1, padding: Int = 0, bias: Bool = true
  ) {
    let start = Initialization.uniform(bound: 1 / Double(inputs * kernel * kernel).squareRoot())
    weight = weights.parameter("weight", [outputs, inputs, kernel, kernel], start)
    self.bias = bias ? weights.parameter("bias", [outputs], start) : nil
    self.stride = stride
    self.padding = padding
    weights.register(self)
  }

  /// x [N, in, H, W] → [N, out, H', W']
  public func callAsFunction(_ x: Tensor) -> Tensor {
    let output =
      OneDNN.convolution(x, weight, bias, stride: stride, padding: padding, reordered: &reordered)
      ?? x.conv2d(weight, bias, stride: stride, padding: padding)
    return adding(x, to: output)
  }
}

/// Runs `body`, on pictures unlike those of the work to come, without convolutions adapting to them.
package func withoutAdaptingConvolutions<Result>(_ body: () throws -> Result) rethrows -> Result {
  try OneDNN.$keepsOrders.withValue(false, operation: body)
}

extension Conv2d {
  /// Bytes that it will keep beside its weight when it has seen a picture.
  package var bytesToCome: Int { reordered == nil ? OneDNN.reorderedByteCount(weight) : 0 }
}
