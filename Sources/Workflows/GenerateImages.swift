public import Diffusion
internal import Foundation
internal import Images
internal import LoRA
internal import Torch
public import Training

/// `ziplora generate`: pictures of prompts, with any number of LoRAs.
public struct GenerateImages: Workflow {
  public static let name = "generate"

  public var base: BaseModel
  public var prompts: [String]
  public var negativePrompt: String?
  public var loras: [WeightedFile]
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
    sampler: Sampler = .euler, steps: Int = 50, guidance: Double = 5, size: PictureSize = .init(), seed: UInt64 = 0,
    count: Int = 1, output: String, overwrite: Bool = false
  ) {
    self.base = base
    self.prompts = prompts
    self.negativePrompt = negativePrompt
    self.loras = loras
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
    try attach(adapters, to: model)

    var timer = StepTimer()
    for (index, file) in files.enumerated() {
      let request = request(index)
      let image = try withoutActuallyEscaping(progress) { progress in
        let pictures = try request.generate(with: model) { state in
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

  private func attach(_ files: [AdapterFile], to model: DiffusionModel) throws {
    let projections = model.projections
    for (file, lora) in zip(files, loras) {
      try Attachment(try file.adapter(for: projections), weight: lora.weight, to: projections).attach()
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
