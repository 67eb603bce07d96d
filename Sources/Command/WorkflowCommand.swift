internal import ArgumentParser
internal import Foundation
internal import SafeTensors
internal import Torch
internal import Training
internal import Workflows

/// A command that makes a workflow of its options, runs it and prints what came of it.
protocol WorkflowCommand: ParsableCommand {
  associatedtype Work: Workflow

  var workflow: Work { get }

  /// What goes to standard output.
  func text(of outcome: Work.Outcome) throws -> String
}

extension WorkflowCommand {
  func validate() throws { try validateWorkflow() }

  /// Options that make no sense are wrong usage, found before any work.
  func validateWorkflow() throws {
    do {
      try workflow.validate()
    } catch let error as SettingError {
      throw ValidationError(error.description)
    }
  }

  func run() throws {
    let bar = ProgressBar()
    try report(with: bar) { try StandardStream.print(text(of: workflow.run(progress: bar.show))) }
  }
}

extension ParsableCommand {
  /// Runs `body` and turns what it throws into what a user is told.
  func report(with bar: ProgressBar, _ body: () throws -> Void) throws {
    do {
      try withTorchErrors(body)
    } catch let interrupted as Interrupted {
      bar.tell("\(interrupted)")
      throw ExitCode(130)
    } catch let error as TorchError where error.isOutOfMemory {
      throw SettingError(
        "not enough memory (\(error)); a smaller --width, --height or --batch, or --memory, takes less where the command has "
          + "them")
    } catch let error as AtomicFileError where error.reason == .exists {
      throw SettingError("\(error.path): exists already; choose another name or allow it to be replaced with --overwrite")
    }
  }
}

extension WorkflowCommand where Work: DistributedWorkflow {
  /// In one of several processes, the first of which speaks for all; the others say what goes wrong, and what is worth a
  /// warning where they have work of their own.
  func run() throws {
    let bar = ProgressBar()
    try report(with: bar) {
      try share(in: joined(LaunchEnvironment(ProcessInfo.processInfo.environment)), with: bar, progress: bar.show)
    }
  }

  /// The group of this process; of itself alone where there is no environment.
  func joined(_ environment: LaunchEnvironment?) throws -> ProcessGroup {
    guard let environment else { return ProcessGroup() }
    do {
      return try Parent.watched { try ProcessGroup(joining: environment) { !Interruption.isAsked } }
    } catch _ where Interruption.isAsked {
      throw ExitCode(130)
    }
  }

  /// Does the part of one process.
  func share(in processes: ProcessGroup, with bar: ProgressBar, progress: ProgressHandler) throws {
    if !processes.isFirst { bar.voice = Work.sharesSteps ? .silent : .warnings }
    do {
      let outcome = try text(of: workflow.run(progress: progress, processes: processes))
      let failure = processes.isFirst ? StandardStream.output.send("\(outcome)\n") : nil
      // The place where they meet is in the first one, and nobody leaves before its files are written.
      try processes.barrier()
      if let failure { throw StandardStream.lost(failure) }
    } catch is ProcessGroupError where Interruption.isAsked {
      // Another one has heard of Ctrl-C earlier.
      throw ExitCode(130)
    }
  }
}

extension WorkflowCommand where Work.Outcome == String {
  func text(of outcome: String) -> String { outcome }
}
