internal import ArgumentParser
internal import Diffusion
internal import Torch
internal import Workflows

struct BaseOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Base model: a folder in the layout of diffusers, one safetensors file, or an id of the Hugging Face hub.",
      valueName: "dir|file|id"))
  var base: String

  @Option(help: ArgumentHelp("Which files of a folder or of the hub, such as fp16.", valueName: "name"))
  var variant: String?

  @Option(help: ArgumentHelp("Another autoencoder.", valueName: "dir|file|id"))
  var vae: String?

  @Option(help: ArgumentHelp("Tokenizers, for a file that has none beside it.", valueName: "dir|id"))
  var tokenizer: String?

  @Option(
    help: ArgumentHelp("Folder in the layout of diffusers that says what is in the one file.", valueName: "dir|id"))
  var config: String?

  @Option(help: "What the base predicts, where it does not say so or is wrong.")
  var predictionType: NoiseSchedule.PredictionType?

  @Option(
    help: "Which timesteps samplers visit, where the base does not say so or is wrong: trailing for SDXL Turbo and Lightning.")
  var timestepSpacing: NoiseSchedule.TimestepSpacing?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Layer of the text encoders that is read, from the end, as A1111 counts: 2 for many models that come of Stable Diffusion 1.x. "
        + "(default: 1, SDXL 2)", valueName: "n"))
  var clipSkip: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Parts of 75 tokens in which prompts are read one beside the other, as A1111 and ComfyUI do; what is beyond is cut off. "
        + "(default: 1)", valueName: "n"))
  var textParts: Int?

  @Option(help: "Type in which the base computes.")
  var dtype = Precision.float32

  @Option(help: ArgumentHelp("Where it computes: cpu, cuda, cuda:1 or mps.", valueName: "device"))
  var device: Device = .cpu

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Threads of the CPU; results are the same to the byte for the same number.", valueName: "n"))
  var threads: Int?

  var model: BaseModel {
    BaseModel(
      base,
      choices: .init(
        variant: variant, vae: vae, tokenizer: tokenizer, configuration: config, predictionType: predictionType,
        timestepSpacing: timestepSpacing, clipSkip: clipSkip, textParts: textParts),
      dtype: dtype.dtype, device: device, threads: threads)
  }
}

struct SizeOptions: ParsableArguments {
  @Option(
    parsing: .unconditional, help: ArgumentHelp("Width of the pictures; the base's own when not given.", valueName: "pixels"))
  var width: Int?

  @Option(
    parsing: .unconditional, help: ArgumentHelp("Height of the pictures; the base's own when not given.", valueName: "pixels"))
  var height: Int?

  var size: PictureSize { PictureSize(width: width, height: height) }
}

struct OverwriteOptions: ParsableArguments {
  @Flag(help: "Replace files that exist; of a link the link, not what it leads to.")
  var overwrite = false
}

/// What a command writes where no dialect is asked for.
protocol StandardDialect {
  static var text: String { get }
}

enum DialectOfFirstLoRA: StandardDialect {
  static let text = "that of the first LoRA given if it is one of these, else kohya"
}

enum DialectOfLoRA: StandardDialect {
  static let text = "that of the LoRA given if it is one of these, else kohya"
}

enum DialectOfNewLoRA: StandardDialect {
  static let text = DialectName.kohya.rawValue
}

struct AdapterOutputOptions<Standard: StandardDialect>: ParsableArguments {
  @Option(help: ArgumentHelp("LoRA to write; a record of the run goes to FILE.json beside it.", valueName: "file"))
  var output: String

  @Option(help: "Dialect of the file; by default \(Standard.text).")
  var dialect: DialectName?

  @Option(help: ArgumentHelp("Type of the numbers in the file.", valueName: "dtype"))
  var saveDtype = Precision.float32

  @OptionGroup var overwriting: OverwriteOptions

  var adapter: AdapterOutput {
    AdapterOutput(output, dialect: dialect?.rawValue, dtype: saveDtype.dtype, overwrite: overwriting.overwrite)
  }
}

struct MemoryOptions: ParsableArguments {
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "GiB to take at most; blocks that do not fit are computed again in the backward pass. (default: what is free)",
      valueName: "number"))
  var memory: Double?
}

struct StateOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "File for the state that a stopped run continues from. By default it lies beside the output and goes when that is written.",
      valueName: "file"))
  var state: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Seconds between saves of the state; Ctrl-C always saves it.", valueName: "seconds"))
  var saveEvery = 60.0

  var saved: SavedState { SavedState(path: state, every: saveEvery) }
}
