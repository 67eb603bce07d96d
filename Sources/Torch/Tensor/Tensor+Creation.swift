internal import CTorch

extension Tensor {
  /// A tensor with these elements in row-major order.
  public init(_ elements: [Float], shape: [Int]? = nil) { self.init(copying: elements, shape, .float32) }

  public init(_ elements: [Double], shape: [Int]? = nil) { self.init(copying: elements, shape, .float64) }

  public init(_ elements: [Int], shape: [Int]? = nil) { self.init(copying: elements.map(Int64.init), shape, .int64) }

  public init(_ elements: [UInt8], shape: [Int]? = nil) { self.init(copying: elements, shape, .uint8) }

  /// A tensor of rank 0.
  public init(_ element: Double, dtype: DType = .float32) { self = Tensor.full([], element, dtype: dtype) }

  private init<Element>(copying elements: [Element], _ shape: [Int]?, _ dtype: DType) {
    let shape = shape ?? [elements.count]
    precondition(shape.reduce(1, *) == elements.count, "\(elements.count) elements do not fill the shape \(shape)")
    self = Tensor.empty(shape, dtype: dtype)
    withUnsafeMutableBytes { target in elements.withUnsafeBytes { target.copyMemory(from: $0) } }
  }

  /// A tensor on memory that somebody else owns; `owner` is kept until the last reference goes.
  ///
  /// - Parameter bytes: row-major elements, aligned for `dtype`, at least as many as `shape` asks for.
  public init(memory bytes: UnsafeRawBufferPointer, shape: [Int], dtype: DType, keeping owner: AnyObject) {
    precondition(shape.reduce(dtype.byteCount, *) <= bytes.count, "too little memory for \(dtype)\(shape)")
    let context = Unmanaged.passRetained(owner).toOpaque()
    var pointer: OpaquePointer?
    let error = ct_tensor_from_memory(
      UnsafeMutableRawPointer(mutating: bytes.baseAddress), shape.map(Int64.init), Int32(shape.count), dtype.rawValue,
      { Unmanaged<AnyObject>.fromOpaque($0!).release() }, context, &pointer)
    check("from_blob", error)
    self = pointer.map(Tensor.init(owning:)) ?? .failed
  }

  /// Uninitialised memory.
  public static func empty(_ shape: [Int], dtype: DType = .float32, device: Device = .cpu) -> Tensor {
    call(Ops.empty, .ints(shape), .dtype(dtype), .none, .device(device))
  }

  public static func zeros(_ shape: [Int], dtype: DType = .float32, device: Device = .cpu) -> Tensor {
    call(Ops.zeros, .ints(shape), .dtype(dtype), .none, .device(device))
  }

  public static func ones(_ shape: [Int], dtype: DType = .float32, device: Device = .cpu) -> Tensor {
    call(Ops.ones, .ints(shape), .dtype(dtype), .none, .device(device))
  }

  public static func full(_ shape: [Int], _ value: Double, dtype: DType = .float32, device: Device = .cpu) -> Tensor {
    call(Ops.full, .ints(shape), .double(value), .dtype(dtype), .none, .device(device))
  }

  public static func zeros(like other: Tensor) -> Tensor { call(Ops.zerosLike, .tensor(other)) }

  public static func ones(like other: Tensor) -> Tensor { call(Ops.onesLike, .tensor(other)) }

  public static func empty(like other: Tensor) -> Tensor { call(Ops.emptyLike, .tensor(other)) }

  /// 0, 1, … count − 1.
  public static func arange(_ count: Int, dtype: DType = .int64, device: Device = .cpu) -> Tensor {
    call(Ops.arange, .int(count), .dtype(dtype), .none, .device(device))
  }

  /// `count` numbers from `start` to `end`, both included.
  public static func linspace(
    _ start: Double, _ end: Double, count: Int, dtype: DType = .float32, device: Device = .cpu
  ) -> Tensor {
    call(Ops.linspace, .double(start), .double(end), .int(count), .dtype(dtype), .none, .device(device))
  }

  public static func eye(_ count: Int, dtype: DType = .float32, device: Device = .cpu) -> Tensor {
    call(Ops.eye, .int(count), .dtype(dtype), .none, .device(device))
  }

  /// Standard normal numbers, drawn on the CPU whatever the device, so that a seed means the same picture everywhere.
  public static func randn(
    _ shape: [Int], generator: Generator, dtype: DType = .float32, device: Device = .cpu
  ) -> Tensor {
    call(Ops.randn, .ints(shape), .generator(generator), .dtype(dtype), .none, .device(.cpu)).to(device: device)
  }

  /// Uniform numbers in [0, 1).
  public static func rand(_ shape: [Int], generator: Generator, dtype: DType = .float32) -> Tensor {
    call(Ops.rand, .ints(shape), .generator(generator), .dtype(dtype), .none, .device(.cpu))
  }

  /// Uniform integers in `range`.
  public static func randint(_ range: Range<Int>, _ shape: [Int], generator: Generator) -> Tensor {
    call(Ops.randint, .int(range.lowerBound), .int(range.upperBound), .ints(shape), .generator(generator), .dtype(.int64))
  }

  /// A random permutation of 0 ..< count.
  public static func randperm(_ count: Int, generator: Generator) -> Tensor {
    call(Ops.randperm, .int(count), .generator(generator), .dtype(.int64))
  }
}
