internal import Diffusion
internal import Foundation
internal import LoRA
internal import OrderedCollections
public import Torch
public import Training

/// `ziplora train`: a LoRA from a few pictures.
public struct TrainAdapter: DistributedWorkflow {
  public static let name = "train"

  /// The path of the LoRA.
  public typealias Outcome = String

  public var base: BaseModel
  public var pictures: PictureSource
  public var size: PictureSize
  public var training: DreamBooth.Options
  /// Pictures of the whole class, which the LoRA must leave as they are.
  public var prior: PriorPictures?
  public var samples: SamplePictures
  /// GiB that the process may hold, blocks that do not fit being computed again; nil for what the machine has free.
  public var memory: Double?
  public var state: SavedState
  public var output: AdapterOutput

  public init(
    base: BaseModel, pictures: PictureSource, size: PictureSize = .init(), training: DreamBooth.Options = .init(),
    prior: PriorPictures? = nil, samples: SamplePictures = .init(), memory: Double? = nil,
    state: SavedState = .init(), output: AdapterOutput
  ) {
    self.base = base
    self.pictures = pictures
    self.size = size
    self.training = training
    self.prior = prior
    self.samples = samples
    self.memory = memory
    self.state = state
    self.output = output
  }

  public func validate() throws {
    try base.validate()
    // A mean over a picture's latents has gradients below float16's smallest numbers.
    guard base.dtype != .float16 else {
      throw SettingError("dtype", base.dtype, expected: "bfloat16 or float32, as the gradients of a training vanish in float16")
    }
    try size.validate()
    try Demand.atLeast(1, training.rank, "rank", atMost: 16_384)
    if let alpha = training.alpha { try Demand.positive(alpha, "alpha") }
    try Demand.atLeast(1, training.steps, "steps")
    try Demand.positive(training.learningRate.peak, "learning-rate")
    try Demand.atLeast(0, training.learningRate.warmup, "warmup")
    try Demand.notNegative(training.weightDecay, "weight-decay")
    try Demand.atLeast(1, training.batch, "batch", atMost: 65_536)
    try Demand.atLeast(1, training.accumulation, "accumulation")
    try Demand.notNegative(training.priorWeight, "prior-weight")
    try prior?.validate()
    try samples.validate()
    if let memory { try Demand.positive(memory, "memory") }
    try state.validate()
    try output.validate()
  }

  public func run(progress: ProgressHandler, processes: ProcessGroup) throws -> String {
    try validate()
    try Demand.divisible(training.batch, by: processes)
    let began = ContinuousClock.now
    let record = Paths.record(of: output.path)
    let statePath = state.path(beside: output)
    try Paths.checkWritable([output.path, record], overwrite: output.overwrite)
    try output.check(as: Dialects.kohya)
    try Paths.checkWritable([statePath], overwrite: true)
    let content = try pictures.load(promptOption: "prompt")
    let base = try base.locate(progress: progress)
    let model = try base.load(for: processes)
    try output.check(training.targets.paths(in: model.moduleNames), as: Dialects.kohya, for: model.moduleNames)
    if let warning = ProgressReport.overflow(of: content.distinctPrompts, in: model) { _ = progress(warning) }
    let prior = try prior?.load(
      beside: output, base: base, model: model, seed: training.seed, progress: progress, processes: processes)

    let dreamBooth = try DreamBooth(
      try content.cache(model, size), prior: try prior?.cache(model, size), model: model, options: training,
      processes: processes)
    try MemoryBudget(gibibytes: memory).plan(model, progress: progress, processes: processes) {
      try dreamBooth.memoryPlan(budget: $0)
    }
    let identity = FileDigest.ofTexts(
      try base.identity + content.identity() + ["prior"] + (prior?.identity() ?? []) + ["\(size)"])
    let adapter = try dreamBooth.run(
      state: statePath, identity: identity, saveEvery: state.every, progress: progress
    ) { step in
      guard processes.isFirst else { return }
      try samples.draw(after: step, of: training.steps, beside: output, model: model, seed: training.seed, size: size)
    }
    guard processes.isFirst else { return output.path }
    let files = try output.write(adapter, metadata: metadata(content), as: Dialects.kohya, for: model.moduleNames)
    try RunRecord(
      self, inputs: base.files + content.inputs + (prior?.inputs ?? []), outputs: files, began: began,
      processes: processes
    ).write(to: record, overwrite: output.overwrite)
    try state.finish(beside: output)
    return output.path
  }

  /// What other programs show, and what calls the LoRA up.
  private func metadata(_ content: PictureSource.Content) -> OrderedDictionary<String, String> {
    var metadata: OrderedDictionary = [
      "ss_steps": "\(training.steps)", "ss_seed": "\(training.seed)", "ss_num_train_images": "\(content.files.count)",
      "ss_learning_rate": "\(training.learningRate.peak)", "ziplora.prompts": content.distinctPrompts.joined(separator: "\n"),
    ]
    if content.distinctPrompts.count == 1 { metadata["modelspec.trigger_phrase"] = content.prompts[0] }
    return metadata
  }
}
