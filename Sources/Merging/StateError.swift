internal import SafeTensors
package import Torch

/// A saved state that does not belong to this run.
public struct StateError: Error, CustomStringConvertible {
  /// What its user can do about it.
  public enum Remedy: String, Sendable {
    /// It is a state of such work, which a new start replaces.
    case formerSettings = "Use the settings it was made with, or delete it to start again"
    /// It is something else, which may be dear to somebody.
    case anotherFile = "Choose another file for the state with --state"
    /// Nobody can read it.
    case deletion = "If it is a state, delete it to start again; else choose another file for the state with --state"
  }

  public let path: String
  public let reason: String
  public let remedy: Remedy

  public init(path: String, reason: String, remedy: Remedy = .formerSettings) {
    self.path = path
    self.reason = reason
    self.remedy = remedy
  }

  public var description: String { "\(path) cannot be continued: \(reason). \(remedy.rawValue)" }

  /// Opens a file that a state was saved in.
  ///
  /// - Throws: `StateError` where it is damaged; what the system says where it cannot be read.
  package static func opening(_ path: String) throws -> SafeTensorsCollection {
    do {
      return try SafeTensorsCollection(path: path)
    } catch let error as SafeTensorsError {
      switch error.reason {
      // Which may pass, and says nothing of what is in it.
      case .unreadable, .notAFile: throw error
      default: throw StateError(path: path, reason: error.message, remedy: .deletion)
      }
    }
  }
}
