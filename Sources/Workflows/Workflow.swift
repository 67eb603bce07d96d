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

  /// The work itself, with settings that have been checked. `run(progress:)` is what to call.
  func perform(progress: ProgressHandler) throws -> Outcome
}

extension Workflow {
  /// Checks the settings, does the work on the calling thread and returns when it is done: an app calls it from a thread of its own, not
  /// from a task of Swift's thread pool, which has as many threads as the machine has cores.
  ///
  /// - Throws: `SettingError`; `Interrupted` when the handler answers false; errors of files and models as they come, and `TorchError` for a
  ///   tensor operation that failed, such as for want of memory. Each describes itself for users: `"\(error)"`.
  public func run(progress: ProgressHandler) throws -> Outcome {
    try validate()
    return try withTorchErrors { try perform(progress: progress) }
  }
}

/// A workflow that several processes do together (Docs/Distributed.md).
public protocol DistributedWorkflow: Workflow {
  /// Whether all processes go through the same steps, so that one of them can speak for all; else each has work of its own.
  static var sharesSteps: Bool { get }

  /// This process's part of the work, with settings that have been checked. `run(progress:processes:)` is what to call.
  func perform(progress: ProgressHandler, processes: ProcessGroup) throws -> Outcome
}

extension DistributedWorkflow {
  public static var sharesSteps: Bool { true }

  public func perform(progress: ProgressHandler) throws -> Outcome {
    try perform(progress: progress, processes: ProcessGroup())
  }

  /// Checks the settings and does this process's part. All processes give the same outcome, and the first one writes the files.
  ///
  /// - Throws: `ProcessGroupError`, beside what `run(progress:)` throws.
  public func run(progress: ProgressHandler, processes: ProcessGroup) throws -> Outcome {
    try validate()
    return try withTorchErrors { try perform(progress: progress, processes: processes) }
  }
}
