public import Foundation
public import OrderedCollections

/// A tensor to be written: its name, its kind and a way to its bytes, asked only when their turn comes.
public struct SafeTensorsSource {
  /// Takes a run of bytes; called as often as there are runs, in order.
  public typealias Consumer = (UnsafeRawBufferPointer) throws -> Void

  public let name: String
  public let dtype: SafeTensorsDType
  /// Sizes of the axes; empty for a scalar.
  public let shape: [Int]
  let provide: (Consumer) throws -> Void

  /// - Parameter provide: hands the tensor's little-endian bytes, row-major, to the function it is given, in one run or in
  ///   many. Whatever it must make for that (a copy from a device, a conversion) can go when it returns.
  public init(
    name: String, dtype: SafeTensorsDType, shape: [Int], provide: @escaping (_ consume: Consumer) throws -> Void
  ) {
    (self.name, self.dtype, self.shape, self.provide) = (name, dtype, shape, provide)
  }

  /// A tensor whose little-endian bytes are at hand.
  public init(name: String, dtype: SafeTensorsDType, shape: [Int], bytes: some ContiguousBytes) {
    self.init(name: name, dtype: dtype, shape: shape) { consume in try bytes.withUnsafeBytes(consume) }
  }
}

extension SafeTensorsFile {
  /// Writes a file that appears whole or not at all, one tensor at a time.
  ///
  /// The same tensors and metadata give the same bytes whatever the order of `sources`, and the bytes that the reference
  /// implementation writes (safetensors 0.8: `serialize_file`, which sorts the metadata): tensors lie by descending dtype,
  /// then by name, so that each is aligned to its elements.
  ///
  /// - Parameters:
  ///   - metadata: texts for `__metadata__`, written in the order given; none at all when empty.
  ///   - overwrite: whether an existing file may be replaced.
  ///   - beforeNaming: called when all bytes are written and the file has not got its name yet.
  /// - Throws: `SafeTensorsError` for tensors that cannot make a file, `AtomicFileError` where the disk refuses, and
  ///   whatever a source or `beforeNaming` throws. The folder is then as it was.
  public static func write(
    _ sources: [SafeTensorsSource], metadata: OrderedDictionary<String, String> = [:], to path: String,
    overwrite: Bool = false, beforeNaming: () throws -> Void = {}
  ) throws {
    let encoding = try SafeTensorsEncoding(sources, metadata: metadata, file: path)
    try AtomicFile.write(to: path, overwrite: overwrite) { output in
      try encoding.header.withUnsafeBytes(output.append)
      try encoding.content(output.append)
      try beforeNaming()
    }
  }
}

/// What a file of some tensors holds, before it is one: the header, and behind it the tensors.
public struct SafeTensorsEncoding {
  /// The length, the JSON text and what fills it up: everything before the first tensor.
  public let header: [UInt8]
  private let sources: [SafeTensorsSource]
  private let file: String

  /// - Parameter file: what the tensors are for, in messages.
  /// - Throws: `SafeTensorsError` for tensors that cannot make a file.
  public init(
    _ sources: [SafeTensorsSource], metadata: OrderedDictionary<String, String>, file: String
  ) throws(SafeTensorsError) {
    let ordered = sources.sorted { left, right in
      left.dtype == right.dtype
        ? left.name.utf8.lexicographicallyPrecedes(right.name.utf8) : left.dtype.rank > right.dtype.rank
    }
    header = try Self.header(of: ordered, metadata: metadata, file: file)
    (self.sources, self.file) = (ordered, file)
  }

  /// Hands out the bytes behind the header in order, one tensor at a time.
  ///
  /// - Throws: `SafeTensorsError` for a source that gives more or less than its shape says, and what sources and `consume`
  ///   throw.
  public func content(_ consume: SafeTensorsSource.Consumer) throws {
    for source in sources { try hand(source, to: consume) }
  }

  private static func header(
    of sources: [SafeTensorsSource], metadata: OrderedDictionary<String, String>, file: String
  ) throws(SafeTensorsError) -> [UInt8] {
    var header = SafeTensorsHeader(metadata: metadata)
    var offset = 0
    for source in sources {
      let (name, dtype, shape) = (source.name, source.dtype, source.shape)
      guard name != SafeTensorsHeader.metadataName else { throw SafeTensorsError(file, .tensor(name, .reservedName)) }
      guard header.entries[name] == nil else { throw SafeTensorsError(file, .tensor(name, .repeatedName)) }
      precondition(shape.allSatisfy { $0 >= 0 }, "negative size in shape \(shape) of \(name)")
      let (end, overflow) = offset.addingReportingOverflow(try dtype.byteCount(shape: shape, of: name, in: file))
      guard !overflow else { throw SafeTensorsError(file, .tensor(name, .tooLarge(dtype, shape: shape))) }
      header.entries[name] = SafeTensorsEntry(dtype: dtype, shape: shape, range: offset..<end)
      offset = end
    }
    let encoded = header.encoded
    guard encoded.count - 8 <= SafeTensorsHeader.byteLimit else {
      throw SafeTensorsError(file, .header(.tooLong(byteCount: UInt64(encoded.count - 8))))
    }
    return encoded
  }

  private func hand(_ source: SafeTensorsSource, to consume: SafeTensorsSource.Consumer) throws {
    let expected = try source.dtype.byteCount(shape: source.shape, of: source.name, in: file)
    var found = 0
    try source.provide { bytes in
      found += bytes.count
      // A source that gives too much is stopped here, before it fills the disk.
      guard found <= expected else { return }
      try consume(bytes)
    }
    guard found == expected else {
      let problem = SafeTensorsError.TensorProblem.wrongSize(
        source.dtype, shape: source.shape, expected: expected, found: found)
      throw SafeTensorsError(file, .tensor(source.name, problem))
    }
  }
}
