internal import Diffusion
internal import Foundation
internal import Images
internal import LoRA
public import Merging
internal import OrderedCollections
internal import SafeTensors
internal import Torch
internal import Toybox
public import Training
public import Workflows

/// The whole story on the embedded base: a subject LoRA and a style LoRA are trained, merged directly and by ZipLoRA, and
/// judged on pictures whose truth is known.
public struct Demo: Workflow {
  public static let name = "demo"

  /// Folder of the Toybox base.
  public var base: String
  /// Folder with `subjects/NAME` and `styles/NAME`.
  public var examples: String
  public var output: String
  public var subject: String
  public var style: String
  public var seed: UInt64
  /// How each LoRA is trained.
  public var subjectTraining: DreamBooth.Options
  public var styleTraining: DreamBooth.Options
  /// Pictures of each class that the base draws and the LoRAs must leave as they are.
  public var priorPictures: Int
  /// As `ziplora zip` does by default with a joint prompt, here that of both.
  public var zip: ZipOptions
  /// Pictures of "a sbu X in szn style" that are judged.
  public var pictures: Int
  /// Sampling steps and guidance of every picture.
  public var steps: Int
  public var guidance: Double
  /// Whether an earlier report in the folder may be replaced.
  public var overwrite: Bool

  public init(
    base: String, examples: String, output: String, subject: String = "dog", style: String = "notebook", seed: UInt64 = 1,
    overwrite: Bool = false
  ) {
    self.base = base
    self.examples = examples
    self.output = output
    self.subject = subject
    self.style = style
    self.seed = seed
    self.overwrite = overwrite
    // Long enough for each LoRA to do alone what it is for: two that have hardly learnt anything hardly stand in each other's way.
    let common = DreamBooth.Options(
      rank: 16, steps: 400, learningRate: LearningRate(peak: 1e-3, shape: .cosine, warmup: 10), batch: 4, seed: seed)
    subjectTraining = common
    styleTraining = common
    // From the same seed both would start with the same down factors, and disturb each other more than any two LoRAs of
    // different people do.
    styleTraining.seed = seed &+ 500
    styleTraining.steps = 600
    // Who has only ever seen one prompt acts on every prompt: then nothing calls the style up beside the subject, and
    // ZipLoRA, which asks each LoRA to leave the other's prompt alone, takes it away.
    priorPictures = 24
    zip = ZipOptions(method: .joint)
    zip.seed = seed
    pictures = 48
    steps = 20
    guidance = 4
  }

  public func validate() throws {
    try Demand.atLeast(DemoReport.styledShown, pictures, "pictures")
    do {
      _ = try Example.named(subject, .subject)
      _ = try Example.named(style, .style)
    } catch {
      throw SettingError(error.description)
    }
  }

  /// What each model's LoRA file is called, in the order of the report's rows.
  private static let models = ["subject alone", "style alone", "direct merge", "ziplora"]

  /// - Throws: `Interrupted`, what training, zipping and files throw. A stopped demo continues in the training it was in.
  public func perform(progress: ProgressHandler) throws -> DemoResults {
    let began = ContinuousClock.now
    try checkFolders()
    let (subjectExample, styleExample) = (try Example.named(subject, .subject), try Example.named(style, .style))
    var clock = PhaseClock()
    let model = try DiffusionModel(folder: base)
    let oracle = try Oracle(base: base)
    let subjectPictures = try pictures("subjects/\(subject)")
    let stylePictures = try pictures("styles/\(style)")
    let subjectCache = try subjectPictures.cache(model, .init(), of: "pictures of the subject", progress: progress)
    let styleCache = try stylePictures.cache(model, .init(), of: "pictures of the style", progress: progress)
    let weights = try (Checkpoint(path: base).files + [Oracle.weights(base: base)]).map(FileDigest.init)

    func train(
      _ kind: String, _ example: Example, _ content: PictureSource.Content, _ cache: LatentCache, _ options: DreamBooth.Options
    ) throws -> Adapter {
      let prior = try prior(example.classPrompt, model, progress: progress)
      let training = try DreamBooth(cache, prior: prior, model: model, options: options, phase: "training the \(kind) LoRA")
      let identity = FileDigest.ofTexts(
        weights.map(\.sha256) + content.identity + [example.classPrompt, "\(priorPictures) \(steps) \(guidance) \(seed)"])
      let adapter = try training.run(state: state(kind), identity: identity, progress: progress)
      clock.finish("train \(kind)")
      return adapter
    }
    let subjectLoRA = try train("subject", subjectExample, subjectPictures, subjectCache, subjectTraining)
    let styleLoRA = try train("style", styleExample, stylePictures, styleCache, styleTraining)

    let inputs = [MergeInput("subject", subjectLoRA), MergeInput("style", styleLoRA)]
    let exam = DemoExam(demo: self, subject: subjectExample, style: styleExample, model: model, oracle: oracle)
    let probe = try DiffusionProbe(
      [subjectCache, styleCache], jointPrompts: [exam.styledPrompt], model: model,
      adaptsText: inputs.contains(where: \.adapter.adaptsText))
    let zipped = try zipped(inputs, probe, progress: progress)
    clock.finish("zip")

    let direct = try DirectMerge().merge(inputs, context: MergeContext()).adapter
    let adapters = OrderedDictionary(
      uniqueKeysWithValues: Swift.zip(Self.models, [subjectLoRA, styleLoRA, direct, zipped]))
    let sheets = try withoutActuallyEscaping(progress) { try exam.draw(adapters, progress: $0) }
    clock.finish("generate")

    let errors = try adapters.mapValues {
      try Reproduction(of: [$0], loras: inputs.map(\.adapter), probe: probe, draws: 16, seed: seed &+ 3000).errors
    }
    // Last, so that a demo that was stopped before finds nothing in its way.
    for (file, adapter) in Swift.zip(adapterFiles, adapters.values) {
      try AdapterFile.write(
        adapter, to: file, as: DiffusersDialect(), for: model.moduleNames, dtype: .float16, overwrite: overwrite)
    }
    let results = DemoResults(sheets.mapValues(\.scores), errors: errors, seconds: clock.seconds, seed: seed)
    let report = DemoReport(
      demo: self, results: results, sheets: sheets, exam: exam, inputs: (subjectPictures.images, stylePictures.images))
    try report.write(to: output)
    try RunRecord(self, inputs: weights + subjectPictures.inputs + stylePictures.inputs, outputs: outputs, began: began)
      .write(to: "\(output)/run.json", overwrite: overwrite)
    for kind in ["subject", "style"] { try FileManager.default.removeItem(atPath: state(kind)) }
    return results
  }

