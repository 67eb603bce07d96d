/// One number for all blocks of a model or one for each, as many settings of diffusers are written.
public enum OneOrMany: Codable, Sendable, Equatable, CustomStringConvertible, ExpressibleByIntegerLiteral,
  ExpressibleByArrayLiteral
{
  case one(Int)
  case many([Int])

  public init(integerLiteral value: Int) { self = .one(value) }
  public init(arrayLiteral elements: Int...) { self = .many(elements) }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let number = try? container.decode(Int.self) {
      self = .one(number)
    } else {
      self = .many(try container.decode([Int].self))
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .one(let number): try container.encode(number)
    case .many(let numbers): try container.encode(numbers)
    }
  }

  public var description: String {
    switch self {
    case .one(let number): "\(number)"
    case .many(let numbers): "\(numbers)"
    }
  }

  /// One alone, or all.
  package var numbers: [Int] {
    switch self {
    case .one(let number): [number]
    case .many(let numbers): numbers
    }
  }

  /// One number for each of `count` blocks.
  ///
  /// - Parameter limit: beyond it no model goes, only overflow.
  func expanded(to count: Int, key: String, atMost limit: Int = ConfigurationError.widest) throws -> [Int] {
    let numbers =
      switch self {
      case .one(let number): Array(repeating: number, count: count)
      case .many(let numbers): numbers
      }
    try ConfigurationError.require(numbers.count == count, key, "\(self)", "one number or \(count), one a block")
    try ConfigurationError.require(
      numbers.allSatisfy { 1...limit ~= $0 }, key, "\(self)", "positive numbers, \(limit) at most")
    return numbers
  }
}

/// A JSON value, for settings that are checked and not kept.
package enum SettingValue: Decodable, Equatable, CustomStringConvertible {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case list([SettingValue])
  case other

  package init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let flag = try? container.decode(Bool.self) {
      self = .bool(flag)
    } else if let number = try? container.decode(Double.self) {
      self = .number(number)
    } else if let text = try? container.decode(String.self) {
      self = .string(text)
    } else if let values = try? container.decode([SettingValue].self) {
      self = .list(values)
    } else {
      self = .other
    }
  }

  package var description: String {
    switch self {
    case .null: "null"
    case .bool(let flag): "\(flag)"
    case .number(let number): Int(exactly: number).map { "\($0)" } ?? "\(number)"
    case .string(let text): "\"\(text)\""
    case .list(let values): "[\(values.map(\.description).joined(separator: ", "))]"
    case .other: "an object"
    }
  }
}

/// Any key of a JSON object.
struct SettingKey: CodingKey {
  let stringValue: String
  var intValue: Int? { nil }

  init(_ name: String) { stringValue = name }
  init?(stringValue: String) { self.stringValue = stringValue }
  init?(intValue: Int) { nil }
}

extension Decoder {
  /// Throws for the first of these settings that is there with another than a supported value. A setting that is absent
  /// has the reference implementation's default; where that is none of the supported values, the caller refuses it.
  package func requireSupported(_ settings: KeyValuePairs<String, [SettingValue]>) throws {
    let container = try container(keyedBy: SettingKey.self)
    for (key, supported) in settings {
      guard let found = try container.decodeIfPresent(SettingValue.self, forKey: SettingKey(key)) else { continue }
      guard supported.contains(found) else {
        throw ConfigurationError(
          .unsupported(key: key, found: found.description, supported: supported.map(\.description)))
      }
    }
  }
}

extension KeyedDecodingContainer {
  /// The value of a setting, or the reference implementation's default where it is absent or null.
  package func setting<Value: Decodable>(_ key: Key, default value: Value) throws -> Value {
    try decodeIfPresent(Value.self, forKey: key) ?? value
  }

  /// The value of a setting that names one of few choices.
  package func choice<Choice: RawRepresentable & CaseIterable>(_ key: Key, default value: Choice) throws -> Choice
  where Choice.RawValue == String {
    guard let name = try decodeIfPresent(String.self, forKey: key) else { return value }
    return try Self.choice(named: name, key)
  }

  package func choices<Choice: RawRepresentable & CaseIterable>(_ key: Key, default values: [Choice]) throws -> [Choice]
  where Choice.RawValue == String {
    guard let names = try decodeIfPresent([String].self, forKey: key) else { return values }
    return try names.map { try Self.choice(named: $0, key) }
  }

  private static func choice<Choice: RawRepresentable & CaseIterable>(named name: String, _ key: Key) throws -> Choice
  where Choice.RawValue == String {
    guard let choice = Choice(rawValue: name) else {
      let supported = Choice.allCases.map { "\"\($0.rawValue)\"" }
      throw ConfigurationError(.unsupported(key: key.stringValue, found: "\"\(name)\"", supported: supported))
    }
    return choice
  }
}

/// The release of diffusers whose settings are read and written here, for `_diffusers_version`.
let diffusersVersion = "0.42.1"
