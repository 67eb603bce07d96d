internal import CTorch

/// A dispatcher operator, found once by its name in libtorch's native_functions.yaml.
///
/// Sendable though it holds a pointer: libtorch's table of operators changes only while libraries are loaded, and calls only read
/// it.
public struct Operator: @unchecked Sendable {
  public let name: String
  let entry: OpaquePointer

  /// - Parameters:
  ///   - name: with its namespace, such as `aten::add`.
  ///   - overload: such as `Tensor`; empty for the default one.
  public init(_ name: String, _ overload: String = "") {
    switch Self.find(name, overload) {
    case .success(let found): self = found
    case .failure(let error): preconditionFailure("\(error)")
    }
  }

  /// Nil where libtorch was built without it.
  init?(ifThere name: String) {
    guard case .success(let found) = Self.find(name, "") else { return nil }
    self = found
  }

  private init(name: String, entry: OpaquePointer) { (self.name, self.entry) = (name, entry) }

  private static func find(_ name: String, _ overload: String) -> Result<Operator, TorchError> {
    let full = overload.isEmpty ? name : "\(name).\(overload)"
    var entry: OpaquePointer?
    let error = TorchError(full, owned: ct_find_operator(name, overload, &entry))
    return entry.map { .success(Operator(name: full, entry: $0)) } ?? .failure(error!)
  }
}

/// An argument of a dispatcher call.
public enum Value {
  /// The schema's default.
  case `default`
  case none
  case tensor(Tensor)
  case optionalTensor(Tensor?)
  case int(Int)
  case double(Double)
  case bool(Bool)
  case string(String)
  case ints([Int])
  case doubles([Double])
  case bools([Bool])
  case tensors([Tensor])
  case optionalTensors([Tensor?])
  case dtype(DType)
  case device(Device)
  case generator(Generator)
}

/// A result of a dispatcher call.
public enum CallResult {
  case none
  case tensor(Tensor)
  case int(Int)
  case double(Double)
  case bool(Bool)
}

/// Calls an operator and gives all its results, lists flattened.
///
/// - Parameter capacity: the largest number of results that can come.
public func call(_ op: Operator, _ arguments: [Value], capacity: Int) -> [CallResult] {
  var scratch = Scratch()
  defer { scratch.free() }
  let encoded = arguments.map { scratch.encode($0) }
  return withUnsafeTemporaryAllocation(of: ct_value.self, capacity: max(capacity, 1)) { results in
    var count: Int32 = 0
    let message = withExtendedLifetime(arguments) {
      ct_call(op.entry, encoded, Int32(encoded.count), results.baseAddress, Int32(capacity), &count)
    }
    if let message {
      check("\(op.name)(\(arguments.map(describe).joined(separator: ", ")))", message)
      return []
    }
    return results[0..<Int(count)].map(CallResult.init)
  }
}

/// Calls an operator that gives one tensor.
public func call(_ op: Operator, _ arguments: Value...) -> Tensor {
  if case .tensor(let tensor)? = call(op, arguments, capacity: 1).first { return tensor }
  return Tensor.failed
}

/// Calls an operator that gives several tensors, at most `capacity`.
public func callMany(_ op: Operator, _ arguments: Value..., capacity: Int) -> [Tensor] {
  let results = call(op, arguments, capacity: capacity)
  guard !results.isEmpty else { return Array(repeating: Tensor.failed, count: capacity) }
  return results.map { if case .tensor(let tensor) = $0 { tensor } else { Tensor.failed } }
}

/// Calls an operator for its effect on its arguments.
public func callInPlace(_ op: Operator, _ arguments: Value...) {
  _ = call(op, arguments, capacity: 1)
}

extension CallResult {
  fileprivate init(_ value: ct_value) {
    switch Int(value.tag) {
    case Int(CT_TENSOR): self = .tensor(Tensor(owning: OpaquePointer(value.data!)))
    case Int(CT_INT): self = .int(Int(value.integer))
    case Int(CT_DOUBLE): self = .double(value.real)
    case Int(CT_BOOL): self = .bool(value.integer != 0)
    default: self = .none
    }
  }
}

/// The lists of one call, alive until it returns.
private struct Scratch {
  private var blocks: [UnsafeMutableRawPointer] = []

  mutating func encode(_ value: Value) -> ct_value {
    switch value {
    case .default: plain(CT_DEFAULT)
    case .none, .optionalTensor(nil): plain(CT_NONE)
    case .tensor(let tensor), .optionalTensor(let tensor?):
      ct_value(tag: Int32(CT_TENSOR), count: 0, integer: 0, real: 0, data: UnsafeRawPointer(tensor.pointer))
    case .int(let number): plain(CT_INT, number)
    case .double(let number): ct_value(tag: Int32(CT_DOUBLE), count: 0, integer: 0, real: number, data: nil)
    case .bool(let flag): plain(CT_BOOL, flag ? 1 : 0)
    case .dtype(let dtype): plain(CT_INT, Int(dtype.rawValue))
    case .device(let device): plain(CT_DEVICE, Int(device.code))
    case .string(let text): list(CT_STRING, Array(text.utf8CString))
    case .ints(let numbers): list(CT_INT_LIST, numbers.map(Int64.init))
    case .doubles(let numbers): list(CT_DOUBLE_LIST, numbers)
    case .bools(let flags): list(CT_BOOL_LIST, flags)
    case .tensors(let tensors): list(CT_TENSOR_LIST, tensors.map { Optional($0.pointer) })
    case .optionalTensors(let tensors): list(CT_OPTIONAL_TENSOR_LIST, tensors.map { $0?.pointer })
    case .generator(let generator):
      ct_value(tag: Int32(CT_GENERATOR), count: 0, integer: 0, real: 0, data: UnsafeRawPointer(generator.pointer))
    }
  }

  private func plain(_ tag: Int, _ integer: Int = 0) -> ct_value {
    ct_value(tag: Int32(tag), count: 0, integer: Int64(integer), real: 0, data: nil)
  }

  private mutating func list<Element>(_ tag: Int, _ elements: [Element]) -> ct_value {
    let size = max(elements.count * MemoryLayout<Element>.stride, 1)
    let block = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: MemoryLayout<Element>.alignment)
    elements.withUnsafeBytes { bytes in
      if let start = bytes.baseAddress { block.copyMemory(from: start, byteCount: bytes.count) }
    }
    blocks.append(block)
    return ct_value(tag: Int32(tag), count: Int32(elements.count), integer: 0, real: 0, data: UnsafeRawPointer(block))
  }

  mutating func free() { for block in blocks { block.deallocate() } }
}

/// How an argument appears in an error: tensors by dtype and shape.
private func describe(_ value: Value) -> String {
  switch value {
  case .tensor(let tensor), .optionalTensor(let tensor?): "\(tensor.dtype)\(tensor.shape)@\(tensor.device)"
  case .tensors(let tensors): "[" + tensors.map { "\($0.dtype)\($0.shape)" }.joined(separator: ", ") + "]"
  case .optionalTensors(let tensors): "[\(tensors.count) tensors]"
  case .none, .optionalTensor(nil): "none"
  case .default: "default"
  case .int(let number): "\(number)"
  case .double(let number): "\(number)"
  case .bool(let flag): "\(flag)"
  case .string(let text): "\"\(text)\""
  case .ints(let numbers): "\(numbers)"
  case .doubles(let numbers): "\(numbers)"
  case .bools(let flags): "\(flags)"
  case .dtype(let dtype): "\(dtype)"
  case .device(let device): "\(device)"
  case .generator: "generator"
  }
}
