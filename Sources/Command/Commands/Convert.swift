internal import ArgumentParser
internal import LoRA
internal import Workflows

struct Convert: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write a LoRA file in the dialect of another tool.",
    discussion: """
      Reads what kohya's tools, diffusers of any version, peft, ComfyUI, OneTrainer, LyCORIS and ziplora-pytorch \
      write: \(Dialects.all.map(\.name).joined(separator: ", ")). No base model is needed for Stable Diffusion XL, 1.x and 2.x, \
      except for DoRA, whose effect depends on the base's weights.

      LoHa, LoKr, DoRA and whole differences become a LoRA: exactly where that is possible within --rank-limit, else as \
      close as that rank allows, and what is lost is said.

      Example: ziplora convert ink.safetensors --to diffusers --output ink-diffusers.safetensors
      """)

  @OptionGroup(title: "LoRA") var input: AdapterInputOptions

  @Option(
    name: [.customLong("to"), .customLong("dialect")],
    help: ArgumentHelp(
      "Dialect to write: kohya is read by A1111, Forge, ComfyUI and sd-scripts, diffusers by diffusers, peft by peft alone.",
      valueName: "dialect"))
  var to = DialectName.kohya

  @OptionGroup(title: "Result") var output: RewrittenOutputOptions

  var workflow: ConvertAdapter { ConvertAdapter(input.input, output: output.adapter(to)) }

  func text(of outcome: AdapterRewriting) -> String { outcome.summary }
}

/// A LoRA that another one is made of.
struct AdapterInputOptions: ParsableArguments {
  @Argument(help: ArgumentHelp("LoRA file, or the folder of peft or diffusers with one.", valueName: "file"))
  var file: String

  @Option(help: ArgumentHelp("Base model, for DoRA and for LoRAs of bases that are not known.", valueName: "dir|file|id"))
  var base: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Largest rank of layers that are no LoRA in the file; \(AdapterFile.Options().rankLimit), and more where resizing asks for it.",
      valueName: "n"))
  var rankLimit: Int?

  @Flag(help: "Leave out changes of biases and norms and embeddings of words, which no LoRA can hold.")
  var leaveOutVectors = false

  var input: AdapterInput { AdapterInput(file, base: base, rankLimit: rankLimit, leavesOutVectors: leaveOutVectors) }
}

/// Where a LoRA goes that was made of another.
struct RewrittenOutputOptions: ParsableArguments {
  @Option(help: ArgumentHelp("LoRA to write; a record of the run goes to FILE.json beside it.", valueName: "file"))
  var output: String

  @Option(
    name: [.customLong("dtype"), .customLong("save-dtype")],
    help: ArgumentHelp("Type of the numbers in the file; as they are when not given.", valueName: "dtype"))
  var dtype: Precision?

  @OptionGroup var overwriting: OverwriteOptions

  func adapter(_ dialect: DialectName?) -> AdapterOutput {
    AdapterOutput(output, dialect: dialect?.rawValue, dtype: dtype?.dtype, overwrite: overwriting.overwrite)
  }
}
