internal import Foundation
internal import Workflows
internal import Yams

/// A mapping of a YAML file, read key by key: what is left over in the end is an error, so that no misspelt setting passes
/// for its default.
final class YAMLMapping {
  /// Such as `rows[2].zip`, for errors.
  private let place: String
  private let members: [(key: String, value: Node)]
  private var known: [String] = []

  /// - Throws: `SettingError` for what is no YAML or no mapping.
  convenience init(yaml text: String) throws {
    do {
      guard let node = try compose(yaml: text) else { throw SettingError("the file is empty") }
      try self.init(node, at: "")
    } catch let error as YamlError {
      throw SettingError("no YAML: \(error)")
    }
  }

  init(_ node: Node, at place: String) throws {
    guard let mapping = node.mapping else {
      throw SettingError("\(place.isEmpty ? "the file" : place): expected settings by name")
    }
    self.place = place
    members = mapping.map { ($0.key.string ?? "", $0.value) }
  }

  private func path(_ key: String) -> String { place.isEmpty ? key : "\(place).\(key)" }

  private func node(_ key: String) -> Node? {
    if !known.contains(key) { known.append(key) }
    return members.first { $0.key == key }?.value
  }

  private func scalar<Value>(_ key: String, _ expected: String, _ convert: (Node) -> Value?) throws -> Value? {
    guard let node = node(key) else { return nil }
    guard let value = convert(node) else {
      throw SettingError(
        "\(path(key)): found \(node.scalar.map { "\"\($0.string)\"" } ?? "a list or mapping"); expected \(expected)")
    }
    return value
  }

  func text(_ key: String) throws -> String? { try scalar(key, "a text") { $0.scalar?.string } }
  func whole(_ key: String) throws -> Int? { try scalar(key, "a whole number", \.int) }
  func truth(_ key: String) throws -> Bool? { try scalar(key, "true or false", \.bool) }
  func number(_ key: String) throws -> Double? { try scalar(key, "a number", \.float) }

  func choice<Value: RawRepresentable & CaseIterable>(_ key: String, _: Value.Type = Value.self) throws -> Value?
  where Value.RawValue == String {
    let names = Value.allCases.map(\.rawValue).joined(separator: ", ")
    return try scalar(key, "one of \(names)") { $0.scalar.flatMap { Value(rawValue: $0.string) } }
  }

  /// - Throws: `SettingError` where the key is missing.
  func required<Value>(_ key: String, _ read: (String) throws -> Value?) throws -> Value {
    guard let value = try read(key) else { throw SettingError("\(path(key)) is missing") }
    return value
  }

  func mapping(_ key: String) throws -> YAMLMapping? { try node(key).map { try YAMLMapping($0, at: path(key)) } }

  /// Numbers by name, whatever the names.
  func numbers(_ key: String) throws -> [String: Double] {
    guard let mapping = try mapping(key) else { return [:] }
    let pairs = try mapping.members.map { name, _ in (name, try mapping.required(name, mapping.number)) }
    return Dictionary(pairs) { $1 }
  }

  func list<Element>(_ key: String, _ read: (Node, String) throws -> Element) throws -> [Element]? {
    guard let node = node(key) else { return nil }
    guard let sequence = node.sequence else { throw SettingError("\(path(key)): expected a list") }
    return try sequence.enumerated().map { try read($1, "\(path(key))[\($0 + 1)]") }
  }

  func texts(_ key: String) throws -> [String]? {
    try list(key) { node, place in
      guard let text = node.scalar?.string else { throw SettingError("\(place): expected a text") }
      return text
    }
  }

  /// To be called when everything is read.
  ///
  /// - Throws: `SettingError` for keys that nobody has asked for.
  func finish() throws {
    let unknown = members.map(\.key).filter { !known.contains($0) }
    guard unknown.isEmpty else {
      throw SettingError(
        "\(unknown.map(path).joined(separator: ", ")): no such setting; known are \(known.joined(separator: ", "))")
    }
  }
}
