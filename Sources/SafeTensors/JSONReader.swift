package import OrderedCollections

/// A JSON value that remembers the order of its members and the spelling of its numbers.
package enum JSONValue {
  case object(OrderedDictionary<String, JSONValue>)
  case array([JSONValue])
  case string(String)
  case number(String)
  case bool(Bool)
  case null

  /// Reads a text with space around it; nil where it is no JSON, or names a member of an object twice.
  package init?(text: String) {
    let space = Set("\n\r\t ".utf8)
    var bytes = Array(text.utf8)[...]
    bytes = bytes.drop(while: space.contains)
    while let last = bytes.last, space.contains(last) { bytes.removeLast() }
    let value = bytes.withUnsafeBytes { bytes in
      var reader = JSONReader(bytes)
      return try? reader.document()
    }
    guard let value else { return nil }
    self = value
  }

  /// The value as an error message names it.
  var summary: String {
    switch self {
    case .object: "an object"
    case .array(let elements): "an array of \(elements.count)"
    case .string(let text): String(reflecting: text)
    case .number(let digits): digits
    case .bool(let value): "\(value)"
    case .null: "null"
    }
  }
}

/// Why a text is not the JSON that a header must be. Offsets count bytes of the header.
enum JSONFault: Error {
  case syntax(offset: Int, found: String, expected: String)
  /// The names that lead to the repeated member, itself last.
  case duplicateName(path: [String])
}

/// A strict JSON reader (RFC 8259) for headers that come from anywhere.
///
/// Foundation's decoder loses the order of members and silently keeps one of two with the same name, and both matter here:
/// a repeated tensor name is how one file can mean different things to different readers. Nesting is limited, so that a
/// hostile header cannot exhaust the stack. The bytes must be valid UTF-8.
struct JSONReader {
  /// A header nests three deep; anything far beyond is hostile.
  private static let depthLimit = 32

  private let bytes: UnsafeRawBufferPointer
  private var position = 0
  private var path: [String] = []
  private var depth = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// Reads the one value that the text must hold; only spaces may follow it.
  mutating func document() throws(JSONFault) -> JSONValue {
    let value = try value()
    while peek == UInt8(ascii: " ") { position += 1 }
    guard position == bytes.count else { throw fault("spaces up to the end") }
    return value
  }

  private var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

  private func fault(_ expected: String) -> JSONFault {
    let found =
      switch peek {
      case nil: "its end"
      case let byte? where (0x21..<0x7F).contains(byte): "'\(Unicode.Scalar(byte))'"
      case let byte?: "byte 0x" + hexadecimal(byte)
      }
    return .syntax(offset: position, found: found, expected: expected)
  }

  private mutating func skipWhitespace() {
    while let byte = peek, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { position += 1 }
  }

  /// Steps over `character` where it comes next.
  private mutating func take(_ character: Unicode.Scalar) -> Bool {
    guard peek == UInt8(ascii: character) else { return false }
    position += 1
    return true
  }

  private mutating func value() throws(JSONFault) -> JSONValue {
    switch peek {
    case UInt8(ascii: "{"): return try nested { reader throws(JSONFault) in .object(try reader.members()) }
    case UInt8(ascii: "["): return try nested { reader throws(JSONFault) in .array(try reader.elements()) }
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case UInt8(ascii: "-"), (UInt8(ascii: "0")...UInt8(ascii: "9"))?: return .number(try number())
    default: throw fault("a JSON value")
    }
  }

  private mutating func nested(
    _ body: (inout JSONReader) throws(JSONFault) -> JSONValue
  ) throws(JSONFault) -> JSONValue {
    guard depth < Self.depthLimit else { throw fault("at most \(Self.depthLimit) levels of nesting") }
    depth += 1
    defer { depth -= 1 }
    position += 1
    return try body(&self)
  }

