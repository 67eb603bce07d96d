/// A saved state that does not belong to this run.
public struct StateError: Error, CustomStringConvertible {
  public let path: String
  public let reason: String
  /// Whether it is a state of such work, which a new start replaces. What is not may be dear to somebody.
  public let mayBeDeleted: Bool

  public init(path: String, reason: String, mayBeDeleted: Bool = true) {
    self.path = path
    self.reason = reason
    self.mayBeDeleted = mayBeDeleted
  }

  public var description: String {
    let remedy =
      mayBeDeleted
      ? "Use the settings it was made with, or delete it to start again" : "Choose another file for the state with --state"
    return "\(path) cannot be continued: \(reason). \(remedy)"
  }
}
