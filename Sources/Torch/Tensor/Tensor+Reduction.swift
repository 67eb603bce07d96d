/// Over all elements the result is a scalar []. Over `axes`, counted from the end where negative, those axes go, or stay with
/// length 1 (`keeping`).
extension Tensor {
  public func sum() -> Tensor { call(Ops.sum, .tensor(self)) }

  public func sum(_ axes: [Int], keeping: Bool = false) -> Tensor {
    call(Ops.sumAxes, .tensor(self), .ints(axes), .bool(keeping))
  }

  public func mean() -> Tensor { call(Ops.mean, .tensor(self)) }

  public func mean(_ axes: [Int], keeping: Bool = false) -> Tensor {
    call(Ops.meanAxes, .tensor(self), .ints(axes), .bool(keeping))
  }

  /// - Parameter correction: 1 for the unbiased estimate, 0 for the population's.
  public func variance(_ axes: [Int], correction: Int = 1, keeping: Bool = false) -> Tensor {
    call(Ops.variance, .tensor(self), .ints(axes), .int(correction), .bool(keeping))
  }

  /// Euclidean norm of all elements.
  public func norm() -> Tensor { call(Ops.norm, .tensor(self), .double(2)) }

  /// Euclidean norm along axes.
  public func norm(_ axes: [Int], keeping: Bool = false) -> Tensor {
    call(Ops.norm, .tensor(self), .double(2), .ints(axes), .bool(keeping))
  }

  public func max() -> Tensor { call(Ops.max, .tensor(self)) }
  public func min() -> Tensor { call(Ops.min, .tensor(self)) }

  public func max(_ axes: [Int], keeping: Bool = false) -> Tensor {
    call(Ops.amax, .tensor(self), .ints(axes), .bool(keeping))
  }

  public func min(_ axes: [Int], keeping: Bool = false) -> Tensor {
    call(Ops.amin, .tensor(self), .ints(axes), .bool(keeping))
  }

  /// Index of the largest element along an axis.
  public func argmax(_ axis: Int) -> Tensor { call(Ops.argmax, .tensor(self), .int(axis)) }

  public func cumulativeProduct(_ axis: Int) -> Tensor { call(Ops.cumprod, .tensor(self), .int(axis)) }

  /// dL/dx of softmax over the last axis, whose output the receiver is, from dL/dy.
  func softmaxGradient(_ gradient: Tensor) -> Tensor {
    call(Ops.softmaxGradient, .tensor(gradient), .tensor(self), .int(-1), .dtype(dtype))
  }

  public func softmax(_ axis: Int) -> Tensor { call(Ops.softmax, .tensor(self), .int(axis)) }
  public func logSoftmax(_ axis: Int) -> Tensor { call(Ops.logSoftmax, .tensor(self), .int(axis)) }

  /// Sorted elements and where they were.
  public func sorted(_ axis: Int = -1, descending: Bool = false) -> (values: Tensor, indices: Tensor) {
    let results = callMany(Ops.sort, .tensor(self), .int(axis), .bool(descending), capacity: 2)
    return (results[0], results[1])
  }

  /// The `count` largest of all elements, in no order.
  public func largest(_ count: Int) -> Tensor {
    callMany(Ops.topk, .tensor(flattened()), .int(count), .int(0), .bool(true), .bool(false), capacity: 2)[0]
  }

  /// Whether all elements of a bool tensor hold.
  public func allHold() -> Bool { call(Ops.all, .tensor(self)).item() != 0 }

  /// Whether any element of a bool tensor holds.
  public func anyHolds() -> Bool { call(Ops.any, .tensor(self)).item() != 0 }

  /// Same shape, type and elements.
  public func equals(_ other: Tensor) -> Bool {
    guard shape == other.shape, dtype == other.dtype else { return false }
    if case .bool(let same)? = call(Ops.equal, [.tensor(self), .tensor(other)], capacity: 1).first { return same }
    return false
  }
}
