internal import CTorch

/// A stream of random numbers (Mersenne twister, PyTorch's CPU generator): the same seed gives the same numbers
/// as `torch.Generator("cpu").manual_seed(seed)`. Always passed, never global.
public final class Generator {
  let pointer: OpaquePointer

  public init(seed: UInt64) {
    var pointer: OpaquePointer?
    check("generator", ct_generator_new(seed, &pointer))
    guard let pointer else { preconditionFailure("no generator could be made") }
    self.pointer = pointer
  }

  deinit { ct_generator_release(pointer) }

  /// The whole state as bytes [n], for resuming a run bit for bit.
  public var state: Tensor {
    get {
      var state: OpaquePointer?
      check("generator state", ct_generator_get_state(pointer, &state))
      return state.map(Tensor.init(owning:)) ?? .failed
    }
    set { check("generator state", ct_generator_set_state(pointer, newValue.pointer)) }
  }

  /// A uniform integer in `range`.
  public func int(in range: Range<Int>) -> Int { Int(Tensor.randint(range, [1], generator: self).item()) }

  /// A uniform number in `range`.
  public func double(in range: ClosedRange<Double>) -> Double {
    let unit = Tensor.rand([1], generator: self, dtype: .float64).item()
    return range.lowerBound + unit * (range.upperBound - range.lowerBound)
  }
}
