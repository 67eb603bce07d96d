internal import Diffusion
internal import Foundation
internal import LoRA
public import Merging
internal import OrderedCollections
internal import SafeTensors
public import Torch
public import Training

/// `ziplora zip`: a subject LoRA and a style LoRA, and others if there are, become one.
public struct ZipAdapters: DistributedWorkflow {
  public static let name = "zip"

  /// A LoRA with what it was trained on.
  public struct Side: Codable, Sendable, Equatable {
    public var lora: WeightedFile
    /// A folder or one picture; when nil, the LoRA draws references itself.
    public var images: String?
    /// When nil, the captions of the pictures or what the LoRA's metadata says.
    public var prompt: String?
    /// Prompts of other things, of which the LoRA draws references beside those of its own.
    public var referencePrompts: [String]

    public init(lora: WeightedFile, images: String? = nil, prompt: String? = nil, referencePrompts: [String] = []) {
      self.lora = lora
      self.images = images
      self.prompt = prompt
      self.referencePrompts = referencePrompts
    }
  }

  public struct Outcome: Sendable {
    public let lora: String
    public let coefficients: String
    public let reportFile: String
    public let report: MergeReport
    /// What each LoRA is for, as in progress and tables.
    public let roles: [String]
    /// A prompt that calls both LoRAs up, where there was no joint prompt and their own prompts tell one.
    public let untriedJointPrompt: String?
  }

  public var base: BaseModel
  public var subject: Side
  public var style: Side
  /// More LoRAs to zip with these.
  public var others: [Side]
  /// Prompts that call all of them up, such as "a sbu dog in szn style": what the LoRAs change in the predictions for these one by one
  /// is to be changed by the result, too, of the pictures that each LoRA is asked about.
  public var jointPrompts: [String]
  public var size: PictureSize
  /// Noisy pictures of each LoRA in a step.
  public var batch: Int
  public var options: ZipOptions
  public var references: SavedReferences
  /// GiB that the process may hold, blocks that do not fit being computed again; nil for what the machine has free.
  public var memory: Double?
  public var state: SavedState
  public var output: AdapterOutput

  /// - Parameter options: those of the command where nothing is given: with joint prompts of the method `joint`, else of the closed form.
  public init(
    base: BaseModel, subject: Side, style: Side, others: [Side] = [], jointPrompts: [String] = [],
    size: PictureSize = .init(), batch: Int = 1,
    options: ZipOptions? = nil, references: SavedReferences = .init(), memory: Double? = nil,
    state: SavedState = .init(), output: AdapterOutput
  ) {
    self.base = base
    self.subject = subject
    self.style = style
    self.others = others
    self.jointPrompts = jointPrompts
    self.size = size
    self.batch = batch
    self.options = options ?? ZipOptions(method: .standard(withJointPrompts: !jointPrompts.isEmpty))
    self.references = references
    self.memory = memory
    self.state = state
    self.output = output
  }

  private var sides: [Side] { [subject, style] + others }
  private var roles: [String] { ["subject", "style"] + others.indices.map { "LoRA \($0 + 3)" } }
  private var promptOptions: [String] { ["subject-prompt", "style-prompt"] + others.map { _ in "lora-prompt" } }

  /// The first prompt with what the second one says from its last " in " on: of "a sbu dog" and "a house in szn style", "a sbu dog in szn
  /// style"; nil unless there are two, and the second has such words.
  private static func promptOfBoth(_ prompts: [String]) -> String? {
    guard prompts.count == 2, let words = prompts[1].range(of: " in ", options: .backwards) else { return nil }
    return prompts[0] + prompts[1][words.lowerBound...]
  }

  public func validate() throws {
    try base.validate()
    try size.validate()
    for (side, option) in zip(sides, ["subject-weight", "style-weight"]) { try Demand.finite(side.lora.weight, option) }
    for side in others { try side.lora.validate() }
    try Demand.someWeight(sides.map(\.lora))
    let loras = sides.map(\.lora.path)
    try Demand.apart(
      output.path, "output", from: loras, expected: "another name than those of the LoRAs that are zipped")
    try Demand.atLeast(1, batch, "batch", atMost: 65_536)
    // A mean over a picture's latents has gradients below float16's smallest numbers; a norm has not.
    guard base.dtype != .float16 || options.objective.fidelity != .squared else {
      throw SettingError(
        "dtype", base.dtype, expected: "bfloat16 or float32, as gradients of --fidelity squared vanish in float16")
    }
    do {
      try options.validate()
    } catch {
      throw SettingError(error)
    }
    try references.validate()
    if let memory { try Demand.gibibytes(memory, "memory") }
    try state.validate()
    try output.validate()
    try validateFiles(loras)
  }

