internal import ArgumentParser
internal import Evaluation
internal import Experiments
internal import Workflows

struct Demo: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: "Train a subject and a style LoRA on the embedded base, zip them, and show what came of it.",
    discussion: """
      Writes report.html (everything on one page), grid.png, results.json and the four LoRA files. Pictures are judged by an \
      oracle that knows the truth: fidelity 1 is as good as a true render.
      """)

  @Option(help: ArgumentHelp("Folder for the report.", valueName: "dir"))
  var output: String

  @Option(help: ArgumentHelp("Folder of the Toybox base.", valueName: "dir"))
  var base = "Models/toybox"

  @Option(help: ArgumentHelp("Folder with subjects/NAME and styles/NAME.", valueName: "dir"))
  var examples = "Examples/Toybox"

  @Option(help: ArgumentHelp("Which of the example subjects.", valueName: "name"))
  var subject = "dog"

  @Option(help: ArgumentHelp("Which of the example styles.", valueName: "name"))
  var style = "notebook"

  @Option(parsing: .unconditional, help: ArgumentHelp("Seed of all training and pictures.", valueName: "n"))
  var seed: UInt64 = 1

  @OptionGroup var overwriting: OverwriteOptions

  var workflow: Experiments.Demo {
    Experiments.Demo(
      base: base, examples: examples, output: output, subject: subject, style: style, seed: seed,
      overwrite: overwriting.overwrite)
  }

  func text(of outcome: DemoResults) -> String {
    let rows = outcome.rows.map { name, row in [name] + row.estimates.map(\.description) }
    let table = TextTable(rows: [[""] + DemoResults.columns] + rows + [["gain"] + outcome.gain.estimates.map(\.signed)])
    return """
      \(table.lines.joined(separator: "\n"))

      Means with 95 % intervals. The gain is ZipLoRA's over the direct merge, picture by picture.

      \(output)/report.html
      """
  }
}
