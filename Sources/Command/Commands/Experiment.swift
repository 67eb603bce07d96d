internal import ArgumentParser
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

  var workflow: RunExperiment { RunExperiment(file: file, output: output) }

  func text(of outcome: RunExperiment.Outcome) -> String { "\(outcome.results.markdown)\n\(outcome.report)" }
}
