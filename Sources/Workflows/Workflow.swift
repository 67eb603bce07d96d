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

  /// - Throws: `Interrupted` when the handler answers false; errors of files and models as they come.
  func run(progress: ProgressHandler) throws -> Outcome
}

/// A workflow that several processes do together (Docs/Distributed.md).
public protocol DistributedWorkflow: Workflow {
  /// Does this process's part. All processes give the same outcome, and the first one writes the files.
  ///
  /// - Throws: `ProcessGroupError`, beside what `run(progress:)` throws.
  func run(progress: ProgressHandler, processes: ProcessGroup) throws -> Outcome
}

extension DistributedWorkflow {
  public func run(progress: ProgressHandler) throws -> Outcome { try run(progress: progress, processes: ProcessGroup()) }
}

/// The version of this package, as in `ziplora --version` and in every file that it writes.
public enum Version {
  public static let current = "0.1.0"
}

/// A setting that makes no sense, by itself or beside the others.
public struct SettingError: Error, CustomStringConvertible, Equatable {
  public let description: String

  public init(_ description: String) { self.description = description }

  /// - Parameter option: as the command line spells it, without the dashes.
  init(_ option: String, _ found: some CustomStringConvertible, expected: String) {
    self.init("--\(option) \(found): expected \(expected)")
  }
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
}
