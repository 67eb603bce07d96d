internal import CTorch

/// Linear layers in float32 by oneDNN.
///
/// libtorch takes MKL for them, which runs at half the rate of oneDNN on processors of other makers than Intel, and on
/// Intel's at about the same (Docs/SPEED.md). The operator is libtorch's own, meant for compiled models, and has no
/// gradients; they are two more products of its kind.
enum OneDNN {
  /// Nil where libtorch was built without it.
  private static let pointwise: Operator? = {
    #if arch(x86_64)
      Operator(ifThere: "mkldnn::_linear_pointwise")
    #else
      nil
    #endif
  }()

  /// Products with fewer multiplications than this take longer to set up than to compute.
  private static let smallest = 1 << 20

  /// x [..., in], weight [out, in], bias [out] → [..., out]; nil where libtorch's own linear is the better choice.
  static func linear(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?) -> Tensor? {
    guard let pointwise, x.dtype == .float32, x.rank >= 2, weight.rank == 2, x.count * weight.dim(0) >= smallest,
      [x, weight].allSatisfy({ $0.dtype == .float32 && $0.device == .cpu }), bias.map({ $0.dtype == .float32 }) ?? true,
      x.dim(-1) == weight.dim(1), ct_autocast(Device.cpu.code) < 0
    else { return nil }
    func product() -> Tensor {
      call(
        pointwise, .tensor(x), .tensor(weight), .optionalTensor(bias), .string("none"), .ints([]), .string(""))
    }
    let inputs = [x, weight] + (bias.map { [$0] } ?? [])
    guard isGradEnabled, inputs.contains(where: \.requiresGrad) else { return product() }
    return attaching(withoutGrad(product), to: inputs) { gradient in
      let rows = gradient.reshaped(-1, weight.dim(0))
      return [
        x.requiresGrad ? gradient.linear(weight.transposed()) : nil,
        weight.requiresGrad ? rows.transposed().linear(x.reshaped(-1, weight.dim(1)).transposed()) : nil,
        bias?.requiresGrad == true ? rows.sum([0]) : nil,
      ]
    }
  }
}
