public import Diffusion
internal import Foundation
internal import Images
internal import LoRA
internal import Merging
internal import Torch
public import Training

/// How several LoRAs act at once.
public enum LoRACombination: String, Codable, Sendable, CaseIterable {
  /// Their changes of the weights are added up, each times its weight.
  case weights
  /// Each acts alone, and what the model predicts with each is mixed in proportion to the weights (`VariantMixture`).
  case predictions
  /// Each acts alone, and what it changes of the model's prediction is added up, each times its weight.
  case changes

  func validate(_ loras: [WeightedFile]) throws {
    guard self != .weights else { return }
    let weights = loras.map(\.weight)
    let isMixture = weights.allSatisfy { $0 >= 0 } && weights.reduce(0, +) > 0
    guard loras.count >= 2, self == .changes || isMixture else {
      let found =
        loras.isEmpty ? "no LoRA" : "\(loras.count.counted("LoRA")) of weight \(weights.map(\.shortest).joined(separator: ", "))"
      throw SettingError(
        "--combine \(rawValue): found \(found); expected two or more"
          + (self == .changes ? "" : ", of weights from 0 on, not all 0"))
    }
  }

  /// How much the prediction with each LoRA alone counts, and that without any; nil where LoRAs act together.
  package func shares(of weights: [Double]) -> (alone: [Double], base: Double)? {
    let sum = weights.reduce(0, +)
    return switch self {
    case .weights: nil
    case .predictions: (weights.map { $0 / sum }, 0)
    case .changes: (weights, 1 - sum)
    }
  }
}

/// `ziplora generate`: pictures of prompts, with any number of LoRAs.
public struct GenerateImages: Workflow {
  public static let name = "generate"

  public var base: BaseModel
  public var prompts: [String]
  public var negativePrompt: String?
  public var loras: [WeightedFile]
  public var combination: LoRACombination
  public var sampler: Sampler
  public var steps: Int
  public var guidance: Double
  /// As of `TextToImage`; nil for none.
  public var guidanceRescale: Double?
  public var size: PictureSize
  /// Of the first picture of each prompt; the next one has the next seed.
  public var seed: UInt64
  /// Pictures of each prompt.
  public var count: Int
  /// Pictures drawn at once. Small models are faster that way; every one is the same picture (to rounding) and takes its memory.
  public var batch: Int
  /// `FILE.png` for one picture, else a folder.
  public var output: String
  /// Whether pictures that exist may be replaced. Those that a former run left in the folder then go, if this one does not make them.
  public var overwrite: Bool

  public init(
    base: BaseModel, prompts: [String], negativePrompt: String? = nil, loras: [WeightedFile] = [],
    combination: LoRACombination = .weights, sampler: Sampler = .euler, steps: Int = 50, guidance: Double = 5,
    guidanceRescale: Double? = nil, size: PictureSize = .init(), seed: UInt64 = 0, count: Int = 1, batch: Int = 1, output: String,
    overwrite: Bool = false
  ) {
    self.base = base
    self.prompts = prompts
    self.negativePrompt = negativePrompt
    self.loras = loras
    self.combination = combination
    self.sampler = sampler
    self.steps = steps
    self.guidance = guidance
    self.guidanceRescale = guidanceRescale
    self.size = size
    self.seed = seed
    self.count = count
    self.batch = batch
    self.output = output
    self.overwrite = overwrite
  }

  public func validate() throws {
    try base.validate()
    try size.validate()
    for lora in loras { try lora.validate() }
    guard !prompts.isEmpty else { throw SettingError("--prompt is missing; expected at least one") }
    guard !output.isEmpty else { throw SettingError("--output: found nothing; expected FILE.png or a folder") }
    try combination.validate(loras)
    try Demand.atLeast(1, steps, "steps")
    try Demand.notNegative(guidance, "guidance")
    guard negativePrompt == nil || guidance > 1 else {
      throw SettingError("guidance", guidance, expected: "more than 1, as --negative-prompt does nothing without guidance")
    }
    if let guidanceRescale {
      guard (0...1).contains(guidanceRescale) else {
        throw SettingError("guidance-rescale", guidanceRescale, expected: "a number from 0 to 1; 0.7 is usual")
      }
      guard guidance > 1 else {
        throw SettingError("guidance", guidance, expected: "more than 1, as --guidance-rescale does nothing without guidance")
      }
    }
    try Demand.atLeast(1, count, "count")
    try Demand.atLeast(1, batch, "batch", atMost: 65_536)
    if let format = [".jpg", ".jpeg", ".webp"].first(where: output.lowercased().hasSuffix) {
      throw SettingError("output", output, expected: "a name that ends in .png, or a folder; nothing is written as \(format)")
    }
    guard request.total == 1 || !isFile else {
      throw SettingError("--output \(output): \(request.total) pictures do not fit in one file; name a folder")
    }
  }

  /// - Returns: the paths of the pictures.
  public func perform(progress: ProgressHandler) throws -> [String] {
    guard !isFile else { return try generate(progress: progress) }
    let isNew = !Paths.exists(output)
    try Paths.makeFolder(output)
    do {
      return try generate(progress: progress)
    } catch {
      // What went wrong says more than a folder that stays.
      if isNew, (try? FileManager.default.contentsOfDirectory(atPath: output))?.isEmpty == true {
        try? FileManager.default.removeItem(atPath: output)
      }
      throw error
    }
  }

