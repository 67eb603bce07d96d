import Foundation
import TestFiles
import Testing

/// What is shown, and what cannot be shown.
@Suite struct StandardStreamTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test("no line of the progress is longer than a row, as the next one would not clear it", arguments: [80, 30])
  func narrowTerminal(columns: UInt16) throws {
    let loras = try TrainedLoRAs.shared.get()
    let run = try Terminal(columns: columns).run(loras.zip(steps: 3, output: folder("zip.safetensors")))
    try #require(run.status == 0, "\(run.text)")
    let lines = run.text.unicodeScalars.split { "\r\n".unicodeScalars.contains($0) }
      .map { String($0).replacing("\u{1B}[K", with: "") }
    let progress = lines.filter { $0.hasPrefix("zipping  █") || $0.hasPrefix("zipping  ░") }
    try #require(progress.count >= 2, "\(lines)")
    // Warnings stay, and may take as many rows as they like.
    for line in lines where !line.hasPrefix("warning: ") { #expect(line.count < columns, "\(line)") }
    #expect(progress.last?.contains("████  3/3") == true, "\(progress)")
    // The bar is shortened before anything is cut off.
    guard columns == 30 else { return }
    #expect(progress.allSatisfy { $0.hasSuffix("…") && $0.count { "█░".contains($0) } == 4 }, "\(progress)")
  }

  @Test func terminalOfOneColumn() throws {
    let golden = "\(goldens)/adapters/attention/kohya.safetensors"
    let run = try Terminal(columns: 1).run([
      "merge", "--method", "direct", "--lora", golden, "--lora", golden, "--output", folder("a.safetensors"),
    ])
    #expect(run.status == 0 && run.text.contains("…"), "\(run.text)")
  }

  private static let hasFullDevice = FileManager.default.fileExists(atPath: "/dev/full")

  private func run(_ arguments: [String], output: String, errors: String) throws -> Int32 {
    let process = Process()
    process.executableURL = URL(filePath: Binary.path)
    process.arguments = arguments
    process.standardOutput = try FileHandle(forWritingTo: URL(filePath: output))
    process.standardError = try FileHandle(forWritingTo: URL(filePath: errors))
    process.environment = ProcessInfo.processInfo.environment.merging(["OMP_NUM_THREADS": "1"]) { $1 }
    try process.run()
    process.waitUntilExit()
    return process.terminationStatus
  }

  @Test("a log on a full disk does not end a training", .enabled(if: hasFullDevice))
  func fullLog() throws {
    let output = try folder.emptyFile("output")
    let status = try run(
      [
        "train", "--base", base, "--images", "\(fixtures)/rgb-8.png", "--prompt", "a sbu dog", "--steps", "1", "--rank", "1",
        "--output", folder("a.safetensors"),
      ], output: output.path, errors: "/dev/full")
    #expect(status == 0)
    #expect(try String(contentsOf: output, encoding: .utf8) == "\(folder("a.safetensors"))\n")
  }

  @Test(
    "a result that cannot be printed is told", .enabled(if: hasFullDevice),
    arguments: [
      ["inspect", "--json", "\(goldens)/adapters/attention/kohya.safetensors"], ["toybox", "sheet", "--count", "1", "--output"],
    ])
  func fullOutput(arguments: [String]) throws {
    let errors = try folder.emptyFile("errors")
    let rest = arguments[0] == "toybox" ? [folder("sheet.png")] : []
    #expect(try run(arguments + rest, output: "/dev/full", errors: errors.path) == 1)
    let message = try String(contentsOf: errors, encoding: .utf8)
    #expect(message.contains("Error: standard output: No space left on device; what is printed is lost"), "\(message)")
  }
}
