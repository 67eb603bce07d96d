public import Diffusion
internal import Foundation
internal import Images
internal import LoRA
internal import Torch
public import Training

/// How several LoRAs act at once.
public enum LoRACombination: String, Codable, Sendable, CaseIterable {
  /// Their changes of the weights are added up, each times its weight.
  case weights
  /// Each acts alone, and what the model predicts with each is mixed in proportion to the weights (`VariantMixture`).
  case predictions

  func validate(_ loras: [WeightedFile]) throws {
    guard self == .predictions else { return }
    let shares = loras.map(\.weight)
    guard loras.count >= 2, shares.allSatisfy({ $0 >= 0 }), shares.reduce(0, +) > 0 else {
      throw SettingError(
        "--combine predictions: found \(loras.count) LoRAs of weights \(shares); expected two or more, of weights from 0 on, not all 0"
      )
    }
  }
}

/// The model with one LoRA.
private struct LoRAVariant: ModelVariant {
  private let attachment: Attachment
  let share: Double

  init(_ attachment: Attachment, share: Double) {
    self.attachment = attachment
    self.share = share
  }

  func apply<Result>(_ body: () throws -> Result) rethrows -> Result { try attachment.whileAttached(body) }
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
  public var size: PictureSize
  /// Of the first picture of each prompt; the next one has the next seed.
  public var seed: UInt64
  /// Pictures of each prompt.
  public var count: Int
  /// `FILE.png` for one picture, else a folder.
  public var output: String
  public var overwrite: Bool

  public init(
    base: BaseModel, prompts: [String], negativePrompt: String? = nil, loras: [WeightedFile] = [],
    combination: LoRACombination = .weights, sampler: Sampler = .euler, steps: Int = 50, guidance: Double = 5,
    size: PictureSize = .init(), seed: UInt64 = 0,
    count: Int = 1, output: String, overwrite: Bool = false
  ) {
    self.base = base
    self.prompts = prompts
    self.negativePrompt = negativePrompt
    self.loras = loras
    self.combination = combination
    self.sampler = sampler
    self.steps = steps
    self.guidance = guidance
    self.size = size
    self.seed = seed
    self.count = count
    self.output = output
    self.overwrite = overwrite
  }

  public func validate() throws {
    try base.validate()
    try size.validate()
    for lora in loras { try lora.validate() }
    guard !prompts.isEmpty else { throw SettingError("--prompt is missing; expected at least one") }
    try combination.validate(loras)
    try Demand.atLeast(1, steps, "steps")
    try Demand.notNegative(guidance, "guidance")
    try Demand.atLeast(1, count, "count")
    guard pictureCount == 1 || !isFile else {
      throw SettingError("--output \(output): \(pictureCount) pictures do not fit in one file; name a folder")
    }
  }

  /// - Returns: the paths of the pictures.
  public func run(progress: ProgressHandler) throws -> [String] {
    try validate()
    let began = ContinuousClock.now
    if !isFile { try Paths.makeFolder(output) }
    let record = isFile ? Paths.record(of: output) : "\(output)/run.json"
    let files = (0..<pictureCount).map(file)
    try Paths.checkWritable(files + [record], overwrite: overwrite)
    let adapters = try loras.map { try AdapterFile(path: $0.path) }
    let metadata = try PictureMetadata(self)
    let base = try base.locate(progress: progress)
    let model = try base.load()
    let texts = prompts + (negativePrompt.map { [$0] } ?? [])
    if let warning = ProgressReport.overflow(of: texts, in: model) { _ = progress(warning) }
    let attachments = try attachments(of: adapters, to: model)
    let variants = combination == .predictions ? zip(attachments, loras).map { LoRAVariant($0, share: $1.weight) } : []
    if variants.isEmpty { for attachment in attachments { attachment.attach() } }

    var timer = StepTimer()
    for (index, file) in files.enumerated() {
      let request = request(index)
      let image = try withoutActuallyEscaping(progress) { progress in
        let pictures = try request.generate(with: model, variants: variants) { state in
          if state.step > 0 { timer.tick() }
          let report = ProgressReport(
            phase: "generating", step: index * steps + state.step, total: pictureCount * steps,
            secondsPerStep: timer.secondsPerStep)
          // The last picture is made by then, and only has to be decoded.
          guard progress(report) || report.step == report.total else {
            throw Interrupted(phase: report.phase, step: report.step, state: nil)
          }
        }
        return Image(pictures[0])
      }
      try image.write(to: file, text: metadata.texts(of: request, image), overwrite: overwrite)
    }
    try RunRecord(self, inputs: base.files + loras.map(\.path), outputs: files, began: began)
      .write(to: record, overwrite: overwrite)
    return files
  }

  private func attachments(of files: [AdapterFile], to model: DiffusionModel) throws -> [Attachment] {
    let projections = model.projections
    return try zip(files, loras).map { file, lora in
      let weight = combination == .weights ? lora.weight : 1
      return try Attachment(try file.adapter(for: projections), weight: weight, to: projections)
    }
  }

  private var pictureCount: Int { prompts.count * count }
  private var isFile: Bool { output.lowercased().hasSuffix(".png") }

  /// One picture at a time: memory for one, and none that depends on how many there are.
  private func request(_ index: Int) -> TextToImage {
    TextToImage(
      prompts: [prompts[index / count]], negativePrompt: negativePrompt, sampler: sampler, steps: steps,
      guidance: guidance, width: size.width, height: size.height, seed: seed &+ UInt64(index % count))
  }

  private func file(_ index: Int) -> String {
    isFile ? output : "\(output)/\(String(format: "%04d", index + 1))-seed\(request(index).seed).png"
  }
}
