/// A `config.json` that describes no model this package can compute.
public struct ConfigurationError: Error, CustomStringConvertible, Equatable {
  public enum Problem: Equatable, Sendable {
    /// A setting asks for a computation that this package does not do.
    case unsupported(key: String, found: String, supported: [String])
    /// Settings that cannot hold together.
    case inconsistent(key: String, found: String, expected: String)
    case unreadable(String)
    case malformed(String)
  }

  /// The file, once it is known.
  public var file: String?
  public let problem: Problem

  public init(_ problem: Problem, file: String? = nil) {
    self.problem = problem
    self.file = file
  }

  public var description: String { (file.map { "\($0): " } ?? "") + message }

  private var message: String {
    switch problem {
    case .unsupported(let key, let found, let supported):
      "\(key) is \(found), which is not supported; supported: \(supported.joined(separator: ", "))"
    case .inconsistent(let key, let found, let expected): "\(key) is \(found), expected \(expected)"
    case .unreadable(let reason): "cannot be read: \(reason)"
    case .malformed(let reason): "is not a model configuration: \(reason)"
    }
  }

  /// Gives errors of a configuration the path of its file.
  package static func naming<Result>(_ file: String, _ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch var error as ConfigurationError {
      error.file = file
      throw error
    }
  }

  /// Channels and layers of which no model has more: beyond them is overflow.
  static let widest = 1 << 20
  static let deepest = 1000

  /// Checks a condition that settings must fulfil.
  package static func require(
    _ condition: Bool, _ key: String, _ found: @autoclosure () -> String, _ expected: @autoclosure () -> String
  ) throws {
    guard condition else { throw ConfigurationError(.inconsistent(key: key, found: found(), expected: expected())) }
  }
}
