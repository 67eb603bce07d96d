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
  /// Whether the own pictures are shown left for right half of the time.
  public var flips: Bool
  public var training: DreamBooth.Options
  /// The LoRA that the training goes on from, whose ranks, alphas and layers hold in place of those of `training`; a new one when nil.
  public var start: String?
  /// Whether the seed follows from the pictures and their prompts, in place of that of `training`: LoRAs that begin alike disturb each
  /// other more.
  public var seedFollowsPictures: Bool
  /// Pictures of the whole class, which the LoRA must leave as they are.
  public var prior: PriorPictures?
  public var samples: SamplePictures
  /// Steps between files of the LoRA as it is by then, `STEM-step00500.safetensors` beside the output; none when nil.
  public var checkpointEvery: Int?
  /// GiB that the process may hold, blocks that do not fit being computed again; nil for what the machine has free.
  public var memory: Double?
  public var state: SavedState
  public var output: AdapterOutput

  /// - Parameter seedFollowsPictures: when nil, whether `training` is left out, too, as the command does without `--seed`.
  public init(
    base: BaseModel, pictures: PictureSource, size: PictureSize = .init(), flips: Bool = false,
    training: DreamBooth.Options? = nil, start: String? = nil, seedFollowsPictures: Bool? = nil, prior: PriorPictures? = nil,
    samples: SamplePictures = .init(), checkpointEvery: Int? = nil, memory: Double? = nil, state: SavedState = .init(),
    output: AdapterOutput
  ) {
    self.base = base
    self.pictures = pictures
    self.size = size
    self.flips = flips
    self.training = training ?? .init()
    self.start = start
    self.seedFollowsPictures = seedFollowsPictures ?? (training == nil)
    self.prior = prior
    self.samples = samples
    self.checkpointEvery = checkpointEvery
    self.memory = memory
    self.state = state
    self.output = output
  }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    base = try values.decode(BaseModel.self, forKey: .base)
    pictures = try values.decode(PictureSource.self, forKey: .pictures)
    size = try values.decode(PictureSize.self, forKey: .size)
    training = try values.decode(DreamBooth.Options.self, forKey: .training)
    start = try values.decodeIfPresent(String.self, forKey: .start)
    checkpointEvery = try values.decodeIfPresent(Int.self, forKey: .checkpointEvery)
    // What earlier versions have recorded says nothing of these.
    flips = try values.decodeIfPresent(Bool.self, forKey: .flips) ?? false
    seedFollowsPictures = try values.decodeIfPresent(Bool.self, forKey: .seedFollowsPictures) ?? false
    prior = try values.decodeIfPresent(PriorPictures.self, forKey: .prior)
    samples = try values.decode(SamplePictures.self, forKey: .samples)
    memory = try values.decodeIfPresent(Double.self, forKey: .memory)
    state = try values.decode(SavedState.self, forKey: .state)
    output = try values.decode(AdapterOutput.self, forKey: .output)
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
    if let rate = training.textEncoderLearningRate { try Demand.positive(rate, "text-encoder-learning-rate") }
    try Demand.atLeast(0, training.learningRate.warmup, "warmup")
    guard training.learningRate.warmup < training.steps || training.steps < 2 || training.learningRate.warmup == 0 else {
      throw SettingError(
        "warmup", training.learningRate.warmup,
        expected: "less than the \(training.steps) steps, as the learning rate is not reached before")
    }
    try Demand.notNegative(training.weightDecay, "weight-decay")
    try Demand.atLeast(1, training.batch, "batch", atMost: 65_536)
    try Demand.atLeast(1, training.accumulation, "accumulation")
    try Demand.notNegative(training.priorWeight, "prior-weight")
    if let gamma = training.minSNRGamma { try Demand.positive(gamma, "min-snr-gamma") }
    if let offset = training.noiseOffset { try Demand.positive(offset, "noise-offset") }
    if let every = checkpointEvery {
      try Demand.atLeast(1, every, "checkpoint-every")
      guard every < training.steps else {
        throw SettingError(
          "checkpoint-every", every, expected: "less than the \(training.steps) steps, after which --output is written anyway")
      }
    }
    guard prior == nil || training.priorWeight > 0 else {
      throw SettingError(
        "prior-weight", training.priorWeight,
        expected: "a number above 0, as pictures of the class would count for nothing; or none of them")
    }
    try prior?.validate()
    if let folder = prior?.folder, Paths.resolved(folder) == Paths.resolved(pictures.path) {
      throw SettingError("prior-images", folder, expected: "another folder than that of --images; other things of the class")
    }
    try samples.validate()
    if let memory { try Demand.gibibytes(memory, "memory") }
    try state.validate()
    try output.validate()
    let folders = [("images", pictures.path), ("prior-images", prior?.folder)]
    let read = folders.map(\.1) + [start] + base.sources
    let (statePath, written) = (state.path(beside: output), [output.path, Paths.record(of: output.path)])
    for (path, option) in [(output.path, "output"), (statePath, "state")] {
      try Demand.outside(folders, path, option)
      try Demand.apart(path, option, from: read, expected: "another file than those that the training reads")
    }
    for step in checkpoints {
      try Demand.apart(
        checkpoint(step).path, "checkpoint-every", from: read + [statePath],
        expected: "LoRAs on the way that are no files that the training reads or goes on from; give another --output")
    }
    try Demand.apart(statePath, "state", from: written, expected: "another file than those that the training writes")
  }

  public func perform(progress: ProgressHandler, processes: ProcessGroup) throws -> String {
    try Demand.divisible(training.batch, by: processes)
    let began = ContinuousClock.now
    let statePath = state.path(beside: output)
    try Paths.checkWritable([output.path, Paths.record(of: output.path)], overwrite: output.overwrite)
    try output.check(as: Dialects.kohya)
    try Paths.checkWritable([statePath], overwrite: true)
    let lock = try processes.isFirst ? state.lock(beside: output) : nil
    defer { lock?.release() }
    if Paths.exists(statePath) { try DreamBooth.checkState(at: statePath) }
    // A training that goes on draws some samples again.
    let overwritesEarlier = output.overwrite || Paths.exists(statePath)
    try samples.check(beside: output, steps: training.steps, overwrite: overwritesEarlier)
    for output in checkpoints.map({ checkpoint($0, overwrite: overwritesEarlier) })
    where Paths.exists(Paths.folder(of: output.path)) {
      try output.check(as: Dialects.kohya)
    }
    let start = try start.map { path in
      let file = try AdapterFile(path: path)
      return Start(file: file, digests: try FileDigest.ofInputs(file.files, progress: progress))
    }
    let content = try pictures.load(promptOption: "prompt")
    try prior?.check()
    return try settled(for: content, start).train(
      on: content, from: start, state: statePath, overwritesEarlier: overwritesEarlier, began: began, progress: progress,
      processes: processes)
  }

  /// The LoRA that a training goes on from.
  private struct Start {
    let file: AdapterFile
    let digests: [FileDigest]

    var identity: [String] { digests.map { "start \($0.sha256)" } }
  }

  /// With the seed as a number, which other runs can be given. Who goes on with the same pictures does not see the same noise again.
  private func settled(for content: PictureSource.Content, _ start: Start?) -> TrainAdapter {
    guard seedFollowsPictures else { return self }
    var settled = self
    (settled.training.seed, settled.seedFollowsPictures) = (content.seed(beside: start?.identity ?? []), false)
    return settled
  }

  private func train(
    on content: PictureSource.Content, from start: Start?, state statePath: String, overwritesEarlier: Bool,
    began: ContinuousClock.Instant, progress: ProgressHandler, processes: ProcessGroup
  ) throws -> String {
    let base = try base.locate(progress: progress)
    if start == nil {
      let names = try base.checkpoint.moduleNames
      try checkLayers(training.targets.paths(in: names), in: names)
    }
    let model = try base.load(for: processes)
    let baseFiles = try processes.isFirst ? FileDigest.ofInputs(base.files, progress: progress) : []
    let first = try start.map { try readStart($0.file, for: model, progress: progress) }
    if let first { try checkLayers(Array(first.factors.keys), in: model.moduleNames) }
    if let warning = ProgressReport.overflow(of: content.distinctPrompts, in: model) { _ = progress(warning) }
    let own = try content.cache(model, size, flips: flips, progress: progress)
    func dreamBooth(prior: LatentCache?) throws -> DreamBooth {
      try DreamBooth(own, prior: prior, model: model, options: training, start: first, processes: processes)
    }
    // Before pictures of the class are drawn, which can take hours. Until then the own ones, whose latents are as large, stand for them.
    try MemoryBudget(gibibytes: memory).plan(model, progress: progress, processes: processes) {
      try dreamBooth(prior: self.prior.map { _ in own }).memoryPlan(budget: $0, progress: progress)
    }
    let prior = try prior?.load(
      beside: output, base: base, model: model, size: size, batch: training.batch, seed: training.seed, progress: progress,
      processes: processes)
    let task = try dreamBooth(prior: prior?.cache(model, size, of: "pictures of the class", progress: progress))
    let identity = FileDigest.ofTexts(
      try base.identity + content.identity + ["prior"] + (prior?.identity ?? []) + ["\(size)"] + content.repetition
        + (prior?.repetition ?? []) + (flips ? ["flips"] : []) + (start?.identity ?? []))
    let adapter = try task.run(
      state: statePath, identity: identity, saveEvery: state.every, progress: progress
    ) { step in
      guard processes.isFirst else { return }
      if checkpoints.contains(step) {
        let output = checkpoint(step, overwrite: overwritesEarlier)
        try Paths.makeFolder(Paths.folder(of: output.path))
        _ = try output.write(
          task.adapter, metadata: metadata(content, steps: step), as: Dialects.kohya, for: model.moduleNames)
      }
      try samples.draw(
        after: step, of: training.steps, beside: output, overwrite: overwritesEarlier, model: model,
        seed: training.seed, size: size, progress: progress)
    }
    guard processes.isFirst else { return output.path }
    let files = try output.write(
      adapter, metadata: metadata(content, steps: training.steps), as: Dialects.kohya, for: model.moduleNames)
    // Some may have been taken away meanwhile.
    let onTheWay = checkpoints.map { checkpoint($0).path }.filter(Paths.exists)
    try RunRecord(
      self, inputs: baseFiles + (start?.digests ?? []) + content.inputs + (prior?.inputs ?? []), outputs: files + onTheWay,
      began: began, processes: processes
    ).write(to: Paths.record(of: output.path), overwrite: output.overwrite)
    try state.finish(beside: output)
    return output.path
  }

  /// Refuses before the work layers that cannot be written, and a learning rate of none.
  private func checkLayers(_ layers: [String], in names: ModuleNames) throws {
    guard training.textEncoderLearningRate == nil || layers.contains(where: { Component(of: $0) != .unet }) else {
      throw SettingError(
        "--text-encoder-learning-rate: no layer of a text encoder is trained; add +text-encoders to --targets, or leave this out")
    }
    try output.check(layers, as: Dialects.kohya, for: names)
  }

  /// After which steps the LoRA is written on the way.
  private var checkpoints: StrideTo<Int> {
    let every = checkpointEvery ?? training.steps
    return stride(from: every, to: training.steps, by: every)
  }

  private func checkpoint(_ step: Int, overwrite: Bool = false) -> AdapterOutput {
    output.checkpoint(step: step, as: Dialects.kohya, overwrite: overwrite)
  }

  /// What a LoRA says of itself that stays true when it is trained further.
  private static let lastingMetadata = [
    "modelspec.author", "modelspec.license", "modelspec.description", "modelspec.tags", "modelspec.architecture",
    "modelspec.prediction_type", "ss_base_model_version", "ss_v2", "ss_v_parameterization",
  ]

  /// The LoRA of a file as it is for this model.
  private func readStart(_ file: AdapterFile, for model: DiffusionModel, progress: ProgressHandler) throws -> Adapter {
    ProgressReport.remarks(on: [file], to: progress)
    var adapter = try model.adapters(of: [file], progress: progress)[0]
    adapter.metadata = adapter.metadata.filter { Self.lastingMetadata.contains($0.key) }
    adapter.metadata["ziplora.start"] = Paths.name(file.path)
    return adapter
  }

  /// What other programs show, and what calls the LoRA up.
  private func metadata(_ content: PictureSource.Content, steps: Int) -> OrderedDictionary<String, String> {
    var metadata: OrderedDictionary = [
      "ss_steps": "\(steps)", "ss_seed": "\(training.seed)", "ss_num_train_images": "\(content.images.count)",
      "ss_learning_rate": "\(training.learningRate.peak)", Adapter.promptsKey: content.distinctPrompts.joined(separator: "\n"),
    ]
    metadata["ss_text_encoder_lr"] = training.textEncoderLearningRate.map { "\($0)" }
    metadata["ss_max_token_length"] = base.choices.textParts.map { "\(75 * $0)" }
    metadata["ss_clip_skip"] = base.choices.clipSkip.map { "\($0)" }
    metadata["ss_min_snr_gamma"] = training.minSNRGamma.map { "\($0)" }
    metadata["ss_noise_offset"] = training.noiseOffset.map { "\($0)" }
    if content.distinctPrompts.count == 1 { metadata[Adapter.phraseKey] = content.prompts[0] }
    return metadata
  }
}