  /// Nothing is written over or beside what is read.
  private func validateFiles(_ loras: [String]) throws(SettingError) {
    let options = ["subject-images", "style-images"] + others.map { _ in "lora-images" }
    let pictures = zip(options, sides.map(\.images)).map { ($0, $1) }
    for (path, option) in [(output.path, "output"), (statePath, "state")] {
      try Demand.outside(pictures, path, option)
      try Demand.apart(path, option, from: pictures.map(\.1) + base.sources, expected: "another file than those that are read")
    }
    try Demand.apart(
      statePath, "state", from: loras + [output.path, coefficientsFile, output.reportPath, Paths.record(of: output.path)],
      expected: "another file than those that are read, and than the results")
    if let folder = references.folder { try Demand.outside(pictures, folder, "reference-folder", folder: folder) }
  }

  private var coefficientsFile: String { "\(output.stem).coefficients.safetensors" }

  public func perform(progress: ProgressHandler, processes: ProcessGroup) throws -> Outcome {
    try Demand.divisible(batch, by: processes)
    let began = ContinuousClock.now
    try checkFiles()
    let lock = try processes.isFirst ? state.lock(beside: output) : nil
    defer { lock?.release() }
    let sources = try readSources(progress: progress)
    let base = try base.locate(progress: progress)
    let model = try base.load(for: processes)
    let baseFiles = try processes.isFirst ? FileDigest.ofInputs(base.files, progress: progress) : []
    let inputs = try inputs(of: sources, for: model, progress: progress)
    let identity = try identity(of: sources, base: base)
    try check(inputs, of: sources, identity: identity, model: model)

    let shown = try references(
      of: sources, inputs, base: base, model: model, progress: progress, processes: processes)
    let probe = try DiffusionProbe(
      shown.references, jointPrompts: jointPrompts, model: model, adaptsText: inputs.contains(where: \.adapter.adaptsText),
      batch: batch, processes: processes)
    let zipper = try begun(inputs, probe, identity: identity, processes)
    try MemoryBudget(gibibytes: memory).plan(model, progress: progress, processes: processes) {
      try probe.memoryPlan(of: zipper, budget: $0, progress: progress)
    }
    let stop = try telling(of: shown.files, to: progress) {
      try optimize(zipper, identity: identity, progress: progress, processes: processes)
    }

    let outcome = outcome(of: zipper, stop, sources)
    tell(ZipOptions.warnings(of: zipper.records, after: zipper.fidelityAfter), phase: "comparing before and after", to: progress)
    guard processes.isFirst else { return outcome }
    let files = try write(zipper, outcome.report, of: sources, for: model)
    try RunRecord(
      settled(for: sources), inputs: baseFiles + sources.flatMap(\.inputs), outputs: files, began: began, processes: processes
    ).write(to: Paths.record(of: output.path), overwrite: output.overwrite)
    try state.finish(beside: output)
    try references.finish(shown.files, beside: output)
    return outcome
  }

  /// Says what a run that fails leaves behind beside its result. Who stops it goes on with that, and knows.
  private func telling<Result>(of drawn: [String], to progress: ProgressHandler, _ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch {
      let folder = references.folder(beside: output)
      if !(error is Interrupted), !drawn.isEmpty, references.folder == nil {
        tell(["\(folder): keeps what the LoRAs have drawn, for the next run"], phase: "zipping", to: progress)
      }
      throw error
    }
  }

  private var statePath: String { state.path(beside: output) }

  private func checkFiles() throws {
    try Paths.checkWritable(
      [output.path, coefficientsFile, output.reportPath, Paths.record(of: output.path)], overwrite: output.overwrite)
    try Paths.checkWritable([statePath], overwrite: true)
    if Paths.exists(statePath) { try ZipLoRA.checkState(at: statePath) }
  }

  private func readSources(progress: ProgressHandler) throws -> [Source] {
    let sources = try zip(sides, promptOptions).map { try Source($0, promptOption: $1) }
    try output.check(as: sources[0].file.dialect)
    try KnownBase.checkTogether(sources.map(\.file))
    ProgressReport.remarks(on: sources.map(\.file), to: progress)
    tell(
      Source.doubts(about: sources, promptOptions: promptOptions, jointPrompts: jointPrompts), phase: "reading the LoRAs",
      to: progress)
    return sources
  }

  /// Of all that the result depends on, beside the options and the numbers of the LoRAs.
  private func identity(of sources: [Source], base: LocalBase) throws -> String {
    let drawsNothing = sources.allSatisfy(\.drawnPrompts.isEmpty)
    return try FileDigest.ofTexts(
      base.identity + sources.flatMap(\.identity) + (jointPrompts.isEmpty ? [] : ["together"] + jointPrompts)
        + ["\(size) \(batch)"] + (drawsNothing ? [] : ["\(references.sampling)"]))
  }

  /// Refuses before references are drawn what would be refused after it.
  private func check(_ inputs: [MergeInput], of sources: [Source], identity: String, model: DiffusionModel) throws {
    _ = try MergePlan(inputs, scope: options.scope)
    try output.check(OrderedSet(inputs.flatMap(\.adapter.factors.keys)), as: sources[0].file.dialect, for: model.moduleNames)
    if Paths.exists(statePath) { try ZipLoRA.checkState(at: statePath, identity: identity, inputs, options: options) }
  }

