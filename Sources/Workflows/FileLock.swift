internal import Foundation

/// Keeps what a run writes to that run: two that go on from one state, or draw into one folder, spoil each other's work.
package final class FileLock {
  private let path: String
  private var descriptor: Int32 = -1

  /// - Parameters:
  ///   - path: of a file that is made for it, and goes with it.
  ///   - refusal: what is told where another run has it.
  /// - Throws: `SettingError` with the refusal.
  package init(_ path: String, refusal: String) throws(SettingError) {
    self.path = path
    // Some file systems never tell the same of an open file and of its path.
    for _ in 0..<100 {
      descriptor = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0o644)
      // What cannot be written in is told by who writes, and file systems without locks have none to hold.
      guard descriptor >= 0 else { return }
      if flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
        guard errno != EWOULDBLOCK else {
          close(descriptor)
          descriptor = -1
          throw SettingError(refusal)
        }
        return
      }
      // A run that ended meanwhile has taken the file away, and the next one would make another.
      var (own, there) = (stat(), stat())
      if fstat(descriptor, &own) == 0, stat(path, &there) == 0, own.st_ino == there.st_ino { return }
      close(descriptor)
      descriptor = -1
    }
  }

  /// Gives it free, as the end of the process does.
  package func release() {
    guard descriptor >= 0 else { return }
    unlink(path)
    close(descriptor)
    descriptor = -1
  }
}
