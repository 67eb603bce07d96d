internal import ArgumentParser
internal import LoRA
internal import Torch
internal import Training

/// How a LoRA is trained; the defaults are those of `DreamBooth.Options`.
struct TrainingOptions: ParsableArguments {
  private static let defaults = DreamBooth.Options()

  @Option(
    help: ArgumentHelp(
      "LoRA to go on from in place of a new one, with ranks, alphas and layers of its own.", valueName: "file"))
  var startFrom: String?

  @Option(
    parsing: .unconditional, help: ArgumentHelp("Rank of the LoRA. (default: \(defaults.rank))", valueName: "n"))
  var rank: Int?

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
  var targets: Targets?

  @Option(parsing: .unconditional, help: ArgumentHelp("Updates.", valueName: "n"))
  var steps = defaults.steps

  @Option(parsing: .unconditional, help: ArgumentHelp("Largest learning rate of AdamW.", valueName: "rate"))
  var learningRate = defaults.learningRate.peak

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "The same of the layers of text encoders, which is mostly smaller. (default: the same rate)", valueName: "rate"))
  var textEncoderLearningRate: Double?

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
      "Min-SNR weighting: timesteps with little noise count less, the more the smaller this is; 5 is usual. (default: none)",
      valueName: "gamma"))
  var minSnrGamma: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Noise that each channel has as a whole, so that pictures may become darker or brighter than the base's, such as 0.05. "
        + "(default: none)", valueName: "number"))
  var noiseOffset: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Seed of all random numbers; follows from the pictures and their prompts when not given, as LoRAs that begin alike disturb "
        + "each other more.", valueName: "n"))
  var seed: UInt64?

  func validate() throws {
    guard startFrom != nil else { return }
    let given = [("--rank", rank != nil), ("--alpha", alpha != nil), ("--targets", targets != nil)].filter(\.1).map(\.0)
    guard given.isEmpty else {
      throw ValidationError("\(given.joined(separator: ", ")): the LoRA of --start-from has its own; leave this out")
    }
  }

  func options(priorWeight: Double) -> DreamBooth.Options {
    let defaults = Self.defaults
    return DreamBooth.Options(
      rank: rank ?? defaults.rank, alpha: alpha, targets: targets ?? defaults.targets, steps: steps,
      learningRate: LearningRate(peak: learningRate, shape: schedule, warmup: warmup),
      textEncoderLearningRate: textEncoderLearningRate, weightDecay: weightDecay, batch: batch, accumulation: accumulation,
      priorWeight: priorWeight, minSNRGamma: minSnrGamma, noiseOffset: noiseOffset,
      seed: seed ?? defaults.seed)
  }
}
