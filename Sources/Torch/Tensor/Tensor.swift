internal import CTorch

/// An n-dimensional array of libtorch: a reference, as in PyTorch; operations give new tensors unless their
/// name says otherwise (`addInPlace`).
///
/// Not `Sendable`: one task at a time works on a model; what crosses tasks are finished bytes and reports.
public struct Tensor {
  private(set) var handle: TensorHandle

  var pointer: OpaquePointer { handle.pointer }

  init(owning pointer: OpaquePointer) { handle = TensorHandle(owning: pointer) }

  /// Stands for the result of a failed operation until the error scope ends.
  static var failed: Tensor {
    guard ErrorScope.current != nil else { preconditionFailure("an operation gave no tensor") }
    var sizes: [Int64] = Array(repeating: 1, count: 4)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 8, alignment: 8)
    memory.storeBytes(of: Float.nan, as: Float.self)
    var pointer: OpaquePointer?
    ct_free(ct_tensor_from_memory(memory, &sizes, 4, DType.float32.rawValue, { $0?.deallocate() }, memory, &pointer))
    return Tensor(owning: pointer!)
  }

  /// Number of dimensions.
  public var rank: Int { Int(ct_tensor_rank(pointer)) }

  public var shape: [Int] {
    var sizes = [Int64](repeating: 0, count: rank)
    ct_tensor_shape(pointer, &sizes)
    return sizes.map(Int.init)
  }

  /// Size along an axis; negative axes count from the end. 1 for an axis that the placeholder of a failed
  /// operation lacks, so that an error scope is left in good order.
  public func dim(_ axis: Int) -> Int {
    let shape = shape
    let index = axis < 0 ? axis + shape.count : axis
    if !shape.indices.contains(index), ErrorScope.current?.error != nil { return 1 }
    return shape[index]
  }

  /// Number of elements.
  public var count: Int { shape.reduce(1, *) }

  /// Bytes of the elements.
  public var byteCount: Int { count * dtype.byteCount }

  public var dtype: DType {
    let number = ct_tensor_dtype(pointer)
    guard let dtype = DType(rawValue: number) else { preconditionFailure("ScalarType \(number) has no DType") }
    return dtype
  }

  public var device: Device { Device(code: ct_tensor_device(pointer)) }

  /// How often the elements have been changed in place.
  var version: Int {
    if case .int(let version)? = call(Ops.version, [.tensor(self)], capacity: 1).first { return version }
    return -1
  }

  public var isContiguous: Bool { ct_tensor_is_contiguous(pointer) }

  /// Whether both are the same libtorch tensor (not: equal elements).
  public func isIdentical(to other: Tensor) -> Bool { pointer == other.pointer }

  /// Whether no other value is this tensor.
  mutating func isOnlyReference() -> Bool { isKnownUniquelyReferenced(&handle) }

  // MARK: reading elements

  /// The only element as a Double.
  public func item() -> Double {
    switch call(Ops.item, [.tensor(self)], capacity: 1).first {
    case .double(let number)?: number
    case .int(let number)?: Double(number)
    case .bool(let flag)?: flag ? 1 : 0
    default: .nan
    }
  }

  /// All elements in row-major order as Float.
  public func floats() -> [Float] { elements(as: Float.self, .float32) }

  /// All elements in row-major order as Double.
  public func doubles() -> [Double] { elements(as: Double.self, .float64) }

  /// All elements in row-major order as Int.
  public func ints() -> [Int] { elements(as: Int64.self, .int64).map(Int.init) }

  /// All elements in row-major order as bytes; the values are converted to UInt8.
  public func bytes() -> [UInt8] { elements(as: UInt8.self, .uint8) }

  private func elements<Element>(as type: Element.Type, _ dtype: DType) -> [Element] {
    let plain = detached().to(dtype: dtype, device: .cpu).contiguous()
    return plain.withUnsafeBytes { Array($0.bindMemory(to: Element.self)) }
  }

  /// The memory of a contiguous CPU tensor, valid inside `body`.
  public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try withUnsafeMutableBytes { try body(UnsafeRawBufferPointer($0)) }
  }

  /// The memory of a contiguous CPU tensor for writing, valid inside `body`.
  public func withUnsafeMutableBytes<Result>(
    _ body: (UnsafeMutableRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    precondition(isContiguous, "the elements of \(self) are not contiguous")
    var data: UnsafeMutableRawPointer?
    check("data", ct_tensor_data(pointer, &data))
    return try withExtendedLifetime(handle) {
      try body(UnsafeMutableRawBufferPointer(start: data, count: data == nil ? 0 : count * dtype.byteCount))
    }
  }
}

extension Tensor: CustomStringConvertible {
  /// Type, shape and at most eight elements.
  public var description: String {
    let shown = flattened().narrow(0, from: 0, count: Swift.min(count, 8)).doubles().map { "\($0)" }
    let more = count > 8 ? ", …" : ""
    return "Tensor(\(dtype), \(shape), \(device): \(shown.joined(separator: ", "))\(more))"
  }
}
