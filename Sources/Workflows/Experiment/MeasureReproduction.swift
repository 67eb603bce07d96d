internal import Diffusion
internal import LoRA
public import Merging
internal import SafeTensors
public import Training

/// How well merged LoRAs do what each does alone (`Reproduction`), on its training pictures with noise of its own.
public struct MeasureReproduction: Workflow {
  public static let name = "reproduction"

  public var base: BaseModel
  /// Each with its pictures and prompt.
  public var subject: ZipAdapters.Side
  public var style: ZipAdapters.Side
  /// What is asked; none is the base alone.
  public var merged: [WeightedFile]
  public var combination: LoRACombination
  /// Inputs of each LoRA, of `batch` noisy pictures each.
  public var draws: Int
  public var batch: Int
  public var seed: UInt64
  /// A JSON file.
  public var output: String

  public func validate() throws {
    try base.validate()
    for side in [subject, style] where side.images == nil {
      throw SettingError("\(side.lora.path): expected the pictures that it was trained on")
    }
    try Demand.atLeast(1, draws, "draws")
    try Demand.atLeast(1, batch, "batch")
  }

  public func run(progress: ProgressHandler) throws -> Reproduction {
    try validate()
    let began = ContinuousClock.now
    let base = try base.locate(progress: progress)
    let model = try base.load()
    let sources = try [subject, style].map { try ZipAdapters.Source($0, promptOption: "prompt") }
    func adapter(_ file: WeightedFile, weight: Double? = nil) throws -> Adapter {
      try AdapterFile(path: file.path).adapter(for: model.projections).scaled(by: weight ?? file.weight)
    }
    let shares = combination.shares(of: merged.map(\.weight))
    let caches = try sources.map { try $0.pictures!.cache(model, PictureSize()) }
    let probe = try DiffusionProbe(caches, model: model, adaptsText: false, batch: batch)
    let result = try Reproduction(
      of: merged.map { try adapter($0, weight: shares == nil ? nil : 1) }, shares: shares,
      loras: [subject, style].map { try adapter($0.lora) }, probe: probe, draws: draws, seed: seed)
    try AtomicFile.write(JSON.text(result) + "\n", to: output, overwrite: true)
    let inputs = base.files + ([subject.lora, style.lora] + merged).map(\.path) + sources.flatMap { $0.pictures!.files }
    try RunRecord(self, inputs: inputs, outputs: [output], began: began).write(to: Paths.record(of: output), overwrite: true)
    return result
  }
}
