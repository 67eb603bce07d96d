internal import ArgumentParser
internal import Foundation
internal import Synchronization
internal import Torch
internal import Training

/// Further processes of this program on this machine, which do one piece of work together with this one, the first of them.
final class OtherProcesses {
  /// Of this process.
  private let environment: LaunchEnvironment
  private var others: [OtherProcess] = []

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
      for environment in environments.dropFirst() {
        others.append(try OtherProcess(arguments, in: environment, threads: Engine.threads))
      }
    } catch {
      end()
      throw error
    }
  }

  /// Whether one has ended before its work was done.
  var haveLostOne: Bool { others.contains(where: \.isLost) }

  /// Lines that they have said since this was asked for the last time.
  var news: [String] { others.flatMap { $0.news() } }

  /// Does this process's part, and returns when the others have done theirs.
  ///
  /// - Throws: `OtherProcessError` for one that failed, in place of what `body` throws for want of it.
  func share(_ body: (ProcessGroup) throws -> Void) throws {
    do {
      try body(joined())
      wait()
    } catch {
      // The group is gone with `body`, so that they stop and save their states.
      wait()
      guard !Interruption.isAsked, error is Interrupted || error is ProcessGroupError, let cause else { throw error }
      throw OtherProcessError(description: "process \(cause.rank) of \(environment.size): \(cause.reason)")
    }
  }

  private func joined() throws -> ProcessGroup {
    do {
      return try ProcessGroup(joining: environment) { !Interruption.isAsked && !haveLostOne }
    } catch {
      end()
      if Interruption.isAsked { throw ExitCode(130) }
      throw error
    }
  }

  /// The one whose failure made the others fail: not one that was stopped or that has missed another.
  private var cause: (rank: Int, reason: String)? {
    let lost = others.filter(\.isLost).map { (process: $0, words: $0.lastWords) }
    let first = lost.first { $0.process.hasFailed && !$0.words.hasPrefix("process ") } ?? lost.first { $0.process.hasFailed }
    return (first ?? lost.first).map { ($0.process.rank, $0.words) }
  }

  private func wait() {
    for other in others { other.process.waitUntilExit() }
  }

  private func end() {
    // They have not begun, and may be where nothing stops them.
    for other in others where other.process.isRunning { kill(other.process.processIdentifier, SIGKILL) }
    wait()
  }
}

/// One of them.
private final class OtherProcess {
  let rank: Int
  let process = Process()
  /// What it says on standard error. A pipe that nobody empties would stop who says much.
  private let said: FileHandle
  private var heard = ""

  init(_ arguments: [String], in environment: LaunchEnvironment, threads: Int) throws {
    rank = environment.rank
    let file = FileManager.default.temporaryDirectory.appending(path: "ziplora-\(UUID().uuidString)")
    try Data().write(to: file)
    // Without its name the file goes with the processes.
    defer { try? FileManager.default.removeItem(at: file) }
    said = try FileHandle(forReadingFrom: file)
    process.executableURL = Bundle.main.executableURL
    process.arguments = arguments
    let own = ["OMP_NUM_THREADS": "\(threads)", Parent.variable: "\(getpid())"]
    let variables = environment.variables.merging(own) { $1 }
    process.environment = ProcessInfo.processInfo.environment.merging(variables) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = try FileHandle(forWritingTo: file)
    try process.run()
  }

  /// Whether it has ended without having done its work.
  var isLost: Bool { !process.isRunning && process.terminationStatus != 0 }

  /// Whether that was its own doing, and not that it was asked to stop.
  var hasFailed: Bool { isLost && (process.terminationReason == .uncaughtSignal || process.terminationStatus != 130) }

  /// The lines since the last time. The last one may not be whole yet.
  func news() -> [String] {
    hear()
    guard let end = heard.lastIndex(of: "\n") else { return [] }
    let lines = heard[..<end].split(separator: "\n").map(String.init)
    heard = String(heard[heard.index(after: end)...])
    // Those it ends with are its last words.
    guard let last = lines.firstIndex(where: { $0.hasPrefix(Self.error) }) else { return lines }
    heard = lines[last...].joined(separator: "\n") + "\n" + heard
    return Array(lines[..<last])
  }

  private func hear() {
    let more = try? said.readToEnd()
    heard += more.map { String(decoding: $0, as: UTF8.self) } ?? ""
  }

  private static let error = "Error: "

  /// What it said of its end.
  var lastWords: String {
    hear()
    let words = heard.trimmingCharacters(in: .whitespacesAndNewlines)
    guard words.isEmpty else { return words.hasPrefix(Self.error) ? String(words.dropFirst(Self.error.count)) : words }
    let kind = process.terminationReason == .uncaughtSignal ? "signal" : "status"
    return "ended with \(kind) \(process.terminationStatus); the same command goes on with what is there"
  }
}

/// The process that has started this one, which may end before they have joined: nothing else would tell.
enum Parent {
  static let variable = "ZIPLORA_PARENT"

  /// Runs `body` and ends this process when its parent does meanwhile.
  static func watched<Result>(_ body: () throws -> Result) rethrows -> Result {
    guard let parent = ProcessInfo.processInfo.environment[variable].flatMap(pid_t.init) else { return try body() }
    let watch = Watch()
    Thread.detachNewThread {
      while !watch.isOver.load(ordering: .relaxed) {
        if getppid() != parent { _exit(1) }
        Thread.sleep(forTimeInterval: 0.5)
      }
    }
    defer { watch.isOver.store(true, ordering: .relaxed) }
    return try body()
  }

  private final class Watch: Sendable {
    let isOver = Atomic<Bool>(false)
  }
}

/// Another process of this run has failed.
struct OtherProcessError: Error, CustomStringConvertible {
  let description: String
}
