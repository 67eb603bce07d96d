/// The weight of a convolution, as its layer computes with it.
///
/// A frozen weight is brought into oneDNN's order for the first picture, and turned, into that for the first gradient. These are
/// copies, so that the plain weight goes unless somebody else holds it; who asks for it has it made again, to the bit. Where the
/// processor has no instructions for its type, the copies are in float32.
final class ConvolutionWeight {
  /// [out, in, k, k]
  let shape: [Int]
  let dtype: DType
  let device: Device
  private let stride: Int
  private let padding: Int

  /// Nil while the orders are all there is.
  private var held: Tensor?
  private var ordered: Tensor?
  /// [in, out, k, k], of the convolution that takes gradients of outputs to those of inputs, in oneDNN's order.
  private var turned: Tensor?
  /// Of the plain weight when it was ordered: it counts changes in place.
  private var version = 0
  /// Whether gradients are made from it as it is.
  private var keepsPlain = false

  init(_ weight: Tensor, stride: Int, padding: Int) {
    (shape, dtype, device) = (weight.shape, weight.dtype, weight.device)
    (held, self.stride, self.padding) = (weight, stride, padding)
  }

  /// The weight itself, which may be changed in place.
  var plain: Tensor {
    if let held { return held }
    let plain = withoutGrad { OneDNN.plain(ordered!, dtype) }
    // After a failure, which is thrown later, it is no weight.
    if pendingTorchError == nil { (held, version) = (plain, plain.version) }
    return plain
  }

  /// Bytes that it will hold with gradients asked for, beyond those that it holds.
  var bytesToCome: Int {
    guard let orderedType else { return 0 }
    func bytes(_ dtype: DType) -> Int { shape.reduce(dtype.byteCount, *) }
    let needed = bytes(orderedType) + bytes(isTurned ? orderedType : dtype)
    let copies = [ordered, turned].count { $0 != nil } * bytes(orderedType)
    return max(0, needed - copies - (held == nil ? 0 : bytes(dtype)))
  }

  /// x [N, in, H, W], bias [out] → [N, out, H', W']
  func callAsFunction(_ x: Tensor, _ bias: Tensor?) -> Tensor {
    guard orderedType != nil, x.rank == 4, x.dim(1) == shape[1], x.dtype == dtype, bias?.requiresGrad != true,
      OneDNN.arithmetic(of: [x] + (bias.map { [$0] } ?? [])) != nil
    else { return x.conv2d(plain, bias, stride: stride, padding: padding) }
    keepOrder(in: \.ordered) { OneDNN.ordered($0, for: x.shape, stride: stride, padding: padding) }
    let output = withoutGrad { OneDNN.convolution(x, ordered ?? plain, bias, stride: stride, padding: padding) }
    guard isGradEnabled, x.requiresGrad else { return output }
    // The gradient of the input depends on its shape alone.
    let shape = x.shape
    return attaching(output, to: [x]) { gradient in [self.inputGradient(gradient, shape)] }
  }

  /// dL/dx [N, in, H, W] from dL/dy [N, out, H', W'].
  private func inputGradient(_ gradient: Tensor, _ shape: [Int]) -> Tensor {
    if isTurned {
      let rest = self.shape[2] - 1 - padding
      keepOrder(in: \.turned) {
        OneDNN.ordered($0.flipped([2, 3]).transposed(0, 1), for: gradient.shape, stride: 1, padding: rest)
      }
      if let turned { return OneDNN.convolution(gradient, turned, nil, stride: 1, padding: rest) }
    } else {
      keepsPlain = true
    }
    let input = Tensor.empty(shape, dtype: dtype, device: device)
    return gradient.convolutionInputGradient(input: input, weight: plain, stride: stride, padding: padding)
  }

  /// The type of the weight in oneDNN's order; nil where it is better left as it is.
  private var orderedType: DType? { held.map(OneDNN.orderedType) ?? ordered!.dtype }

  /// Whether the gradient of its input is a convolution with the turned weight.
  private var isTurned: Bool { stride == 1 && shape[2] > padding }

  /// Sees to it that an order is there, and up to date, where layers keep orders.
  private func keepOrder(
    in place: ReferenceWritableKeyPath<ConvolutionWeight, Tensor?>, _ order: (_ plain: Tensor) -> Tensor
  ) {
    if let held, held.version != version { (ordered, turned) = (nil, nil) }
    if OneDNN.keepsOrders, self[keyPath: place] == nil {
      let new = withoutGrad { order(plain) }
      guard pendingTorchError == nil, let held else { return }
      (self[keyPath: place], version) = (new, held.version)
    }
    if ordered != nil, !keepsPlain, held?.isOnlyReference() == true { held = nil }
  }
}
