internal import ArgumentParser
internal import Workflows

struct Reweight: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: "Set anew how strongly the subject and the style act in a file that ziplora zip has written.",
    discussion: """
      Needs that file only: its metadata says which of its ranks are whose. Weights are absolute, as those of ziplora \
      zip. Those that are not given stay. Weight 0 takes a LoRA out for good. Works on files of ziplora merge --method \
      direct, too.

      Example: ziplora reweight zip.safetensors --style-weight 0.7 --output softer.safetensors
      """)

  @Argument(help: ArgumentHelp("Merged LoRA.", valueName: "file"))
  var file: String

  @OptionGroup(title: "Weights") var weights: WeightOptions
  @OptionGroup(title: "Result") var output: AdapterOutputOptions<DialectOfLoRA>

  var workflow: ReweightAdapter {
    ReweightAdapter(lora: file, weights: weights.all, output: output.adapter)
  }

  func text(of outcome: ReweightAdapter.Outcome) -> String { outcome.summary }
}

struct WeightOptions: ParsableArguments {
  @Option(
    parsing: .unconditional, help: ArgumentHelp("How strongly the subject, or the first LoRA, acts.", valueName: "weight"))
  var subjectWeight: Double?

  @Option(
    parsing: .unconditional, help: ArgumentHelp("How strongly the style, or the second LoRA, acts.", valueName: "weight"))
  var styleWeight: Double?

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp("How strongly each further LoRA acts, in their order.", valueName: "weight"))
  var loraWeight: [Double] = []

  var all: [Double?] { [subjectWeight, styleWeight] + loraWeight }
}
