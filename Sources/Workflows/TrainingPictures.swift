internal import Diffusion
internal import Foundation
internal import Images
internal import Torch
internal import Training

/// Pictures of a subject's whole class: the LoRA is also trained to leave them as they are (DreamBooth's prior
/// preservation, arXiv 2208.12242, section 3.2).
public struct PriorPictures: Codable, Sendable, Equatable {
  /// Where they are, and where missing ones are put; beside the output when nil.
  public var folder: String?
  /// Such as "a cat"; captions in the folder when nil.
  public var prompt: String?
  /// As many as there must be: the base draws the rest. When nil, those that are there, or 100 where there are none but drawn ones.
  public var count: Int?

  public init(folder: String? = nil, prompt: String? = nil, count: Int? = nil) {
    self.folder = folder
    self.prompt = prompt
    self.count = count
  }

  func validate() throws(SettingError) {
    if let count { try Demand.atLeast(1, count, "prior-count", atMost: 9_999) }
    guard prompt != nil || folder != nil else {
      throw SettingError("--prior-count needs pictures or a prompt; give --prior-images, --prior-prompt or both")
    }
    guard prompt != nil || count == nil else {
      throw SettingError("--prior-count needs --prior-prompt to draw the pictures that are missing")
    }
  }

  /// Reads the pictures and first lets the base draw what is missing, several processes in turns. A stopped run finds those
  /// it has drawn.
  ///
  /// - Throws: `SettingError` for pictures that say they were drawn of another prompt or by another base; errors of files;
  ///   `Interrupted` when the handler answers false.
  func load(
    beside output: AdapterOutput, base: LocalBase, model: DiffusionModel, seed: UInt64, progress: ProgressHandler,
    processes: ProcessGroup
  ) throws -> PictureSource.Content {
    let folder = folder ?? "\(output.stem)-prior"
    let source = PictureSource(folder, prompt: prompt)
    let there = try Self.names(in: folder)
    if let prompt = source.givenPrompt {
      let origin = Origin(prompt: prompt, base: try FileDigest.ofTexts(base.weights))
      for name in there.sorted() { try origin.check("\(folder)/\(name)", of: folder) }
      // A run that was stopped while it drew has left less than it wants.
      let drawn = Set((0..<Self.standardCount).map(Self.name))
      let missing = max((count ?? (there.isSubset(of: drawn) ? Self.standardCount : 0)) - there.count, 0)
      // As the first process finds: others may already draw.
      let numbers = try processes.first(Array((0...).lazy.filter { !there.contains(Self.name($0)) }.prefix(missing)))
      if !numbers.isEmpty {
        try Paths.makeFolder(folder)
        let own = processes.turns(of: numbers.count).map { numbers[$0] }
        try draw(own, origin, into: folder, model: model, seed: seed, progress: progress)
        try processes.barrier()
      }
    }
    return try source.load(promptOption: "prior-prompt")
  }

  private static let standardCount = 100

  private static func name(_ number: Int) -> String { String(format: "prior-%04d.png", number + 1) }

  private static func names(in folder: String) throws -> Set<String> {
    Paths.exists(folder) ? Set(try ImageFolder.pictureNames(in: folder)) : []
  }

  /// What a picture was drawn of, and by what, as its PNG text says: from another class or another base it would teach the LoRA
  /// something else than its record says.
  private struct Origin {
    let prompt: String
    let base: String

    private static let keys = (prompt: "prompt", base: "ziplora.base")

    var texts: [(key: String, value: String)] { [(Self.keys.prompt, prompt), (Self.keys.base, base)] }

    /// A picture that does not say who drew it may show anything.
    func check(_ picture: String, of folder: String) throws {
      guard let texts = try? Image.pngText(of: [UInt8](Data(contentsOf: URL(filePath: picture)))),
        let drawnBy = texts.first(where: { $0.key == Self.keys.base })?.value
      else { return }
      let other = texts.first { $0.key == Self.keys.prompt }?.value ?? ""
      guard drawnBy != base || other != prompt else { return }
      let found = other == prompt ? "drawn by another base" : "drawn of \"\(other)\""
      throw SettingError(
        "\(picture): found a prior picture \(found), expected one of \"\(prompt)\" by this base; remove \(folder) or name another"
      )
    }
  }