  private func generate(progress: ProgressHandler) throws -> [String] {
    let began = ContinuousClock.now
    let record = isFile ? Paths.record(of: output) : "\(Paths.tidied(output))/run.json"
    let request = request
    let files = (0..<request.total).map(file)
    let earlier = overwrite ? nil : RunRecord<Self>.stopped(at: record, as: self)
    let finished = Set(earlier?.outputs.map(\.path) ?? [])
    try Paths.checkWritable(files.filter { !finished.contains($0) } + (earlier == nil ? [record] : []), overwrite: overwrite)
    let adapters = try loras.map { try AdapterFile(path: $0.path) }
    try KnownBase.checkTogether(adapters)
    let loraFiles = try FileDigest.ofInputs(adapters.flatMap(\.files), progress: progress)
    let metadata = PictureMetadata(self, digests: loraFiles, of: adapters)
    let base = try base.locate(progress: progress)
    let model = try base.load()
    let inputs = try FileDigest.ofInputs(base.files, progress: progress) + loraFiles
    guard earlier == nil || earlier?.inputs == inputs else {
      throw SettingError(
        "\(record): these pictures were begun with other files of the base or of LoRAs; --overwrite draws all of them anew")
    }
    let texts = prompts + (negativePrompt.map { [$0] } ?? [])
    for warning in [ProgressReport.overflow(of: texts, in: model), .foreignSampler(of: model)] { _ = warning.map(progress) }
    let attachments = try attachments(of: adapters, to: model, progress: progress)
    let shares = combination.shares(of: loras.map(\.weight))
    let variants = shares.map { AdapterVariant.mixture(zip(attachments, $0.alone).map { ($0, $1) }, base: $0.base) } ?? []
    if variants.isEmpty { for attachment in attachments { attachment.attach() } }

    let replaces = overwrite || earlier != nil
    var made: [String] = []
    do {
      try draw(with: model, variants, metadata, to: files, but: finished, progress: progress) { made.append($0) }
    } catch {
      guard !made.isEmpty else { throw error }
      // Whoever finds them is told what they are, and who replaces them takes them all away.
      if let left = try? RunRecord<Self>.outputs(recordedIn: record, except: made) {
        try? RunRecord(self, inputs: inputs, outputs: made + left, began: began, isPartial: true)
          .write(to: record, overwrite: replaces)
      }
      guard let interrupted = error as? Interrupted, !overwrite else { throw error }
      throw Interrupted(phase: interrupted.phase, step: interrupted.step, state: output)
    }
    try RunRecord<Self>.removeOutputs(recordedIn: record, except: files)
    try RunRecord(self, inputs: inputs, outputs: files, began: began).write(to: record, overwrite: replaces)
    return files
  }

  /// - Parameter finished: what a stopped run has drawn; what is drawn together is drawn again together, so that it is the same.
  private func draw(
    with model: DiffusionModel, _ variants: [AdapterVariant], _ metadata: PictureMetadata, to files: [String],
    but finished: Set<String>, progress: ProgressHandler, made: (String) -> Void
  ) throws {
    var timer = StepTimer()
    for first in stride(from: 0, to: request.total, by: batch) {
      let chosen = first..<min(first + batch, request.total)
      if files[chosen].allSatisfy(finished.contains) {
        files[chosen].forEach(made)
        continue
      }
      let pictures = try withoutActuallyEscaping(progress) { progress in
        try request.generate(with: model, pictures: chosen, variants: variants) { state in
          if state.step > 0 { timer.tick() }
          let report = ProgressReport(
            phase: "generating", step: first * steps + state.step * chosen.count, total: request.total * steps,
            secondsPerStep: timer.secondsPerStep.map { $0 / Double(chosen.count) })
          // The last pictures are made by then, and only have to be decoded.
          guard progress(report) || report.step == report.total else {
            throw Interrupted(phase: report.phase, step: report.step, state: nil)
          }
        }
      }
      for (index, picture) in chosen.enumerated() {
        guard pictures[index].isFinite().allHold() else {
          throw SettingError(
            "\(files[picture]): the picture came out as NaN; use --dtype bfloat16 or float32, smaller weights of LoRAs, or less --guidance"
          )
        }
        let image = Image(pictures[index])
        try image.write(
          to: files[picture], text: metadata.texts(of: request.source(picture), image),
          overwrite: overwrite || finished.contains(files[picture]))
        made(files[picture])
      }
    }
  }

  private func attachments(
    of files: [AdapterFile], to model: DiffusionModel, progress: ProgressHandler
  ) throws -> [Attachment] {
    try zip(model.adapters(of: files, progress: progress), loras).map { adapter, lora in
      try Attachment(adapter, weight: combination == .weights ? lora.weight : 1, to: model.projections)
    }
  }

  private var isFile: Bool { output.lowercased().hasSuffix(".png") }

  private var request: TextToImage {
    TextToImage(
      prompts: prompts, negativePrompt: negativePrompt, sampler: sampler, steps: steps, guidance: guidance,
      guidanceRescale: guidanceRescale ?? 0, width: size.width, height: size.height, seed: seed, count: count)
  }

  private func file(_ picture: Int) -> String {
    isFile ? output : "\(Paths.tidied(output))/\(String(format: "%04d", picture + 1))-seed\(request.source(picture).seed).png"
  }
}
