internal import ArgumentParser
internal import SafeTensors
internal import Workflows

struct Inspect: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: "Say what is in a LoRA file, or how strongly two of them interfere.",
    discussion: """
      With two files, the cosines of their columns are shown: where they are large, adding the LoRAs up as they are \
      spoils both.

      Example: ziplora inspect dog.safetensors ink.safetensors
      """)

  @Argument(help: ArgumentHelp("One LoRA file, or two to compare.", valueName: "file"))
  var files: [String]

  @Option(
    help: ArgumentHelp("Base model to check the files against, and to compare different dialects.", valueName: "dir|file|id"))
  var base: String?

  @Flag(help: "Look at names, shapes and metadata alone: no norms, but at once, however large the file.")
  var header = false

  @Flag(help: "Print JSON, with every layer.")
  var json = false

  var workflow: InspectAdapters { InspectAdapters(files: files, base: base, measures: !header) }

  func text(of outcome: InspectAdapters.Outcome) throws -> String {
    json ? try JSONText.pretty(outcome) : outcome.summary
  }
}
