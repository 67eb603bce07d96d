internal import OrderedCollections

/// One tensor of a file: what it is and where its bytes lie.
public struct SafeTensorsEntry: Equatable, Sendable {
  public let dtype: SafeTensorsDType
  /// Sizes of the axes; empty for a scalar.
  public let shape: [Int]
  /// The tensor's bytes, counted from the start of the data (behind the header), as in `data_offsets`.
  public let range: Range<Int>
}

/// The JSON text at the head of a file, read and checked, or made.
struct SafeTensorsHeader {
  /// The format's limit on the header, in bytes.
  static let byteLimit = 100_000_000
  static let metadataName = "__metadata__"

  var metadata: OrderedDictionary<String, String> = [:]
  /// In order of offsets.
  var entries: OrderedDictionary<String, SafeTensorsEntry> = [:]
}

// MARK: - Reading

extension SafeTensorsHeader {
  /// Reads the header's text and checks every promise that the format makes about it.
  ///
  /// - Parameters:
  ///   - text: the header without the length before it; begins with '{'.
  ///   - dataByteCount: how much data the file has behind it.
  ///   - file: the path that errors name.
  init(_ text: UnsafeRawBufferPointer, dataByteCount: Int, file: String) throws(SafeTensorsError) {
    guard String(validating: text, as: UTF8.self) != nil else { throw SafeTensorsError(file, .header(.notUTF8)) }
    var found: [(name: String, entry: SafeTensorsEntry)] = []
    for (name, value) in try Self.members(of: text, file: file) {
      if name == Self.metadataName {
        metadata = try Self.metadata(value, file: file)
      } else {
        let fields = EntryFields(name: name, file: file, dataByteCount: dataByteCount)
        found.append((name, try fields.entry(value)))
      }
    }
    // Files need not list tensors in the order they lie in. Empty tensors share offsets and keep the header's order.
    let order = found.indices.sorted { left, right in
      let (a, b) = (found[left].entry.range, found[right].entry.range)
      return (a.lowerBound, a.upperBound, left) < (b.lowerBound, b.upperBound, right)
    }
    for index in order { entries[found[index].name] = found[index].entry }
    try checkCoverage(dataByteCount: dataByteCount, file: file)
  }

  private static func members(
    of text: UnsafeRawBufferPointer, file: String
  ) throws(SafeTensorsError) -> OrderedDictionary<String, JSONValue> {
    var reader = JSONReader(text)
    do throws(JSONFault) {
      // The text begins with '{', so a valid one is an object.
      guard case .object(let members) = try reader.document() else { return [:] }
      return members
    } catch {
      switch error {
      case .syntax(let offset, let found, let expected):
        throw SafeTensorsError(file, .header(.syntax(offset: offset, found: found, expected: expected)))
      case .duplicateName(let path): throw SafeTensorsError(file, .header(.duplicateName(path: path)))
      }
    }
  }

  private static func metadata(
    _ value: JSONValue, file: String
  ) throws(SafeTensorsError) -> OrderedDictionary<String, String> {
    guard case .object(let members) = value else {
      throw SafeTensorsError(file, .header(.metadata(found: value.summary)))
    }
    var metadata: OrderedDictionary<String, String> = [:]
    for (name, value) in members {
      guard case .string(let text) = value else {
        throw SafeTensorsError(file, .header(.metadataValue(name: name, found: value.summary)))
      }
      metadata[name] = text
    }
    return metadata
  }

  /// Each tensor must begin where the one before it ends, and the last must end with the data.
  private func checkCoverage(dataByteCount: Int, file: String) throws(SafeTensorsError) {
    var end = 0
    var previous = ""
    for (name, entry) in entries {
      let begin = entry.range.lowerBound
      guard begin >= end else {
        throw SafeTensorsError(file, .tensor(name, .overlap(begin: begin, previous: previous, previousEnd: end)))
      }
      guard begin == end else { throw SafeTensorsError(file, .tensor(name, .hole(begin: end, end: begin))) }
      (end, previous) = (entry.range.upperBound, name)
    }
    guard end == dataByteCount else {
      throw SafeTensorsError(file, .surplusData(begin: end, dataByteCount: dataByteCount))
    }
  }
}

/// Reads one tensor's member of the header.
private struct EntryFields {
  let name: String
  let file: String
  let dataByteCount: Int

  private func error(_ problem: SafeTensorsError.TensorProblem) -> SafeTensorsError {
    SafeTensorsError(file, .tensor(name, problem))
  }

