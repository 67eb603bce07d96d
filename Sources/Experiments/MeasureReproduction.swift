internal import Diffusion
internal import LoRA
internal import Merging
internal import SafeTensors
internal import Training
internal import Workflows

/// How well merged LoRAs do what each does alone (`Reproduction`), on its training pictures with noise of its own.
struct MeasureReproduction: Workflow {
  static let name = "reproduction"

  var base: BaseModel
  /// Each with its pictures and prompt.
  var subject: ZipAdapters.Side
  var style: ZipAdapters.Side
  /// What is asked; none is the base alone.
  var merged: [WeightedFile]
  var combination: LoRACombination
  var size: PictureSize
  /// Inputs of each LoRA, of `batch` noisy pictures each.
  var draws: Int
  var batch: Int
  var seed: UInt64
  /// A JSON file.
  var output: String

  func validate() throws {
    try base.validate()
    for side in [subject, style] where side.images == nil {
      throw SettingError("\(side.lora.path): expected the pictures that it was trained on")
    }
    try Demand.atLeast(1, draws, "draws")
    try Demand.atLeast(1, batch, "batch", atMost: 65_536)
  }

  func perform(progress: ProgressHandler) throws -> Reproduction {
    let began = ContinuousClock.now
    let base = try base.locate(progress: progress)
    let model = try base.load()
    let sources = try [subject, style].map { try ZipAdapters.Source($0, promptOption: "prompt") }
    let inputs = try FileDigest.ofInputs(base.files + merged.map(\.path), progress: progress) + sources.flatMap(\.inputs)
    func adapter(_ file: WeightedFile, weight: Double? = nil) throws -> Adapter {
      try AdapterFile(path: file.path).adapter(for: model.projections).scaled(by: weight ?? file.weight)
    }
    let shares = combination.shares(of: merged.map(\.weight))
    let caches = try sources.map { try $0.pictures!.cache(model, size, progress: progress) }
    let asked = try merged.map { try adapter($0, weight: shares == nil ? nil : 1) }
    let loras = try [subject, style].map { try adapter($0.lora) }
    let adaptsText = (asked + loras).contains(where: \.adaptsText)
    let probe = try DiffusionProbe(caches, model: model, adaptsText: adaptsText, batch: batch)
    let result: Reproduction
    do {
      var timer = StepTimer()
      result = try Reproduction(of: asked, shares: shares, loras: loras, probe: probe, draws: draws, seed: seed) { done, total in
        timer.tick()
        let report = ProgressReport(
          phase: "comparing predictions", step: done, total: total, secondsPerStep: timer.secondsPerStep)
        try report.send(to: progress)
      }
    } catch MergeError.changesNothing(let index) {
      let side = [subject, style][index]
      throw SettingError(
        """
        \(side.lora.path): changes nothing of what the base predicts for \(side.images ?? ""), so that nothing of it can be reproduced; \
        train it for more steps or with a larger learning-rate (training.\(Experiment.Role.allCases[index].rawValue))
        """)
    }
    try AtomicFile.write(JSONText.pretty(result) + "\n", to: output, overwrite: true)
    try RunRecord(self, inputs: inputs, outputs: [output], began: began).write(to: Paths.record(of: output), overwrite: true)
    return result
  }
}
