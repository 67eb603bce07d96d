public import OrderedCollections

/// A safetensors file, open for reading: its header read and checked, its tensors mapped and read on first touch.
///
/// ```swift
/// let file = try SafeTensorsFile(path: "adapter.safetensors")
/// for (name, entry) in file.entries { print(name, entry.dtype, entry.shape) }
/// ```
///
/// A file that breaks any promise of the format is refused when opened, and the error says which. Beyond what the reference
/// implementation checks (safetensors 0.8: tensor.rs), names must be unique at every level of the header, a tensor has
/// no unknown fields, the metadata is not null, and the header begins with its brace and ends in spaces at most. Names that differ
/// only in how Unicode composes their letters count as equal.
public struct SafeTensorsFile: Sendable {
  public let path: String
  /// The header's `__metadata__`, in the file's order.
  public let metadata: OrderedDictionary<String, String>
  /// The tensors by name, in the order their bytes lie in the file (which may differ from the order of the header).
  public let entries: OrderedDictionary<String, SafeTensorsEntry>
  /// The memory behind `bytes(of:)`. Keep it as long as a pointer into it.
  public let mapping: FileMapping
  /// Where the data begins in `mapping`.
  private let dataStart: Int

  /// Opens and checks the file at `path`. Reads the header only.
  public init(path: String) throws(SafeTensorsError) {
    self.path = path
    mapping = try FileMapping(path: path)
    let length = try Self.headerByteCount(mapping.bytes, file: path)
    dataStart = 8 + length
    let text = UnsafeRawBufferPointer(rebasing: mapping.bytes[8..<dataStart])
    let header = try SafeTensorsHeader(text, dataByteCount: mapping.bytes.count - dataStart, file: path)
    metadata = header.metadata
    entries = header.entries
  }

  /// Calls `body` with the little-endian bytes of the tensor named `key`, row-major; they are valid during the call.
  ///
  /// Files by this package and by the reference align every tensor to its elements, but the format does not demand it: a
  /// reader that needs alignment must look at the address.
  public func withBytes<Result>(of key: String, _ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
    try withExtendedLifetime(mapping) { try body(bytes(of: key)) }
  }

  /// The bytes of `withBytes(of:_:)` for whoever keeps `mapping` too: the pointer is valid only while that lives, and a file
  /// that is used for the last time lets go of it at once.
  public func bytes(of key: String) throws(SafeTensorsError) -> UnsafeRawBufferPointer {
    guard let entry = entries[key] else {
      throw SafeTensorsError(path, .tensor(key, .absent(count: entries.count)))
    }
    let range = entry.range
    return UnsafeRawBufferPointer(
      rebasing: mapping.bytes[dataStart + range.lowerBound..<dataStart + range.upperBound])
  }

  /// Copies the bytes of a tensor. For single numbers, such as a LoRA's alphas: to touch each of them in `mapping` would read a
  /// good part of the file.
  ///
  /// - Parameter buffer: of as many bytes.
  public func copy(_ key: String, to buffer: UnsafeMutableRawBufferPointer) throws(SafeTensorsError) {
    let bytes = try bytes(of: key)
    precondition(buffer.count == bytes.count, "\(buffer.count) bytes for a tensor of \(bytes.count)")
    if !bytes.isEmpty { mapping.copy(bytes, to: buffer) }
  }

  /// Says that the bytes of a tensor are not needed for now. The system takes their memory back and reads them from the file
  /// again if they are.
  public func release(_ key: String) {
    if let bytes = try? bytes(of: key) { mapping.release(bytes) }
  }

  /// The stated length of the header, once it is plausible.
  private static func headerByteCount(_ bytes: UnsafeRawBufferPointer, file: String) throws(SafeTensorsError) -> Int {
    let stated = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    let problem: SafeTensorsError.HeaderProblem
    if stated < 2 {
      problem = .tooShort(byteCount: stated)
    } else if stated > SafeTensorsHeader.byteLimit {
      problem = .tooLong(byteCount: stated)
    } else if stated > bytes.count - 8 {
      problem = .truncated(byteCount: stated, fileByteCount: bytes.count)
    } else if bytes[8] != UInt8(ascii: "{") {
      problem = .start(found: bytes[8])
    } else {
      return Int(stated)
    }
    if let format = SafeTensorsError.ForeignFormat(bytes) { throw SafeTensorsError(file, .foreign(format)) }
    throw SafeTensorsError(file, .header(problem))
  }
}