  private func draw(
    _ numbers: [Int], _ origin: Origin, into folder: String, model: DiffusionModel, seed: UInt64, progress: ProgressHandler
  ) throws {
    let requests = numbers.map {
      TextToImage(prompts: [origin.prompt], steps: drawingSteps, seed: seed &+ UInt64($0))
    }
    try drawPictures(requests, with: model, phase: "drawing prior pictures", state: folder, progress: progress) {
      try $1.write(to: "\(folder)/\(Self.name(numbers[$0]))", text: origin.texts)
    }
  }
}

/// Of the sampler.
private let drawingSteps = 30

/// Draws pictures one after another.
///
/// - Parameters:
///   - requests: of one picture each.
///   - state: where they are kept.
///   - progress: hears of each step of the sampler.
///   - keep: gets each with its place.
/// - Throws: `Interrupted` when the handler answers false; what drawing and `keep` throw.
private func drawPictures(
  _ requests: [TextToImage], with model: DiffusionModel, phase: String, state: String?, progress: ProgressHandler,
  keep: (Int, Image) throws -> Void
) throws {
  // Of several processes there may be none for this one.
  guard !requests.isEmpty else { return }
  try withoutActuallyEscaping(progress) { progress in
    var timer = StepTimer()
    func tell(_ step: Int) throws {
      let report = ProgressReport(
        phase: phase, step: step, total: requests.count * drawingSteps, secondsPerStep: timer.secondsPerStep)
      guard progress(report) else { throw Interrupted(phase: phase, step: step, state: state) }
    }
    for (place, request) in requests.enumerated() {
      let picture = try request.generate(with: model) { state in
        if place + state.step > 0 { timer.tick() }
        // After its last step a picture only has to be decoded.
        if state.step < state.total { try tell(place * drawingSteps + state.step) }
      }
      try keep(place, Image(picture[0]))
    }
    try tell(requests.count * drawingSteps)
  }
}

/// Pictures that show how a training goes on, in the folder `STEM-samples` beside the output.
public struct SamplePictures: Codable, Sendable, Equatable {
  public var prompts: [String]
  /// Steps of training between them; a tenth of all when nil.
  public var every: Int?

  public init(prompts: [String] = [], every: Int? = nil) {
    self.prompts = prompts
    self.every = every
  }

  func validate() throws(SettingError) {
    guard let every else { return }
    try Demand.atLeast(1, every, "sample-every")
    guard !prompts.isEmpty else { throw SettingError("--sample-every needs --sample-prompt to say what to draw") }
  }

  private func folder(beside output: AdapterOutput) -> String { "\(output.stem)-samples" }

  /// After which steps of a training they are due.
  private func steps(of total: Int) -> [Int] {
    let every = interval(total)
    return Array(stride(from: every, to: total, by: every)) + [total]
  }

  private func interval(_ total: Int) -> Int { every ?? max(1, total / 10) }

  private func files(_ step: Int, in folder: String) -> [String] {
    prompts.indices.map { "\(folder)/\(String(format: "step%05d-%d.png", step, $0 + 1))" }
  }

  /// Refuses before the work what would be refused in the middle of it.
  ///
  /// - Parameter overwrite: whether pictures that are there may be replaced.
  func check(beside output: AdapterOutput, steps total: Int, overwrite: Bool) throws {
    let folder = folder(beside: output)
    guard !prompts.isEmpty, Paths.exists(folder) else { return }
    guard Paths.isFolder(folder) else {
      throw SettingError("\(folder): found a file, expected the folder for sample pictures; move it or choose another --output")
    }
    let files = steps(of: total).flatMap { self.files($0, in: folder) }
    try Paths.checkWritable(files.filter(Paths.exists) + files.prefix(1), overwrite: overwrite)
  }

  /// Draws what is due, always with the same seed, with the LoRA as it is on the model.
  ///
  /// - Throws: `Interrupted` when the handler answers false.
  func draw(
    after step: Int, of total: Int, beside output: AdapterOutput, overwrite: Bool, model: DiffusionModel, seed: UInt64,
    size: PictureSize, progress: ProgressHandler
  ) throws {
    guard !prompts.isEmpty, step % interval(total) == 0 || step == total else { return }
    let folder = folder(beside: output)
    try Paths.makeFolder(folder)
    let files = files(step, in: folder)
    let requests = prompts.map {
      TextToImage(prompts: [$0], steps: drawingSteps, width: size.width, height: size.height, seed: seed)
    }
    try drawPictures(requests, with: model, phase: "drawing sample pictures", state: nil, progress: progress) {
      try $1.write(to: files[$0], text: [("prompt", prompts[$0])], overwrite: overwrite)
    }
  }
}
