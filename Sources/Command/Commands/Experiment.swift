internal import ArgumentParser
internal import Experiments
internal import Foundation
internal import Torch
internal import Workflows

struct Experiment: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: "Train, merge, draw and judge whole lists of pairs and methods.",
    discussion: """
      FILE describes the experiment in YAML (Docs/Experiments.md; examples lie in Experiments). Jobs that are done are not \
      done again: after Ctrl-C, or with another row in the file, the same command goes on.

      Writes report.html (tables, plots and pictures on one page), grid.png (a picture of each pair and row), results.md and \
      results.json, and a folder for each job, with its record.
      """)

  @Argument(help: ArgumentHelp("Description of the experiment.", valueName: "file.yaml"))
  var file: String

  @Option(help: ArgumentHelp("Folder for the report and everything that leads to it.", valueName: "dir"))
  var output: String

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      Processes of this machine that share the jobs, each with its part of the threads: for small bases faster than one \
      with all of them. Each loads the models.
      """, valueName: "n"))
  var processes = 1

  var workflow: RunExperiment { RunExperiment(file: file, output: output) }

  func validate() throws {
    // More have nothing to compute with.
    let most = 4 * ProcessInfo.processInfo.activeProcessorCount
    guard 1...most ~= processes else {
      throw ValidationError("--processes \(processes): expected a number from 1 to \(most), four for each core")
    }
    try validateWorkflow()
  }

  func run() throws {
    let bar = ProgressBar()
    try report(with: bar) {
      let environment = try LaunchEnvironment(ProcessInfo.processInfo.environment)
      guard processes > 1 else { return try share(in: joined(environment), with: bar, progress: bar.show) }
      guard environment == nil else {
        throw SettingError(
          "--processes \(processes): this is one of several processes already (RANK, WORLD_SIZE or Slurm's variables); start one without these or leave the option out"
        )
      }
      let others = try OtherProcesses(size: processes, arguments: ["experiment", "--output=\(output)", "--", file])
      try others.share { group in
        try share(in: group, with: bar) { report in
          others.news.forEach(bar.tell)
          return bar.show(report) && !others.haveLostOne
        }
      }
    }
  }

  func text(of outcome: RunExperiment.Outcome) -> String { "\(outcome.results.markdown)\n\(outcome.report)" }
}