  func entry(_ value: JSONValue) throws(SafeTensorsError) -> SafeTensorsEntry {
    guard case .object(let fields) = value else { throw error(.notAnObject(found: value.summary)) }
    let names = ["dtype", "shape", "data_offsets"]
    for field in fields.keys where !names.contains(field) { throw error(.unexpectedField(field)) }
    for field in names where fields[field] == nil { throw error(.missingField(field)) }

    let dtype = try dtype(fields["dtype"]!)
    let shape = try integers(fields["shape"]!, field: "shape", expected: "an array of sizes")
    let offsets = try integers(fields["data_offsets"]!, field: "data_offsets", expected: "an array [begin, end]")
    guard offsets.count == 2 else {
      throw error(.malformedField("data_offsets", found: "\(offsets)", expected: "an array [begin, end]"))
    }
    guard offsets[0] <= offsets[1] else { throw error(.offsetsReversed(begin: offsets[0], end: offsets[1])) }
    let expected = try dtype.byteCount(shape: shape, of: name, in: file)
    guard offsets[1] - offsets[0] == expected else {
      throw error(.wrongSize(dtype, shape: shape, expected: expected, found: offsets[1] - offsets[0]))
    }
    guard offsets[1] <= dataByteCount else { throw error(.outOfData(end: offsets[1], dataByteCount: dataByteCount)) }
    return SafeTensorsEntry(dtype: dtype, shape: shape, range: offsets[0]..<offsets[1])
  }

  private func dtype(_ value: JSONValue) throws(SafeTensorsError) -> SafeTensorsDType {
    guard case .string(let text) = value else {
      throw error(.malformedField("dtype", found: value.summary, expected: "a string"))
    }
    guard let dtype = SafeTensorsDType(rawValue: text) else { throw error(.unknownDType(text)) }
    return dtype
  }

  private func integers(_ value: JSONValue, field: String, expected: String) throws(SafeTensorsError) -> [Int] {
    guard case .array(let elements) = value else {
      throw error(.malformedField(field, found: value.summary, expected: expected))
    }
    var integers: [Int] = []
    for element in elements {
      // Int(_:) refuses what the format does too: fractions, exponents and numbers past 64 bits.
      guard case .number(let digits) = element, digits.first != "-", let integer = Int(digits) else {
        throw error(.malformedField(field, found: "with \(element.summary)", expected: "integers from 0 to \(Int.max)"))
      }
      integers.append(integer)
    }
    return integers
  }
}

extension SafeTensorsDType {
  /// Bytes that a tensor takes. Elements narrower than a byte must fill whole bytes.
  func byteCount(shape: [Int], of name: String, in file: String) throws(SafeTensorsError) -> Int {
    var bits = 1
    // The reference multiplies in this order too, so both refuse the same shapes.
    for factor in shape + [bitWidth] {
      let (product, overflow) = bits.multipliedReportingOverflow(by: factor)
      guard !overflow else { throw SafeTensorsError(file, .tensor(name, .tooLarge(self, shape: shape))) }
      bits = product
    }
    guard bits % 8 == 0 else { throw SafeTensorsError(file, .tensor(name, .partialByte(self, shape: shape))) }
    return bits / 8
  }
}

// MARK: - Writing

extension SafeTensorsHeader {
  /// The bytes before the data: the length, the JSON text as the reference writes it, and spaces up to a multiple of eight,
  /// so that the data is aligned.
  var encoded: [UInt8] {
    var members = entries.map { name, entry in
      let shape = entry.shape.map(String.init).joined(separator: ",")
      let offsets = "\(entry.range.lowerBound),\(entry.range.upperBound)"
      return "\(Self.quoted(name)):{\"dtype\":\"\(entry.dtype)\",\"shape\":[\(shape)],\"data_offsets\":[\(offsets)]}"
    }
    if !metadata.isEmpty {
      let pairs = metadata.map { "\(Self.quoted($0)):\(Self.quoted($1))" }.joined(separator: ",")
      members.insert("\"\(Self.metadataName)\":{\(pairs)}", at: 0)
    }
    var text = Array("{\(members.joined(separator: ","))}".utf8)
    text += Array(repeating: UInt8(ascii: " "), count: (8 - text.count % 8) % 8)
    return withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) } + text
  }

  /// A JSON string; escapes what must be escaped and nothing else.
  private static func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\u{8}": quoted += "\\b"
      case "\u{C}": quoted += "\\f"
      case "\n": quoted += "\\n"
      case "\r": quoted += "\\r"
      case "\t": quoted += "\\t"
      case ..<" ": quoted += "\\u00" + hexadecimal(UInt8(scalar.value))
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }
}