  private func outcome(of zipper: ZipLoRA, _ stop: ZipStop, _ sources: [Source]) -> Outcome {
    Outcome(
      lora: output.path, coefficients: coefficientsFile, reportFile: output.reportPath, report: zipper.report(stop: stop),
      roles: roles, untriedJointPrompt: jointPrompts.isEmpty ? Self.promptOfBoth(sources.flatMap(\.prompts)) : nil)
  }

  /// - Returns: the files.
  private func write(
    _ zipper: ZipLoRA, _ report: MergeReport, of sources: [Source], for model: DiffusionModel
  ) throws -> [String] {
    let prompts = sources.flatMap(\.prompts).joined(separator: "\n")
    var metadata: OrderedDictionary = [Adapter.promptsKey: prompts]
    metadata["ss_clip_skip"] = base.choices.clipSkip.map { "\($0)" }
    let files = try output.write(
      zipper.zipped(), metadata: metadata, as: sources[0].file.dialect, for: model.moduleNames)
    try zipper.coefficients.write(
      to: coefficientsFile, names: zipper.inputs.map(\.name), overwrite: output.overwrite)
    try AtomicFile.write(JSONText.pretty(report) + "\n", to: output.reportPath, overwrite: output.overwrite)
    return files + [coefficientsFile, output.reportPath]
  }

  private func tell(_ warnings: [String], phase: String, to progress: ProgressHandler) {
    guard !warnings.isEmpty else { return }
    _ = progress(ProgressReport(phase: phase, step: 1, total: 1, warnings: warnings))
  }

  /// What each LoRA shows, and the files of what they have drawn for that.
  private func references(
    of sources: [Source], _ inputs: [MergeInput], base: LocalBase, model: DiffusionModel, progress: ProgressHandler,
    processes: ProcessGroup
  ) throws -> (references: [any ReferenceLatents], files: [String]) {
    try withoutActuallyEscaping(progress) { progress in
      var artist = ReferenceArtist(
        base: base, model: model, size: size, sampling: references.sampling, folder: references.folder(beside: output),
        processes: processes, progress: progress)
      let found = try zip(sources, inputs).map { try $0.references($1.weighted, by: &artist) }
      return (found, artist.files)
    }
  }

  /// As the state on disk has it, if there is one.
  private func begun(
    _ inputs: [MergeInput], _ probe: DiffusionProbe, identity: String, _ processes: ProcessGroup
  ) throws -> ZipLoRA {
    guard try processes.first(Paths.exists(statePath)) else { return try ZipLoRA(inputs, probe: probe, options: options) }
    let zipper = try ZipLoRA(resuming: statePath, identity: identity, inputs, probe: probe, options: options)
    // Until all have read it, nobody replaces it.
    try processes.barrier()
    return zipper
  }

  private func inputs(
    of sources: [Source], for model: DiffusionModel, progress: ProgressHandler
  ) throws -> [MergeInput] {
    let texts = sources.flatMap(\.prompts) + sides.flatMap(\.referencePrompts) + jointPrompts
    if let warning = ProgressReport.overflow(of: texts, in: model) { _ = progress(warning) }
    let files = sources.map(\.file)
    let adapters = try model.adapters(of: files, progress: progress)
    return [MergeInput](files: files, adapters: adapters, weights: sides.map(\.lora.weight))
  }

  /// Runs the steps that are left, with a state on disk that is never older than asked.
  private func optimize(
    _ zipper: ZipLoRA, identity: String, progress: ProgressHandler, processes: ProcessGroup
  ) throws -> ZipStop {
    var warnings = zipper.records.isEmpty ? options.warnings : []
    var saved = ContinuousClock.now
    var failure: (any Error)?
    var timer = StepTimer()
    let isPrepared = try zipper.prepare { done, total in
      timer.tick()
      return progress(
        ProgressReport(phase: "asking each LoRA alone", step: done, total: total, secondsPerStep: timer.secondsPerStep))
    }
    let done = zipper.records.count
    guard isPrepared else { throw Interrupted(phase: "zipping", step: done, state: done > 0 ? statePath : nil) }
    timer = StepTimer()
    let stop = try zipper.optimize { state in
      timer.tick()
      warnings += state.warnings
      let record = state.record
      let report = ProgressReport(
        phase: "zipping", step: record.step, total: state.steps, secondsPerStep: timer.secondsPerStep,
        figures: zip(roles + ["together"], record.fidelity).map { ($0, $1) } + [("cosine", record.cosine)],
        warnings: warnings)
      warnings = []
      let goesOn = progress(report) || record.step == state.steps
      // After the last step, too: what is written then may not find its place.
      let isDue = ContinuousClock.now - saved > .seconds(self.state.every) || record.step == state.steps
      guard processes.isFirst, isDue else { return goesOn }
      do {
        try zipper.saveState(to: statePath, identity: identity)
      } catch {
        failure = error
      }
      saved = .now
      return goesOn && failure == nil
    }
    if let failure { throw failure }
    guard stop != .asked else {
      if processes.isFirst { try zipper.saveState(to: statePath, identity: identity) }
      throw Interrupted(phase: "zipping", step: zipper.records.count, state: statePath)
    }
    return stop
  }
}
