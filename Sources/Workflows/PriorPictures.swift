internal import Diffusion
internal import Foundation
internal import Images
internal import OrderedCollections
internal import Torch
internal import Training

/// Pictures of a subject's whole class: the LoRA is also trained to leave them as they are (DreamBooth's prior
/// preservation, arXiv 2208.12242, section 3.2).
public struct PriorPictures: Codable, Sendable, Equatable {
  /// Where they are, and where missing ones are put; beside the output when nil.
  public var folder: String?
  /// Such as "a cat"; captions in the folder when nil.
  public var prompt: String?
  /// How many are used, the first by name: the base draws those that are missing. When nil, all that are there, or 100 where there are
  /// none but drawn ones.
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
  }

  /// Refuses before the work a folder that has too few pictures and that nothing can be drawn into.
  ///
  /// - Throws: `ImageError`, `SettingError`.
  func check() throws {
    guard let folder, prompt == nil || Paths.exists(folder) else { return }
    let there = try ImageFolder.pictureNames(in: folder)
    guard let count, count > there.count else { return }
    guard prompt != nil else {
      throw SettingError(
        "prior-count", count, expected: "up to \(there.count), the pictures in \(folder), or --prior-prompt to draw the others of"
      )
    }
    guard !there.contains(where: { $0.contains("/") }) else {
      throw SettingError(
        "prior-count", count, expected: "up to \(there.count), the pictures in folders of \(folder), beside which none is drawn")
    }
  }

  /// Reads the pictures and first lets the base draw what is missing, several processes in turns. A stopped run finds those
  /// it has drawn.
  ///
  /// - Parameters:
  ///   - size: of those that are drawn.
  ///   - batch: how many are drawn at once.
  /// - Throws: `SettingError` for pictures that say they were drawn of another prompt or by another base; errors of files;
  ///   `Interrupted` when the handler answers false.
  func load(
    beside output: AdapterOutput, base: LocalBase, model: DiffusionModel, size: PictureSize, batch: Int, seed: UInt64,
    progress: ProgressHandler, processes: ProcessGroup
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
        try draw(
          numbers, origin, into: folder, batch: batch, model: model, size: size, seed: seed, progress: progress,
          processes: processes)
        try processes.barrier()
      }
    }
    return try source.load(promptOption: "prior-prompt").first(count)
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

  /// Each batch as a whole, even where some of it are there: which pictures are drawn together moves their last bits, and a run that
  /// was stopped must go on to the same ones.
  private func draw(
    _ numbers: [Int], _ origin: Origin, into folder: String, batch: Int, model: DiffusionModel, size: PictureSize, seed: UInt64,
    progress: ProgressHandler, processes: ProcessGroup
  ) throws {
    let batches = OrderedDictionary(grouping: numbers) { $0 / batch }.elements
    let own = processes.turns(of: batches.count).map { batches[$0] }
    let requests = own.map { index, _ in
      TextToImage(
        prompts: [origin.prompt], sampler: drawingSampler, steps: drawingSteps, width: size.width, height: size.height,
        seed: seed &+ UInt64(index * batch), count: batch)
    }
    try drawPictures(requests, with: model, phase: "drawing prior pictures", state: folder, progress: progress) {
      place, pictures in
      for number in own[place].value {
        try Image(pictures[number % batch]).write(to: "\(folder)/\(Self.name(number))", text: origin.texts)
      }
    }
  }
}
