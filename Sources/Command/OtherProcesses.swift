internal import Foundation
internal import Torch
internal import Training

/// Further processes of this program on this machine, which do one piece of work together with this one, the first of them.
final class OtherProcesses {
  /// Of this process.
  private let environment: LaunchEnvironment
  private var others: [Other] = []

  private struct Other {
    let environment: LaunchEnvironment
    let process: Process
    let errors: FileHandle

    var isLost: Bool { !process.isRunning && process.terminationStatus != 0 }

    /// What it said of its end.
    var lastWords: String {
      let said = (try? errors.seek(toOffset: 0)).flatMap { try? errors.readToEnd() }.map { String(decoding: $0, as: UTF8.self) }
      let text = (said ?? "").trimmingCharacters(in: .whitespacesAndNewlines)
      guard text.isEmpty else { return text.hasPrefix("Error: ") ? String(text.dropFirst("Error: ".count)) : text }
      let killed = process.terminationReason == .uncaughtSignal
      let end = "\(killed ? "signal" : "status") \(process.terminationStatus)"
      return "ended with \(end); the same command goes on with what is there"
    }
  }

  /// Starts them, and leaves this process its part of the threads.
  ///
  /// - Parameters:
  ///   - size: how many there are with this one.
  ///   - arguments: the command of the others.
  init(size: Int, arguments: [String]) throws {
    let environments = try LaunchEnvironment.onThisMachine(size)
    environment = environments[0]
    Engine.threads = max(1, Engine.threads / size)
    do {
      for environment in environments.dropFirst() { others.append(try Self.start(arguments, in: environment)) }
    } catch {
      end()
      throw error
    }
  }

  private static func start(_ arguments: [String], in environment: LaunchEnvironment) throws -> Other {
    let process = Process()
    process.executableURL = Bundle.main.executableURL
    process.arguments = arguments
    let variables = environment.variables.merging(["OMP_NUM_THREADS": "\(Engine.threads)"]) { $1 }
    process.environment = ProcessInfo.processInfo.environment.merging(variables) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    // A pipe that nobody empties would stop who says much. Without its name the file goes with the processes.
    let file = FileManager.default.temporaryDirectory.appending(path: "ziplora-\(UUID().uuidString)")
    try Data().write(to: file)
    let errors = try FileHandle(forUpdating: file)
    try FileManager.default.removeItem(at: file)
    process.standardError = errors
    try process.run()
    return Other(environment: environment, process: process, errors: errors)
  }

  /// Whether one has ended before its work was done.
  var haveLostOne: Bool { others.contains(where: \.isLost) }

  /// Does this process's part, and returns when the others have done theirs.
  ///
  /// - Throws: `OtherProcessError` for one that failed, in place of what `body` throws for want of it.
  func share(_ body: (LaunchEnvironment) throws -> Void) throws {
    do {
      try body(environment)
      wait()
    } catch let error where Interruption.isAsked {
      // They hear of it, and save their states, too.
      wait()
      throw error
    } catch let error where error is Interrupted || error is ProcessGroupError {
      wait()
      guard let lost = others.first(where: \.isLost) else { throw error }
      throw OtherProcessError(description: "process \(lost.environment.rank) of \(environment.size): \(lost.lastWords)")
    } catch {
      end()
      throw error
    }
  }

  private func wait() {
    for other in others { other.process.waitUntilExit() }
  }

  private func end() {
    for other in others { other.process.terminate() }
    wait()
  }
}

/// Another process of this run has failed.
struct OtherProcessError: Error, CustomStringConvertible {
  let description: String
}
