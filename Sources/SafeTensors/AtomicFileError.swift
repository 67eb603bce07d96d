#if canImport(Darwin)
  internal import Darwin
#else
  internal import Glibc
#endif

/// Why a file could not be written, and what to do about it. Nothing of it was left behind.
public struct AtomicFileError: Error, CustomStringConvertible, Equatable, Sendable {
  /// The file's path, as given.
  public let path: String
  public let reason: Reason

  public enum Reason: Equatable, Sendable {
    case exists
    case targetIsFolder
    case folderMissing(String)
    case notAFolder(String)
    /// No right to write in the folder, or a file system mounted read-only.
    case folderNotWritable(String)
    case diskFull(folder: String)
    /// Anything else: what was tried and the operating system's words.
    case system(operation: String, problem: String)
  }

  init(_ path: String, _ reason: Reason) {
    self.path = path
    self.reason = reason
  }

  /// The error for the system's `code` (an `errno`) when it refused to do `operation` in `folder`.
  package init(_ path: String, folder: String, operation: String, code: Int32) {
    self.path = path
    reason =
      switch code {
      case ENOENT: .folderMissing(folder)
      case ENOTDIR: .notAFolder(folder)
      case EACCES, EPERM, EROFS: .folderNotWritable(folder)
      case ENOSPC, EDQUOT: .diskFull(folder: folder)
      default: .system(operation: operation, problem: String(cString: strerror(code)))
      }
  }

  public var description: String {
    switch reason {
    case .exists: "\(path): exists already; choose another name or allow overwriting"
    case .targetIsFolder: "\(path): is a folder, expected the path of a file"
    case .folderMissing(let folder): "\(path): cannot be written, the folder \(folder) does not exist; create it first"
    case .notAFolder(let folder): "\(path): cannot be written, \(folder) is not a folder"
    case .folderNotWritable(let folder): "\(path): cannot be written, no permission to write in the folder \(folder)"
    case .diskFull(let folder): "\(path): cannot be written, the disk (or quota) of the folder \(folder) is full; free some space"
    case .system(let operation, let problem): "\(path): cannot be written, failed to \(operation): \(problem)"
    }
  }
}
