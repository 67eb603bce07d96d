internal import ArgumentParser
internal import Workflows

/// For developers: Scripts/check_consumers.py compares what it writes with diffusers.
struct Predict: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write the noise prediction for a random sample, with its inputs, for Scripts/check_consumers.py.",
    shouldDisplay: false)

  @OptionGroup(title: "Base model") var base: BaseOptions

  @Option(
    help: ArgumentHelp("A LoRA and how strongly it acts; may be repeated.", valueName: "file[:weight]"),
    transform: WeightedFile.init(argument:))
  var lora: [WeightedFile] = []

  @Option(help: ArgumentHelp("What the sample is to show.", valueName: "text"))
  var prompt: String

  @Option(parsing: .unconditional, help: ArgumentHelp("Seed of the sample.", valueName: "n"))
  var seed: UInt64 = 0

  @Option(help: ArgumentHelp("Safetensors file to write.", valueName: "file"))
  var output: String

  @OptionGroup var overwriting: OverwriteOptions

  var workflow: PredictNoise {
    PredictNoise(
      base: base.model, loras: lora, prompt: prompt, seed: seed, output: output,
      overwrite: overwriting.overwrite)
  }
}
