import Foundation
import TestFiles
import TestHub
import TestSupport
import Testing
import Torch

/// A small pipeline and small pictures.
let base = "\(goldens)/pipelines/sdxl"
let fixtures = "\(repository)/Tests/ImagesTests/Fixtures"

extension FakeModel {
  /// A small pipeline as the hub would have it.
  static func pipeline() throws -> FakeModel {
    let pipeline = "\(goldens)/pipelines/sd15"
    var model = FakeModel()
    model.files = [:]
    for name in try FileManager.default.subpathsOfDirectory(atPath: pipeline) where name.contains(".") {
      model.files[name] = [UInt8](try TestFiles.bytes("\(pipeline)/\(name)"))
    }
    return model
  }
}

/// The ziplora command that was built with these tests, as a user starts it.
struct Binary {
  let status: Int32
  let output: String
  let errors: String

  static var path: String {
    #if os(macOS)
      let tests = Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }
      return tests!.bundleURL.deletingLastPathComponent().appending(path: "ziplora").path
    #else
      return Bundle.main.bundleURL.appending(path: "ziplora").path
    #endif
  }

  /// Runs a command to its end.
  ///
  /// - Parameters:
  ///   - environment: variables beside those of the tests.
  ///   - interruptAfter: Ctrl-C is sent once this stands on standard error.
  @discardableResult
  static func run(
    _ arguments: [String], environment: [String: String] = [:], interruptAfter phase: String? = nil
  ) throws -> Binary {
    try run(arguments, environment: environment, interruptWhen: phase.map { phase in { $0.contains(phase) } })
  }

  /// Runs a line of the shell, in which `"$0"` is the command and `"$@"` are the arguments.
  static func run(shell line: String, _ arguments: [String] = []) throws -> Binary {
    try run(arguments, environment: [:], shell: line, interruptWhen: nil)
  }

  /// - Parameter interruptWhen: Ctrl-C is sent once this holds; asked with what stands on standard error.
  static func run(
    _ arguments: [String], environment: [String: String], shell line: String? = nil,
    interruptWhen isDue: ((_ errors: String) throws -> Bool)?
  ) throws -> Binary {
    let folder = try TemporaryFolder()
    // Files and not pipes, which would block a command that says more than a pipe holds.
    let (output, errors) = (try folder.emptyFile("output"), try folder.emptyFile("errors"))
    let process = Process()
    process.executableURL = URL(filePath: line == nil ? path : "/bin/sh")
    process.arguments = (line.map { ["-c", $0, path] } ?? []) + arguments
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = try FileHandle(forWritingTo: errors)
    // Small models are no work for two threads, and tests run beside each other.
    process.environment = ProcessInfo.processInfo.environment.merging(["OMP_NUM_THREADS": "1"]) { $1 }
      .merging(environment) { $1 }
    process.environment?["COLUMNS"] = nil
    try process.run()
    if let isDue {
      while process.isRunning, try !isDue(String(contentsOf: errors, encoding: .utf8)) { usleep(2000) }
      process.interrupt()
    }
    process.waitUntilExit()
    return Binary(
      status: process.terminationStatus, output: try String(contentsOf: output, encoding: .utf8),
      errors: try String(contentsOf: errors, encoding: .utf8))
  }

  /// Runs a command in several processes that find each other, with the variables that people set by hand.
  ///
  /// - Parameter others: what all but the first one are told besides.
  static func run(
    processes: Int, _ arguments: [String], others: [String] = [], interruptAfter phase: String? = nil
  ) throws -> [Binary] {
    let environments = try LaunchEnvironment.onThisMachine(processes)
    return try onThreads(processes) { rank in
      try run(
        arguments + (rank > 0 ? others : []), environment: environments[rank].variables, interruptAfter: phase)
    }
  }

  /// Runs a command that has to succeed.
  @discardableResult
  static func succeed(_ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation) throws -> String {
    let run = try run(arguments)
    try #require(run.status == 0, "\(arguments.joined(separator: " ")): \(run.errors)", sourceLocation: sourceLocation)
    return run.output
  }
}

extension TemporaryFolder {
  func emptyFile(_ name: String) throws -> URL {
    try Data().write(to: URL(filePath: self(name)))
    return URL(filePath: self(name))
  }

  /// A folder of pictures from the fixtures, under names of their own.
  func pictures(_ name: String, _ fixtureNames: String...) throws -> String { try pictures(name, fixtureNames) }

  func pictures(_ name: String, _ fixtureNames: [String]) throws -> String {
    try FileManager.default.createDirectory(atPath: self(name), withIntermediateDirectories: true)
    for (index, fixture) in fixtureNames.enumerated() {
      try FileManager.default.copyItem(atPath: "\(fixtures)/\(fixture)", toPath: "\(self(name))/\(index)-\(fixture)")
    }
    return self(name)
  }
}

/// A subject and a style LoRA, trained by the command on the small base; made once for all tests.
struct TrainedLoRAs: Sendable {
  let subject: String
  let style: String
  let pictures: String
  let picture = "\(fixtures)/lossy.webp"
  private let folder: TemporaryFolder

  static let shared = Result { try TrainedLoRAs() }

  private init() throws {
    folder = try TemporaryFolder()
    (subject, style) = (folder("dog.safetensors"), folder("ink.safetensors"))
    pictures = try folder.pictures("dog", "rgb-8.png", "444.jpg")
    let common = ["--base", base, "--steps", "4", "--learning-rate", "1e-2", "--rank", "2"]
    for (images, prompt, seed, file) in [(pictures, "a sbu dog", "1", subject), (picture, "a house in szn style", "2", style)] {
      let run = try Binary.run(
        ["train", "--images", images, "--prompt", prompt, "--seed", seed, "--output", file] + common)
      try #require(run.status == 0, "\(run.errors)")
      #expect(run.output == "\(file)\n")
    }
  }

  /// Arguments of `ziplora zip` for these.
  func zip(steps: Int, output: String) -> [String] {
    [
      "zip", "--base", base, "--subject", subject, "--style", style, "--subject-images", pictures, "--style-images",
      picture, "--subject-prompt", "a sbu dog", "--style-prompt", "a house in szn style", "--steps", "\(steps)",
      "--learning-rate", "0.02", "--output", output,
    ]
  }
}
