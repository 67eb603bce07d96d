import Foundation
import Testing

/// A terminal that a command's standard error goes to.
struct Terminal {
  private let control: Int32
  private let screen: Int32

  init(columns: UInt16) throws {
    var (control, screen): (Int32, Int32) = (-1, -1)
    var size = winsize(ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
    try #require(openpty(&control, &screen, nil, nil, &size) == 0, "no pseudo terminal")
    (self.control, self.screen) = (control, screen)
  }

  /// Runs a command to its end; to be called once.
  ///
  /// - Returns: its status, and everything that it has put on the terminal.
  func run(_ arguments: [String]) throws -> (status: Int32, text: String) {
    let process = Process()
    process.executableURL = URL(filePath: Binary.path)
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle(fileDescriptor: screen)
    process.environment = ProcessInfo.processInfo.environment.merging(["OMP_NUM_THREADS": "1"]) { $1 }
    try process.run()
    close(screen)
    defer { close(control) }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    // Once nobody holds the screen any more, there is nothing to read, or an error.
    while case let count = read(control, &buffer, buffer.count), count > 0 { text += buffer[..<count] }
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: text, as: UTF8.self))
  }
}
