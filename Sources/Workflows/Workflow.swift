public import Torch
public import Training

/// Something that a user can ask for, as a value: settings that can be checked, kept as JSON and run.
///
/// A workflow has no algorithm of its own. It reads, calls what computes, and writes the result with a `RunRecord` beside it.
public protocol Workflow: Codable, Sendable {
  associatedtype Outcome

  /// As in `ziplora NAME` and in run records.
  static var name: String { get }

  /// Checks the settings as far as that goes without looking at a file.
  ///
  /// - Throws: `SettingError`.
  func validate() throws

  /// Does the work on the calling thread and returns when it is done: an app calls it from a thread of its own, not from a task of
  /// Swift's thread pool, which has as many threads as the machine has cores.
  ///
  /// - Throws: `Interrupted` when the handler answers false; errors of files and models as they come. Each describes itself for users:
  ///   `"\(error)"`.
  func run(progress: ProgressHandler) throws -> Outcome
}

/// A workflow that several processes do together (Docs/Distributed.md).
public protocol DistributedWorkflow: Workflow {
  /// Whether all processes go through the same steps, so that one of them can speak for all; else each has work of its own.
  static var sharesSteps: Bool { get }

  /// Does this process's part. All processes give the same outcome, and the first one writes the files.
  ///
  /// - Throws: `ProcessGroupError`, beside what `run(progress:)` throws.
  func run(progress: ProgressHandler, processes: ProcessGroup) throws -> Outcome
}

extension DistributedWorkflow {
  public static var sharesSteps: Bool { true }

  public func run(progress: ProgressHandler) throws -> Outcome { try run(progress: progress, processes: ProcessGroup()) }
}

/// The version of this package, as in `ziplora --version` and in every file that it writes.
public enum Version {
  public static let current = "0.1.0"
}

/// A setting that makes no sense, by itself or beside the others.
public struct SettingError: Error, CustomStringConvertible, Equatable {
  public let description: String
  /// What it is about, where that is the value of one option.
  let option: (name: String, found: String, expected: String)?

  public init(_ description: String) { (self.description, option) = (description, nil) }

  /// - Parameter option: as the command line spells it, without the dashes.
  init(_ option: String, _ found: some CustomStringConvertible, expected: String) {
    description = "--\(option) \(found): expected \(expected)"
    self.option = (option, "\(found)", expected)
  }

  public static func == (left: SettingError, right: SettingError) -> Bool { left.description == right.description }
}

/// Checks of numbers, for `Workflow.validate`.
enum Demand {
  /// - Parameter most: beyond it there is no machine, only overflow.
  static func atLeast(
    _ least: Int, _ number: Int, _ option: String, atMost most: Int = 10_000_000
  ) throws(SettingError) {
    guard number >= least else { throw SettingError(option, number, expected: "\(least) or more") }
    guard number <= most else { throw SettingError(option, number, expected: "\(most) or less") }
  }

  static func positive(_ number: Double, _ option: String) throws(SettingError) {
    guard number > 0, number.isFinite else { throw SettingError(option, number, expected: "a number above 0") }
  }

  /// Of memory.
  static func gibibytes(_ number: Double, _ option: String) throws(SettingError) {
    try positive(number, option)
    guard number <= 1e6 else { throw SettingError(option, number, expected: "a number of GiB up to 1e6") }
  }

  static func notNegative(_ number: Double, _ option: String) throws(SettingError) {
    guard number >= 0, number.isFinite else { throw SettingError(option, number, expected: "0 or more") }
  }

  /// Of a clock.
  static func seconds(_ number: Double, _ option: String) throws(SettingError) {
    try notNegative(number, option)
    guard number <= 1e9 else { throw SettingError(option, number, expected: "a number of seconds up to 1e9") }
  }

  static func divisible(_ batch: Int, by processes: ProcessGroup) throws(SettingError) {
    guard batch % processes.size == 0 else {
      throw SettingError("batch", batch, expected: "a multiple of \(processes.size), as so many processes take equal parts of it")
    }
  }

  static func available(_ device: Device) throws(SettingError) {
    guard device.isAvailable else {
      throw SettingError("--device \(device): this build of libtorch or this machine has none; use cpu")
    }
  }

  static func finite(_ number: Double, _ option: String) throws(SettingError) {
    guard number.isFinite else { throw SettingError(option, number, expected: "a finite number") }
  }

  /// Of LoRAs that become one.
  static func someWeight(_ loras: [WeightedFile]) throws(SettingError) {
    guard loras.contains(where: { $0.weight != 0 }) else {
      throw SettingError(
        "all LoRAs have weight 0, so that nothing of them would be left; expected another weight for one at least")
    }
  }
}
