internal import Foundation
internal import Workflows

/// Keeps a folder to one run: another one's pictures among its own would be judged as its own.
final class FolderLock {
  private let descriptor: Int32

  /// - Throws: `SettingError` where another run has the folder.
  init(_ folder: String) throws {
    descriptor = open("\(folder)/.lock", O_CREAT | O_RDWR | O_CLOEXEC, 0o644)
    // File systems without locks have none to hold.
    guard descriptor >= 0, flock(descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK else { return }
    close(descriptor)
    throw SettingError(
      "\(folder): another experiment is at work in this folder; let it finish or stop it, or choose another folder with --output")
  }

  /// Gives the folder free, as the end of the process does.
  func release() { if descriptor >= 0 { close(descriptor) } }
}
