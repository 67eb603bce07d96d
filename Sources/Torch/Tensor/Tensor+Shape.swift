extension Tensor {
  public func reshaped(_ shape: Int...) -> Tensor { reshaped(shape) }
  public func reshaped(_ shape: [Int]) -> Tensor { call(Ops.reshape, .tensor(self), .ints(shape)) }
  public func permuted(_ axes: Int...) -> Tensor { call(Ops.permute, .tensor(self), .ints(axes)) }
  public func transposed(_ a: Int = -2, _ b: Int = -1) -> Tensor { call(Ops.transpose, .tensor(self), .int(a), .int(b)) }
  public func flattened(from start: Int = 0, to end: Int = -1) -> Tensor {
    call(Ops.flattenRange, .tensor(self), .int(start), .int(end))
  }
  public func unsqueezed(_ axis: Int) -> Tensor { call(Ops.unsqueeze, .tensor(self), .int(axis)) }
  public func squeezed(_ axis: Int) -> Tensor { call(Ops.squeeze, .tensor(self), .int(axis)) }
  public func expanded(_ shape: [Int]) -> Tensor { call(Ops.expand, .tensor(self), .ints(shape)) }
  /// Copies along each axis.
  public func tiled(_ counts: [Int]) -> Tensor { call(Ops.repeats, .tensor(self), .ints(counts)) }
  public func contiguous() -> Tensor { call(Ops.contiguous, .tensor(self)) }
  public func cloned() -> Tensor { call(Ops.clone, .tensor(self)) }
  /// The same memory without a graph.
  public func detached() -> Tensor { call(Ops.detach, .tensor(self)) }

  /// Itself when nothing changes.
  public func to(dtype: DType) -> Tensor {
    dtype == self.dtype ? self : call(Ops.toDType, .tensor(self), .dtype(dtype))
  }

  public func to(device: Device) -> Tensor { device == self.device ? self : to(dtype: dtype, device: device) }

  public func to(dtype: DType, device: Device) -> Tensor {
    call(Ops.toDevice, .tensor(self), .device(device), .dtype(dtype))
  }

  public static func concatenated(_ tensors: [Tensor], along axis: Int = 0) -> Tensor {
    call(Ops.cat, .tensors(tensors), .int(axis))
  }

  public static func stacked(_ tensors: [Tensor], along axis: Int = 0) -> Tensor {
    call(Ops.stack, .tensors(tensors), .int(axis))
  }

  /// Pieces of these sizes along an axis.
  public func split(_ sizes: [Int], along axis: Int) -> [Tensor] {
    callMany(Ops.split, .tensor(self), .ints(sizes), .int(axis), capacity: sizes.count)
  }

  /// `count` equal pieces along an axis.
  public func chunked(_ count: Int, along axis: Int) -> [Tensor] {
    let pieces = callMany(Ops.chunk, .tensor(self), .int(count), .int(axis), capacity: count)
    guard pieces.count != count else { return pieces }
    // So that callers may count on them where a former operation has failed.
    fail(TorchError(operation: "aten::chunk", message: "\(shape) has no \(count) parts along axis \(axis)"))
    return Array(repeating: Tensor.failed, count: count)
  }

  /// `count` entries of an axis, a view.
  public func narrow(_ axis: Int, from start: Int, count: Int) -> Tensor {
    call(Ops.narrow, .tensor(self), .int(axis), .int(start), .int(count))
  }

  func narrow(_ axis: Int, _ range: Range<Int>) -> Tensor { narrow(axis, from: range.lowerBound, count: range.count) }

  /// One entry of an axis, which disappears; a view.
  public func select(_ axis: Int, _ index: Int) -> Tensor { call(Ops.select, .tensor(self), .int(axis), .int(index)) }

  /// Every `step`-th entry of an axis from `start` to before `end`; a view.
  public func sliced(_ axis: Int, from start: Int = 0, to end: Int? = nil, step: Int = 1) -> Tensor {
    call(Ops.slice, .tensor(self), .int(axis), .int(start), end.map(Value.int) ?? .none, .int(step))
  }

  /// The upper left corner of pictures [..., height, width]; a view.
  public func cropped(height: Int, width: Int) -> Tensor {
    narrow(-2, from: 0, count: height).narrow(-1, from: 0, count: width)
  }

  /// Entries of the first axis; a view.
  public subscript(index: Int) -> Tensor { select(0, index) }
  public subscript(range: Range<Int>) -> Tensor { narrow(0, range) }

  /// Copies of the entries of an axis at these places.
  public func gathered(_ indices: Tensor, along axis: Int = 0) -> Tensor {
    call(Ops.indexSelect, .tensor(self), .int(axis), .tensor(indices))
  }

  public func gathered(_ indices: [Int], along axis: Int = 0) -> Tensor {
    gathered(Tensor(indices).to(device: device), along: axis)
  }

  /// Element-wise pick along an axis (PyTorch: torch.gather).
  public func picked(_ indices: Tensor, along axis: Int) -> Tensor {
    call(Ops.gather, .tensor(self), .int(axis), .tensor(indices))
  }

  public func flipped(_ axes: [Int]) -> Tensor { call(Ops.flip, .tensor(self), .ints(axes)) }
}
