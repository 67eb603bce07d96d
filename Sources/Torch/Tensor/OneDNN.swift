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
    /// Types of half precision that oneDNN computes in on this processor: without AVX-512, for one, neither.
    let halves: [DType]

    /// Nil where libtorch was built without them.
    init?() {
      guard let linear = Operator(ifThere: "mkldnn::_linear_pointwise"),
        let convolution = Operator(ifThere: "mkldnn::_convolution_pointwise"),
        let ordered = Operator(ifThere: "mkldnn::_reorder_convolution_weight"),
        let bfloat16 = Operator(ifThere: "mkldnn::_is_mkldnn_bf16_supported"),
        let float16 = Operator(ifThere: "mkldnn::_is_mkldnn_fp16_supported")
      else { return nil }
      (self.linear, self.convolution, orderedConvolution) = (linear, convolution, ordered)
      halves = [(DType.bfloat16, bfloat16), (.float16, float16)].filter { _, isSupported in
        if case .bool(true)? = call(isSupported, [], capacity: 1).first { true } else { false }
      }.map(\.0)
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
  private static func smallestProduct(in arithmetic: DType) -> Int { arithmetic == .float32 ? 1 << 20 : 1 << 26 }

  /// The fewest weights of a convolution that are worth being ordered; in bfloat16 what it costs to read a small result from
  /// this order is more than it saves.
  private static func smallestConvolution(in arithmetic: DType) -> Int { arithmetic == .float32 ? 0 : 1 << 20 }

  /// `Engine.computes(in:)`; true where it is not known.
  static func computes(in dtype: DType) -> Bool {
    guard let operators, dtype == .bfloat16 || dtype == .float16 else { return true }
    return operators.halves.contains(dtype)
  }

  /// The type that it computes in with tensors of one type on the CPU: their own or, for half precision that the processor has no
  /// instructions for, float32. Nil where products are best left to libtorch.
  static func arithmetic(of tensors: [Tensor]) -> DType? {
    guard operators != nil, let dtype = tensors.first?.dtype,
      tensors.allSatisfy({ $0.dtype == dtype && $0.device == .cpu }), autocastState(on: .cpu) < 0
    else { return nil }
    let isNative = computes(in: dtype)
    return switch dtype {
    case .bfloat16 where isNative: .bfloat16
    case .float16 where isNative: nil
    case .bfloat16, .float16, .float32: .float32
    default: nil
    }
  }

  /// What `body` makes of float32 copies of these, in their own type; nil where that is not the type to compute in, or already theirs.
  static func widening(_ tensors: [Tensor], _ body: ([Tensor]) -> Tensor) -> Tensor? {
    guard let dtype = tensors.first?.dtype, let arithmetic = arithmetic(of: tensors), arithmetic != dtype else { return nil }
    return body(tensors.map { $0.to(dtype: arithmetic) }).to(dtype: dtype)
  }

  // MARK: linear

  /// x [..., in], weight [out, in], bias [out] → [..., out]; nil where libtorch's own linear is the better choice.
  static func linear(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?) -> Tensor? {
    let inputs = [x, weight] + (bias.map { [$0] } ?? [])
    guard let operators, x.rank >= 2, weight.rank == 2, x.dim(-1) == weight.dim(1), let arithmetic = arithmetic(of: inputs),
      x.count * weight.dim(0) >= smallestProduct(in: arithmetic)
    else { return nil }
    func product() -> Tensor {
      let (x, weight, bias) = (x.to(dtype: arithmetic), weight.to(dtype: arithmetic), bias?.to(dtype: arithmetic))
      return call(
        operators.linear, .tensor(dense(x)), .tensor(dense(weight)), .optionalTensor(bias), .string("none"), .ints([]),
        .string("")
      ).to(dtype: inputs[0].dtype)
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
    arithmetic(of: [a, b]) == .float32 ? a.transposed().linear(b.transposed()) : a.transposed().matmul(b)
  }

  // MARK: convolution

  /// Whether layers bring weights into an order and keep it: the one that suits the first picture that they see.
  @TaskLocal static var keepsOrders = true

  /// The type that this weight of a convolution has in oneDNN's order; nil where it is better left as it is.
  static func orderedType(of weight: Tensor) -> DType? {
    guard !weight.requiresGrad, let arithmetic = arithmetic(of: [weight]), weight.count >= smallestConvolution(in: arithmetic)
    else { return nil }
    return arithmetic
  }

  /// The weight [out, in, k, k], in the type that it is computed in, in the order that suits pictures of that shape, [N, in, H, W].
  static func ordered(_ weight: Tensor, for shape: [Int], stride: Int, padding: Int) -> Tensor {
    let weight = arithmetic(of: [weight]).map { weight.to(dtype: $0) } ?? weight
    return call(
      operators!.orderedConvolution, .tensor(weight), .ints([padding, padding]), .ints([stride, stride]), .ints([1, 1]), .int(1),
      .ints(shape))
  }

  /// The weight that was ordered, which was of that type.
  static func plain(_ ordered: Tensor, _ dtype: DType) -> Tensor {
    call(Ops.toDense, .tensor(ordered), .none, .none).to(dtype: dtype)
  }

  /// x [N, in, H, W], weight [out, in, k, k] as it is or ordered → [N, out, H', W']; without gradients.
  static func convolution(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?, stride: Int, padding: Int) -> Tensor {
    let arithmetic = arithmetic(of: [x]) ?? x.dtype
    return call(
      operators!.convolution, .tensor(x.to(dtype: arithmetic)), .tensor(weight.to(dtype: arithmetic)),
      .optionalTensor(bias?.to(dtype: arithmetic)), .ints([padding, padding]), .ints([stride, stride]), .ints([1, 1]), .int(1),
      .string("none"), .ints([]), .string("")
    ).to(dtype: x.dtype)
  }
}
