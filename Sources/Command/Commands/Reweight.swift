internal import ArgumentParser
internal import Workflows

struct Reweight: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: """
      Set anew how strongly the subject and the style act in a file that ziplora zip has written, or some layers of any LoRA.
      """,
    discussion: """
      Needs that file only: its metadata says which of its ranks are whose. Weights of the subject and the style are \
      absolute, as those of ziplora zip; those that are not given stay. Works on files of ziplora merge --method direct, \
      too. Weights of layers are times what they do. Weight 0 takes a LoRA, or layers, out for good.

      Example: ziplora reweight zip.safetensors --style-weight 0.7 --output softer.safetensors

      Example, SDXL's block of style: ziplora reweight dog.safetensors --layer-weight up_blocks.0.attentions.1=0.3 \
      --output dog-for-styles.safetensors
      """)

  @Argument(help: ArgumentHelp("Merged LoRA, or any with --layer-weight alone.", valueName: "file"))
  var file: String

  @OptionGroup(title: "Weights") var weights: WeightOptions

  @OptionGroup(title: "Result") var output: AdapterOutputOptions<DialectOfLoRA>

  var workflow: ReweightAdapter {
    ReweightAdapter(lora: file, weights: weights.all, layers: weights.layerWeight, base: weights.base, output: output.adapter)
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

  @Option(
    help: ArgumentHelp(
      "How strongly the layers whose paths have this part act, times what they do; may be repeated, and the last one counts.",
      valueName: "part=weight"),
    transform: LayerWeight.init(argument:))
  var layerWeight: [LayerWeight] = []

  @Option(help: ArgumentHelp("Base model, for paths of layers of a base that is not known.", valueName: "dir|file|id"))
  var base: String?

  var all: [Double?] { [subjectWeight, styleWeight] + loraWeight }
}