  /// The LoRA files, in the order of `models`.
  private var adapterFiles: [String] { Self.models.map { "\(output)/\($0.replacing(" ", with: "-")).safetensors" } }

  private var outputs: [String] { ["report.html", "grid.png", "results.json"].map { "\(output)/\($0)" } + adapterFiles }

  private func checkFolders() throws {
    for (option, folder) in [("base", base), ("examples", examples)] where !Paths.isFolder(folder) {
      throw SettingError(
        "--\(option) \(folder): no such folder; run the demo in ziplora's own folder, or give --base and --examples")
    }
    try Paths.makeFolder(output)
    try Paths.checkWritable(outputs + ["\(output)/run.json"], overwrite: overwrite)
  }

  private func zipped(_ inputs: [MergeInput], _ probe: DiffusionProbe, progress: ProgressHandler) throws -> Adapter {
    let zipper = try ZipLoRA(inputs, probe: probe, options: zip)
    let stop = try zipper.optimize { state in
      progress(
        ProgressReport(
          phase: "zipping", step: state.record.step, total: state.steps, secondsPerStep: state.record.seconds,
          figures: Swift.zip(["subject", "style", "together"], state.record.fidelity).map { ($0, $1) }))
    }
    guard stop != .asked else { throw Interrupted(phase: "zipping", step: zipper.records.count, state: nil) }
    return zipper.zipped()
  }

  private func state(_ kind: String) -> String { "\(output)/\(kind).state.safetensors" }

  private func pictures(_ folder: String) throws -> PictureSource.Content {
    try PictureSource("\(examples)/\(folder)").load(promptOption: "examples")
  }

  /// What the base draws of a class.
  private func prior(_ prompt: String, _ model: DiffusionModel, progress: ProgressHandler) throws -> LatentCache {
    let request = TextToImage(
      prompts: [prompt], sampler: .euler, steps: steps, guidance: guidance, seed: seed &+ 2000, count: priorPictures)
    var timer = StepTimer()
    let drawn = try withoutActuallyEscaping(progress) { progress in
      try request.generate(with: model) { state in
        if state.step > 0 { timer.tick() }
        let report = ProgressReport(
          phase: "drawing \"\(prompt)\"", step: state.step, total: state.total, secondsPerStep: timer.secondsPerStep)
        try report.send(to: progress)
      }
    }
    let pictures = (0..<priorPictures).map { Image(drawn[$0]) }
    return try LatentCache(
      pictures, prompts: pictures.map { _ in prompt }, model: model, phase: "encoding pictures of \"\(prompt)\"",
      progress: progress)
  }
}

/// Seconds that each part of the demo took.
struct PhaseClock {
  private(set) var seconds: OrderedDictionary<String, Double> = [:]
  private var last = ContinuousClock.now

  mutating func finish(_ phase: String) {
    let now = ContinuousClock.now
    seconds[phase] = (now - last) / .seconds(1)
    last = now
  }
}
