internal import Diffusion
internal import LoRA
internal import Merging
internal import Training

extension DiffusionModel {
  /// LoRAs as they are for this model; what reading them has lost is told.
  ///
  /// - Throws: `AdapterFileError` with everything that does not fit.
  func adapters(of files: [AdapterFile], progress: ProgressHandler) throws -> [Adapter] {
    let projections = projections
    let names = ModuleNames(projections)
    let readings = try files.map { try $0.reading(for: names, weights: projections) }
    ProgressReport.losses(of: readings, from: files, to: progress)
    return readings.map(\.adapter)
  }
}

extension Array<MergeInput> {
  /// LoRAs under the names of their files.
  init(files: [AdapterFile], adapters: [Adapter], weights: [Double]) {
    self = zip(zip(AdapterFiles.names(of: files), adapters), weights).map { MergeInput($0.0, $0.1, weight: $1) }
  }
}
