internal import ArgumentParser
internal import Diffusion
internal import Workflows

struct Generate: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: "Draw pictures of prompts, with any number of LoRAs.",
    discussion: """
      Prints the path of each picture. Its settings are in its PNG metadata (parameters as A1111 reads them, and ziplora \
      as JSON), and a record of the run is in FILE.png.json or DIR/run.json. With --overwrite, pictures in DIR that an earlier \
      run has recorded and this one does not draw again are removed.

      Example: ziplora generate --base stabilityai/stable-diffusion-xl-base-1.0 --dtype bfloat16 \
      --lora dog-in-ink.safetensors --prompt "a sbu dog in szn style" --output dog.png
      """)

  @OptionGroup(title: "Base model") var base: BaseOptions

  @Option(help: ArgumentHelp("What to draw; may be repeated.", valueName: "text"))
  var prompt: [String]

  @Option(help: ArgumentHelp("What not to draw.", valueName: "text"))
  var negativePrompt: String?

  @Option(
    help: ArgumentHelp("A LoRA and how strongly it acts (1 when not given); may be repeated.", valueName: "file[:weight]"),
    transform: WeightedFile.init(argument:))
  var lora: [WeightedFile] = []

  @Option(
    help: ArgumentHelp(
      """
      Several LoRAs at once: weights adds up what they change in the layers; changes runs each alone and adds up what they change in \
      the prediction; predictions mixes what they predict.
      """))
  var combine = LoRACombination.weights

  @Option(help: "The way from noise to a picture.")
  var sampler: Sampler = .euler

  @Option(parsing: .unconditional, help: ArgumentHelp("Steps of that way.", valueName: "n"))
  var steps = 50

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("How far to go beyond what the prompt alone asks for; none up to 1.", valueName: "scale"))
  var guidance = 5.0

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "How far to take back the spread that guidance adds to predictions, 0 to 1: 0.7 for models that predict v and come out "
        + "overexposed. (default: 0)", valueName: "share"))
  var guidanceRescale: Double?

  @OptionGroup var size: SizeOptions

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Seed of the first picture of each prompt; the next has the next one.", valueName: "n"))
  var seed: UInt64 = 0

  @Option(parsing: .unconditional, help: ArgumentHelp("Pictures of each prompt.", valueName: "n"))
  var count = 1

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Pictures drawn at once; each is the same picture (to rounding). Small models gain time, large ones mostly need memory.",
      valueName: "n"))
  var batch = 1

  @Option(help: ArgumentHelp("FILE.png for one picture, a folder for any number.", valueName: "file|dir"))
  var output: String

  @OptionGroup var overwriting: OverwriteOptions

  var workflow: GenerateImages {
    GenerateImages(
      base: base.model, prompts: prompt, negativePrompt: negativePrompt, loras: lora,
      combination: combine, sampler: sampler, steps: steps, guidance: guidance,
      guidanceRescale: guidanceRescale, size: size.size, seed: seed, count: count,
      batch: batch, output: output, overwrite: overwriting.overwrite)
  }

  func text(of outcome: [String]) -> String { outcome.joined(separator: "\n") }
}
