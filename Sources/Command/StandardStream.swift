internal import Foundation
internal import Workflows

/// Standard output and standard error, without Foundation's handles, which trap where nothing can be written.
enum StandardStream: Int32 {
  case output = 1
  case errors = 2

  var isTerminal: Bool { isatty(rawValue) == 1 }

  /// Of the terminal, as it now is; nil where none says.
  var columns: Int? {
    var size = winsize()
    guard ioctl(rawValue, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
    return Int(size.ws_col)
  }

  /// Writes all of a text.
  ///
  /// - Returns: what the system says where that fails.
  func send(_ text: String) -> String? {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { write(rawValue, $0.baseAddress, $0.count) }
      if count >= 0 {
        bytes = bytes.dropFirst(count)
      } else if errno == EAGAIN {
        // Whoever reads has made it so that writing does not wait.
        var place = pollfd(fd: rawValue, events: Int16(POLLOUT), revents: 0)
        poll(&place, 1, -1)
      } else if errno == EPIPE {
        // Who reads has heard enough.
        return nil
      } else if errno != EINTR {
        return String(cString: strerror(errno))
      }
    }
    return nil
  }

  /// Puts the result of a command on standard output.
  ///
  /// - Throws: `SettingError` where it would be lost.
  static func print(_ result: String) throws(SettingError) {
    if let reason = output.send("\(result)\n") { throw lost(reason) }
  }

  static func lost(_ reason: String) -> SettingError {
    SettingError("standard output: \(reason); what is printed is lost, what the command writes to files is there")
  }
}
