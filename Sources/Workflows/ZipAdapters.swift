internal import Diffusion
internal import Foundation
internal import LoRA
public import Merging
internal import OrderedCollections
internal import SafeTensors
internal import Torch
public import Training

/// `ziplora zip`: a subject LoRA and a style LoRA become one.
public struct ZipAdapters: Workflow {
  public static let name = "zip"

  /// A LoRA with what it was trained on.
  public struct Side: Codable, Sendable, Equatable {
    public var lora: WeightedFile
    public var pictures: PictureSource

    public init(lora: WeightedFile, pictures: PictureSource) {
      self.lora = lora
      self.pictures = pictures
    }
  }

  public struct Outcome: Sendable {
    public let lora: String
    public let coefficients: String
    public let reportFile: String
    public let report: MergeReport
  }

  public var base: BaseModel
  public var subject: Side
  public var style: Side
  public var size: PictureSize
  /// Noisy pictures of each LoRA in a step.
  public var batch: Int
  public var options: ZipOptions
  public var state: SavedState
  public var output: AdapterOutput

  public init(
    base: BaseModel, subject: Side, style: Side, size: PictureSize = .init(), batch: Int = 1,
    options: ZipOptions = .init(), state: SavedState = .init(), output: AdapterOutput
  ) {
    self.base = base
    self.subject = subject
    self.style = style
    self.size = size
    self.batch = batch
    self.options = options
    self.state = state
    self.output = output
  }

  public func validate() throws {
    try base.validate()
    try size.validate()
    try Demand.finite(subject.lora.weight, "subject-weight")
    try Demand.finite(style.lora.weight, "style-weight")
    try Demand.atLeast(1, batch, "batch")
    do {
      try options.validate()
    } catch {
      throw SettingError("\(error)")
    }
    try state.validate()
    try output.validate()
  }

  public func run(progress: ProgressHandler) throws -> Outcome {
    try validate()
    let began = ContinuousClock.now
    let (coefficientsFile, reportFile) = ("\(output.stem).coefficients.safetensors", "\(output.stem).report.json")
    let record = Paths.record(of: output.path)
    let statePath = state.path(beside: output)
    try Paths.checkWritable([output.path, coefficientsFile, reportFile, record], overwrite: output.overwrite)
    try Paths.checkWritable([statePath], overwrite: true)

    let files = try [subject, style].map { try AdapterFile(path: $0.lora.path) }
    let contents = [
      try subject.pictures.load(promptOption: "subject-prompt"), try style.pictures.load(promptOption: "style-prompt"),
    ]
    let model = try base.load()
    let names = model.moduleNames
    let inputs = try zip(files, [subject, style]).map { file, side in
      MergeInput(Paths.name(Paths.stem(file.path)), try file.adapter(for: names), weight: side.lora.weight)
    }
    let adaptsText = inputs.contains { $0.adapter.factors.keys.contains { Component(of: $0) != .unet } }
    let probe = try DiffusionProbe(
      try contents.map { try $0.cache(model, size) }, model: model, adaptsText: adaptsText, batch: batch)
    let identity = FileDigest.ofTexts(
      try base.identity + contents.flatMap { try $0.identity() } + files.map { try FileDigest(of: $0.path).sha256 }
        + ["\(size) \(batch)"])

    let zipper =
      Paths.exists(statePath)
      ? try ZipLoRA(resuming: statePath, identity: identity, inputs, probe: probe, options: options)
      : try ZipLoRA(inputs, probe: probe, options: options)
    let stop = try optimize(zipper, state: statePath, identity: identity, progress: progress)

    let prompts = contents.flatMap(\.distinctPrompts)
    try output.write(
      zipper.zipped(), metadata: ["ziplora.prompts": prompts.joined(separator: "\n")], as: files[0].dialect, for: names)
    let report = zipper.report(stop: stop)
    try zipper.coefficients.write(to: coefficientsFile, names: inputs.map(\.name), overwrite: output.overwrite)
    try AtomicFile.write(JSON.text(report) + "\n", to: reportFile, overwrite: output.overwrite)
    let inputFiles = base.files + files.map(\.path) + contents.flatMap(\.files)
    try RunRecord(self, inputs: inputFiles, outputs: [output.path, coefficientsFile, reportFile], began: began)
      .write(to: record, overwrite: output.overwrite)
    try state.finish(beside: output)
    return Outcome(lora: output.path, coefficients: coefficientsFile, reportFile: reportFile, report: report)
  }

  /// Runs the steps that are left, with a state on disk that is never older than asked.
  private func optimize(
    _ zipper: ZipLoRA, state path: String, identity: String, progress: ProgressHandler
  ) throws -> ZipStop {
    var warnings = zipper.records.isEmpty ? options.warnings : []
    var saved = ContinuousClock.now
    var failure: (any Error)?
    var timer = StepTimer()
    let stop = try zipper.optimize { state in
      timer.tick()
      warnings += state.warnings
      let record = state.record
      let report = ProgressReport(
        phase: "zipping", step: record.step, total: state.steps, secondsPerStep: timer.secondsPerStep,
        figures: [("subject", record.fidelity[0]), ("style", record.fidelity[1]), ("cosine", record.cosine)],
        warnings: warnings)
      warnings = []
      let goesOn = progress(report) || record.step == state.steps
      guard !goesOn || ContinuousClock.now - saved > .seconds(self.state.every) else { return true }
      do {
        try zipper.saveState(to: path, identity: identity)
      } catch {
        failure = error
      }
      saved = .now
      return goesOn && failure == nil
    }
    if let failure { throw failure }
    guard stop != .asked else { throw Interrupted(phase: "zipping", step: zipper.records.count, state: path) }
    return stop
  }
}
