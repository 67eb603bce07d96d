internal import ArgumentParser
internal import LoRA
internal import Torch
internal import Training

/// How a LoRA is trained; the defaults are those of `DreamBooth.Options`.
struct TrainingOptions: ParsableArguments {
  private static let defaults = DreamBooth.Options()

  @Option(parsing: .unconditional, help: ArgumentHelp("Rank of the LoRA.", valueName: "n"))
  var rank = defaults.rank

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The LoRA adds alpha / rank · up · down; the rank when not given.", valueName: "number"))
  var alpha: Double?

  @Option(
    help: ArgumentHelp(
      "Layers: kinds joined by + (attention, ff, proj, conv, text-encoders) or endings of paths with commas. "
        + "(default: attention)",
      valueName: "layers"),
    transform: { try Targets($0) })
  var targets = defaults.targets

  @Option(parsing: .unconditional, help: ArgumentHelp("Updates.", valueName: "n"))
  var steps = defaults.steps

  @Option(parsing: .unconditional, help: ArgumentHelp("Largest learning rate of AdamW.", valueName: "rate"))
  var learningRate = defaults.learningRate.peak

  @Option(help: "How the learning rate goes on after the warmup.")
  var schedule = defaults.learningRate.shape

  @Option(parsing: .unconditional, help: ArgumentHelp("Steps in which the learning rate rises.", valueName: "n"))
  var warmup = defaults.learningRate.warmup

  @Option(parsing: .unconditional, help: ArgumentHelp("Weight decay of AdamW.", valueName: "number"))
  var weightDecay = defaults.weightDecay

  @Option(parsing: .unconditional, help: ArgumentHelp("Pictures of one pass.", valueName: "n"))
  var batch = defaults.batch

  @Option(parsing: .unconditional, help: ArgumentHelp("Passes of one step, to save memory.", valueName: "n"))
  var accumulation = defaults.accumulation

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Seed of all random numbers; follows from the pictures and their prompts when not given, as LoRAs that begin alike disturb "
        + "each other more.", valueName: "n"))
  var seed: UInt64?

  func options(priorWeight: Double) -> DreamBooth.Options {
    DreamBooth.Options(
      rank: rank, alpha: alpha, targets: targets, steps: steps,
      learningRate: LearningRate(peak: learningRate, shape: schedule, warmup: warmup), weightDecay: weightDecay,
      batch: batch, accumulation: accumulation, priorWeight: priorWeight, seed: seed ?? Self.defaults.seed)
  }
}
