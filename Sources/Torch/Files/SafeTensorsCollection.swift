public import OrderedCollections
public import SafeTensors

/// The tensors of a safetensors file.
///
/// Tensors stand on the file's mapped memory and keep the mapping alive: nothing is read before it is used. Do not change
/// them in place; that memory is read-only.
public final class SafeTensorsCollection: TensorCollection {
  public let file: SafeTensorsFile

  public init(path: String) throws { file = try SafeTensorsFile(path: path) }

  public var name: String { file.path }
  public var keys: [String] { Array(file.entries.keys) }
  public func shape(of key: String) -> [Int]? { file.entries[key]?.shape }

  /// Floating-point numbers of eight bits (F8_E4M3, F8_E5M2) come as float16, which holds them exactly.
  ///
  /// - Throws: `SafeTensorsError` for a key that is not there, `TensorFileError` for what libtorch cannot hold: an element type
  ///   without a `DType`, a shape with too many axes or, around an axis of size 0, with sizes whose product has no number.
  public func tensor(_ key: String) throws -> Tensor {
    let bytes = try file.bytes(of: key)
    // `bytes` has found it.
    let entry = file.entries[key]!
    let halves = EightBitFloat.halves(of: entry.dtype)
    guard let dtype = halves == nil ? DType(entry.dtype) : .float16 else {
      throw TensorFileError(file: name, key: key, problem: .elementType(entry.dtype))
    }
    guard Self.isPossible(entry.shape, dtype) else {
      throw TensorFileError(file: name, key: key, problem: .shape(entry.shape))
    }
    guard let start = bytes.baseAddress, !bytes.isEmpty else { return Tensor.empty(entry.shape, dtype: dtype) }
    if let halves {
      let wide = Tensor.empty(entry.shape, dtype: dtype)
      withExtendedLifetime(file.mapping) {
        wide.withUnsafeMutableBytes { target in
          let target = target.bindMemory(to: UInt16.self)
          for (index, byte) in zip(target.indices, bytes) { target[index] = halves[Int(byte)] }
        }
      }
      return wide
    }
    // The format does not demand alignment.
    guard Int(bitPattern: start) % dtype.byteCount == 0, bytes.count > Self.single else {
      let copy = Tensor.empty(entry.shape, dtype: dtype)
      try copy.withUnsafeMutableBytes { try file.copy(key, to: $0) }
      return copy
    }
    return Tensor(memory: bytes, shape: entry.shape, dtype: dtype, keeping: file.mapping)
  }

  /// Bytes of a single number.
  private static let single = 8

  private static func isPossible(_ shape: [Int], _ dtype: DType) -> Bool {
    var stride: Int? = dtype.byteCount
    for size in shape.reversed() {
      let product = stride?.multipliedReportingOverflow(by: Swift.max(size, 1))
      stride = product.flatMap { $0.overflow ? nil : $0.partialValue }
    }
    return stride != nil && shape.count <= TensorFileError.axisLimit
  }

  public func release(_ key: String) { file.release(key) }
}

/// A tensor in a file that libtorch tensors of this package cannot be.
public struct TensorFileError: Error, CustomStringConvertible {
  public enum Problem: Sendable {
    case elementType(SafeTensorsDType)
    case shape([Int])
  }

  public let file: String
  public let key: String
  public let problem: Problem

  /// libtorch's own.
  static let axisLimit = 64

  public var description: String {
    switch problem {
    case .elementType(let dtype):
      let supported = SafeTensorsDType.allCases.filter { DType($0) != nil || EightBitFloat.halves(of: $0) != nil }
        .map(\.rawValue).joined(separator: ", ")
      return "\(file): \(key) has elements of type \(dtype.rawValue); supported: \(supported)"
    case .shape(let shape):
      return "\(file): \(key) has the shape \(shape); supported: up to \(Self.axisLimit) axes, and sizes whose product is no "
        + "larger than \(Int.max) bytes, an axis of size 0 left out"
    }
  }
}

/// Writes tensors to a safetensors file that appears whole or not at all; devices and layouts are dealt with one tensor at a
/// time.
///
/// - Parameters:
///   - metadata: texts for the header; `["format": "pt"]` is what transformers asks for.
///   - overwrite: whether an existing file may be replaced.
/// - Throws: `AtomicFileError`, `SafeTensorsError` or `TorchError`; the folder is then as it was.
public func saveSafeTensors(
  _ tensors: OrderedDictionary<String, Tensor>, metadata: OrderedDictionary<String, String> = [:], to path: String,
  overwrite: Bool = false
) throws {
  let sources = tensors.map { SafeTensorsSource(name: $0, tensor: $1) }
  try SafeTensorsFile.write(sources, metadata: metadata, to: path, overwrite: overwrite)
}

extension SafeTensorsSource {
  /// A tensor on any device and of any layout, which is copied only while its bytes are wanted.
  ///
  /// There are none after a failed operation, whose placeholder would otherwise pass for a result.
  public init(name: String, tensor: Tensor) {
    self.init(name: name, dtype: SafeTensorsDType(tensor.dtype), shape: tensor.shape) { consume in
      if let error = pendingTorchError { throw error }
      let plain = try withTorchErrors { tensor.detached().to(device: .cpu).contiguous() }
      try plain.withUnsafeBytes(consume)
    }
  }
}

extension DType {
  init?(_ dtype: SafeTensorsDType) {
    guard let found = DType.allCases.first(where: { SafeTensorsDType($0) == dtype }) else { return nil }
    self = found
  }
}

extension SafeTensorsDType {
  init(_ dtype: DType) {
    self =
      switch dtype {
      case .uint8: .U8
      case .int8: .I8
      case .int16: .I16
      case .int32: .I32
      case .int64: .I64
      case .float16: .F16
      case .float32: .F32
      case .float64: .F64
      case .bool: .BOOL
      case .bfloat16: .BF16
      }
  }
}