  private mutating func members() throws(JSONFault) -> OrderedDictionary<String, JSONValue> {
    var members: OrderedDictionary<String, JSONValue> = [:]
    skipWhitespace()
    if take("}") { return members }
    while true {
      skipWhitespace()
      guard peek == UInt8(ascii: "\"") else { throw fault("a member name in quotes") }
      path.append(try string())
      guard members[path[path.count - 1]] == nil else { throw .duplicateName(path: path) }
      skipWhitespace()
      guard take(":") else { throw fault("':'") }
      skipWhitespace()
      let member = try value()
      members[path.removeLast()] = member
      skipWhitespace()
      if take("}") { return members }
      guard take(",") else { throw fault("',' or '}'") }
    }
  }

  private mutating func elements() throws(JSONFault) -> [JSONValue] {
    var elements: [JSONValue] = []
    skipWhitespace()
    if take("]") { return elements }
    while true {
      skipWhitespace()
      elements.append(try value())
      skipWhitespace()
      if take("]") { return elements }
      guard take(",") else { throw fault("',' or ']'") }
    }
  }

  private mutating func literal(_ word: StaticString, _ value: JSONValue) throws(JSONFault) -> JSONValue {
    for offset in 0..<word.utf8CodeUnitCount {
      guard peek == word.utf8Start[offset] else { throw fault("\(word)") }
      position += 1
    }
    return value
  }

  private mutating func digits() throws(JSONFault) {
    let start = position
    while let byte = peek, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
    guard position > start else { throw fault("a digit") }
  }

  private mutating func number() throws(JSONFault) -> String {
    let start = position
    _ = take("-")
    // A leading zero stands alone: 01 is no JSON number.
    if !take("0") { try digits() }
    if take(".") { try digits() }
    if take("e") || take("E") {
      if !take("+") { _ = take("-") }
      try digits()
    }
    return String(decoding: bytes[start..<position], as: UTF8.self)
  }
}

// MARK: - Strings

extension JSONReader {
  private mutating func string() throws(JSONFault) -> String {
    position += 1
    var text = ""
    while true {
      let start = position
      while let byte = peek, byte >= 0x20, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") { position += 1 }
      text += String(decoding: bytes[start..<position], as: UTF8.self)
      if take("\"") { return text }
      guard take("\\") else { throw fault("a closing quote; control characters must be escaped") }
      text.unicodeScalars.append(try escape())
    }
  }

  /// Reads what follows a backslash.
  private mutating func escape() throws(JSONFault) -> Unicode.Scalar {
    let scalar: Unicode.Scalar
    switch peek {
    case UInt8(ascii: "\""): scalar = "\""
    case UInt8(ascii: "\\"): scalar = "\\"
    case UInt8(ascii: "/"): scalar = "/"
    case UInt8(ascii: "b"): scalar = "\u{8}"
    case UInt8(ascii: "f"): scalar = "\u{C}"
    case UInt8(ascii: "n"): scalar = "\n"
    case UInt8(ascii: "r"): scalar = "\r"
    case UInt8(ascii: "t"): scalar = "\t"
    case UInt8(ascii: "u"):
      position += 1
      return try unicodeEscape()
    default: throw fault("one of \"\\/bfnrtu after a backslash")
    }
    position += 1
    return scalar
  }

  /// Reads the digits of `\uXXXX`, and the second half where it is the first of a surrogate pair.
  private mutating func unicodeEscape() throws(JSONFault) -> Unicode.Scalar {
    let first = try fourHexadecimalDigits()
    if let scalar = Unicode.Scalar(first) { return scalar }
    guard first < 0xDC00, take("\\"), take("u") else { throw fault("a whole surrogate pair") }
    let second = try fourHexadecimalDigits()
    guard (0xDC00...0xDFFF).contains(second) else { throw fault("a whole surrogate pair") }
    return Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))!
  }

  private mutating func fourHexadecimalDigits() throws(JSONFault) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = peek, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        throw fault("four hexadecimal digits after \\u")
      }
      value = value << 4 | UInt32(digit)
      position += 1
    }
    return value
  }
}

/// Two hexadecimal digits, lower case.
package func hexadecimal(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }
