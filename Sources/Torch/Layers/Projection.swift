/// Something that adds to the output of a projection: a LoRA, a zipped pair of them.
public protocol Branch: AnyObject {
  /// - Parameter x: the projection's own input.
  /// - Returns: what is added to the projection's output.
  func callAsFunction(_ x: Tensor) -> Tensor
}

/// A frozen weight that branches can be attached to: y = base(x) + Σ branch(x).
public protocol Projection: AnyObject {
  /// [out, in] or [out, in, k, k]. A layer may have to make it; what it is like can be had without.
  var weight: Tensor { get }
  /// The shape of `weight`.
  var weightShape: [Int] { get }
  var dtype: DType { get }
  var device: Device { get }
  var branches: [any Branch] { get set }
}

extension Projection {
  public var weightShape: [Int] { weight.shape }
  public var dtype: DType { weight.dtype }
  public var device: Device { weight.device }

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
  /// [out]
  public let bias: Tensor?
  public let stride: Int
  public let padding: Int
  public var branches: [any Branch] = []
  private let kept: ConvolutionWeight

  public init(
    _ weights: Weights, _ inputs: Int, _ outputs: Int, kernel: Int, stride: Int = 1, padding: Int = 0, bias: Bool = true
  ) {
    let start = Initialization.uniform(bound: 1 / Double(inputs * kernel * kernel).squareRoot())
    kept = weights.convolutionWeight("weight", [outputs, inputs, kernel, kernel], start, stride: stride, padding: padding)
    self.bias = bias ? weights.parameter("bias", [outputs], start) : nil
    self.stride = stride
    self.padding = padding
    weights.register(self)
  }

  /// [out, in, k, k]; made again where oneDNN's order of it is all that the layer has kept.
  public var weight: Tensor { kept.plain }
  public var weightShape: [Int] { kept.shape }
  public var dtype: DType { kept.dtype }
  public var device: Device { kept.device }

  /// x [N, in, H, W] → [N, out, H', W']
  public func callAsFunction(_ x: Tensor) -> Tensor { adding(x, to: kept(x, bias)) }
}

/// Runs `body`, on pictures unlike those of the work to come, without convolutions adapting to them.
package func withoutAdaptingConvolutions<Result>(_ body: () throws -> Result) rethrows -> Result {
  try OneDNN.$keepsOrders.withValue(false, operation: body)
}

extension Projection {
  /// Numbers in its weight.
  package var weightCount: Int { weightShape.reduce(1, *) }
}

extension Conv2d {
  /// Bytes that its weight will take beyond what it takes now, when it has seen a picture and a gradient.
  package var bytesToCome: Int { kept.bytesToCome }
}
