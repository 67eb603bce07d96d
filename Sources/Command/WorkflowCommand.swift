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
  /// Options that make no sense are wrong usage, found before any work.
  func validate() throws {
    do {
      try workflow.validate()
    } catch let error as SettingError {
      throw ValidationError(error.description)
    }
  }

  func run() throws {
    let bar = ProgressBar()
    do {
      print(try text(of: withTorchErrors { try workflow.run(progress: bar.show) }))
    } catch let interrupted as Interrupted {
      bar.tell("\(interrupted)")
      throw ExitCode(130)
    } catch let error as AtomicFileError where error.reason == .exists {
      throw SettingError("\(error.path): exists already; choose another name or allow it to be replaced with --overwrite")
    }
  }
}

extension WorkflowCommand where Work.Outcome == String {
  func text(of outcome: String) -> String { outcome }
}
