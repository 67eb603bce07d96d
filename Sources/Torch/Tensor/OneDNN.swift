internal import CTorch

/// Layers by oneDNN on the CPU.
///
/// libtorch takes MKL for float32 products, which runs at half the rate of oneDNN on processors of other makers than Intel and
/// at about the same on Intel's, and brings the weights of a convolution into oneDNN's order in every call, which takes longer
/// than the convolution where pictures are small (Docs/SPEED.md). The operators here are libtorch's own, meant for compiled
/// models. They have no gradients: those are given beside them.
enum OneDNN {
  private struct Operators {
    let linear: Operator
    let convolution: Operator
    let orderedConvolution: Operator
    /// Whether oneDNN computes in bfloat16 on this processor; without AVX-512, for one, it refuses.
    let computesBfloat16: Bool

    /// Nil where libtorch was built without them.
    init?() {
      guard let linear = Operator(ifThere: "mkldnn::_linear_pointwise"),
        let convolution = Operator(ifThere: "mkldnn::_convolution_pointwise"),
        let ordered = Operator(ifThere: "mkldnn::_reorder_convolution_weight"),
        let bfloat16 = Operator(ifThere: "mkldnn::_is_mkldnn_bf16_supported"),
        case .bool(let computesBfloat16)? = call(bfloat16, [], capacity: 1).first
      else { return nil }
      (self.linear, self.convolution, orderedConvolution) = (linear, convolution, ordered)
      self.computesBfloat16 = computesBfloat16
    }
  }

  private static let operators: Operators? = {
    #if arch(x86_64)
      Operators()
    #else
      nil
    #endif
  }()

  /// Products with fewer multiplications than this take longer to set up than they gain. In bfloat16 libtorch's own come from
  /// oneDNN, too, and only large ones gain.
  private static func smallestProduct(_ dtype: DType) -> Int { dtype == .float32 ? 1 << 20 : 1 << 26 }

  /// The fewest weights of a convolution that are worth being ordered; in bfloat16 what it costs to read a small result from
  /// this order is more than it saves.
  private static func smallestConvolution(_ dtype: DType) -> Int { dtype == .float32 ? 0 : 1 << 20 }

  /// Whether it is there, and these are computed in one type, on the CPU, as they are.
  static func takes(_ tensors: [Tensor]) -> Bool {
    guard let operators, let dtype = tensors.first?.dtype,
      dtype == .float32 || dtype == .bfloat16 && operators.computesBfloat16
    else { return false }
    return tensors.allSatisfy { $0.dtype == dtype && $0.device == .cpu } && autocastState(on: .cpu) < 0
  }

  // MARK: linear

  /// x [..., in], weight [out, in], bias [out] → [..., out]; nil where libtorch's own linear is the better choice.
  static func linear(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?) -> Tensor? {
    let inputs = [x, weight] + (bias.map { [$0] } ?? [])
    guard let operators, x.rank >= 2, weight.rank == 2, x.count * weight.dim(0) >= smallestProduct(x.dtype),
      x.dim(-1) == weight.dim(1), takes(inputs)
    else { return nil }
    func product() -> Tensor {
      call(
        operators.linear, .tensor(dense(x)), .tensor(dense(weight)), .optionalTensor(bias), .string("none"), .ints([]),
        .string(""))
    }
    guard isGradEnabled, inputs.contains(where: \.requiresGrad) else { return product() }
    // The input is of use for the gradient of the weight only: below a frozen one it is not kept.
    let kept = weight.requiresGrad ? x : nil
    let asked = (input: x.requiresGrad, bias: bias?.requiresGrad == true)
    return attaching(withoutGrad(product), to: inputs) { gradient in
      let rows = gradient.reshaped(-1, weight.dim(0))
      return [
        asked.input ? gradient.linear(weight.transposed()) : nil,
        kept.map { outer(rows, $0.reshaped(-1, weight.dim(1))) },
        asked.bias ? rows.sum([0]) : nil,
      ]
    }
  }

  /// The elements without gaps, row by row or column by column: for other orders, such as that of a part of a matrix, oneDNN falls
  /// back to plain loops.
  private static func dense(_ tensor: Tensor) -> Tensor {
    tensor.isContiguous || tensor.rank == 2 && tensor.transposed().isContiguous ? tensor : tensor.contiguous()
  }

  /// aᵀ b; in bfloat16 libtorch's own product, which is oneDNN's, too, does not mind that both are transposed.
  private static func outer(_ a: Tensor, _ b: Tensor) -> Tensor {
    a.dtype == .float32 ? a.transposed().linear(b.transposed()) : a.transposed().matmul(b)
  }

  // MARK: convolution

  /// Whether layers bring weights into an order and keep it: the one that suits the first picture that they see.
  @TaskLocal static var keepsOrders = true

  /// Whether a convolution is better off with this weight in oneDNN's order.
  static func isWorthOrdering(_ weight: Tensor) -> Bool {
    weight.count >= smallestConvolution(weight.dtype) && !weight.requiresGrad && takes([weight])
  }

  /// The weight [out, in, k, k] in the order that suits pictures of that shape, [N, in, H, W].
  static func ordered(_ weight: Tensor, for shape: [Int], stride: Int, padding: Int) -> Tensor {
    call(
      operators!.orderedConvolution, .tensor(weight), .ints([padding, padding]), .ints([stride, stride]), .ints([1, 1]), .int(1),
      .ints(shape))
  }

  /// The weight that was ordered.
  static func plain(_ ordered: Tensor) -> Tensor { call(Ops.toDense, .tensor(ordered), .none, .none) }

  /// x [N, in, H, W], weight [out, in, k, k] as it is or ordered → [N, out, H', W']; without gradients.
  static func convolution(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?, stride: Int, padding: Int) -> Tensor {
    call(
      operators!.convolution, .tensor(x), .tensor(weight), .optionalTensor(bias), .ints([padding, padding]),
      .ints([stride, stride]), .ints([1, 1]), .int(1), .string("none"), .ints([]), .string(""))
  }
}
