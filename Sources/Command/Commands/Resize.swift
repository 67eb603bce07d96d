internal import ArgumentParser
internal import LoRA
internal import Workflows

struct Resize: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make a LoRA of smaller rank, as close to the old one as that rank allows.",
    discussion: """
      Each layer keeps its largest singular values: as many as --rank says, or as few as hold the share --energy of the \
      squared norm. Layers that are thinner already stay as they are. A zipped file can no longer be reweighted afterwards.

      Example: ziplora resize zip.safetensors --energy 0.98 --output zip-small.safetensors
      """)

  @OptionGroup(title: "LoRA") var input: AdapterInputOptions

  @Option(parsing: .unconditional, help: ArgumentHelp("Largest rank of a layer.", valueName: "n"))
  var rank: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Share of the squared norm that every layer keeps, such as 0.98.", valueName: "share"))
  var energy: Double?

  @Option(name: [.customLong("to"), .customLong("dialect")], help: "Dialect of the file; by default that of the old one.")
  var to: DialectName?

  @OptionGroup(title: "Result") var output: RewrittenOutputOptions

  var workflow: ResizeAdapter {
    ResizeAdapter(input.input, rank: rank, energy: energy, output: output.adapter(to))
  }

  func text(of outcome: AdapterRewriting) -> String { outcome.summary }
}
