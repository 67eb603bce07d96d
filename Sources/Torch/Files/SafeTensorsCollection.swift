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

  /// - Throws: `SafeTensorsError` for a key that is not there, `TensorFileError` for an element type without a `DType`.
  public func tensor(_ key: String) throws -> Tensor {
    let bytes = try file.bytes(of: key)
    guard let entry = file.entries[key], let dtype = DType(entry.dtype) else {
      throw TensorFileError(file: name, key: key, dtype: file.entries[key]?.dtype)
    }
    guard let start = bytes.baseAddress, !bytes.isEmpty else { return Tensor.empty(entry.shape, dtype: dtype) }
    guard Int(bitPattern: start) % dtype.byteCount == 0 else {
      // The format does not demand alignment.
      let copy = Tensor.empty(entry.shape, dtype: dtype)
      copy.withUnsafeMutableBytes { $0.copyMemory(from: bytes) }
      return copy
    }
    return Tensor(memory: bytes, shape: entry.shape, dtype: dtype, keeping: file.mapping)
  }

  public func release(_ key: String) { file.release(key) }
}

/// A tensor in a file whose element type libtorch tensors of this package do not have.
public struct TensorFileError: Error, CustomStringConvertible {
  public let file: String
  public let key: String
  public let dtype: SafeTensorsDType?

  public var description: String {
    let supported = SafeTensorsDType.allCases.filter { DType($0) != nil }.map(\.rawValue).joined(separator: ", ")
    return "\(file): \(key) has elements of type \(dtype?.rawValue ?? "unknown"); supported: \(supported)"
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
  let sources = tensors.map { name, tensor in
    SafeTensorsSource(name: name, dtype: SafeTensorsDType(tensor.dtype), shape: tensor.shape) { consume in
      let plain = try withTorchErrors { tensor.detached().to(device: .cpu).contiguous() }
      try plain.withUnsafeBytes(consume)
    }
  }
  try SafeTensorsFile.write(sources, metadata: metadata, to: path, overwrite: overwrite)
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
