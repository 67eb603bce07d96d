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
  /// - Throws: `SettingError` for pictures that say they were drawn of another prompt or by another base; errors of files.
  func load(
    beside output: AdapterOutput, base: LocalBase, model: DiffusionModel, seed: UInt64, progress: ProgressHandler,
    processes: ProcessGroup
  ) throws -> PictureSource.Content {
    let folder = folder ?? "\(output.stem)-prior"
    let source = PictureSource(folder, prompt: prompt)
    if let prompt {
      let there = try Self.names(in: folder)
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
    guard Paths.isFolder(folder), try !FileManager.default.contentsOfDirectory(atPath: folder).isEmpty else { return [] }
    return Set(try ImageFolder(contentsOf: folder).pictures.map(\.name))
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
    var timer = StepTimer()
    for (done, number) in numbers.enumerated() {
      let request = TextToImage(prompts: [origin.prompt], steps: 30, seed: seed &+ UInt64(number))
      let picture = Image(try request.generate(with: model)[0])
      try picture.write(to: "\(folder)/\(Self.name(number))", text: origin.texts)
      timer.tick()
      let report = ProgressReport(
        phase: "drawing prior pictures", step: done + 1, total: numbers.count, secondsPerStep: timer.secondsPerStep)
      guard progress(report) else { throw Interrupted(phase: report.phase, step: report.step, state: folder) }
    }
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

  /// Draws what is due, always with the same seed, with the LoRA as it is on the model.
  func draw(
    after step: Int, of total: Int, beside output: AdapterOutput, model: DiffusionModel, seed: UInt64, size: PictureSize
  ) throws {
    guard !prompts.isEmpty, step % (every ?? max(1, total / 10)) == 0 || step == total else { return }
    let folder = "\(output.stem)-samples"
    try Paths.makeFolder(folder)
    for (index, prompt) in prompts.enumerated() {
      let request = TextToImage(prompts: [prompt], steps: 30, width: size.width, height: size.height, seed: seed)
      let picture = Image(try request.generate(with: model)[0])
      let name = String(format: "step%05d-%d.png", step, index + 1)
      // A training that goes on after a stop draws some of them again.
      try picture.write(to: "\(folder)/\(name)", text: [("prompt", prompt)], overwrite: true)
    }
  }
}
