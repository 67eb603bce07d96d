internal import Diffusion
internal import LoRA
internal import Merging
internal import OrderedCollections
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
    let doubts = files.flatMap(doubts)
    if !doubts.isEmpty { _ = progress(ProgressReport(phase: "reading LoRAs", step: 1, total: 1, warnings: doubts)) }
    return readings.map(\.adapter)
  }

  /// What a LoRA says it was trained with (sd-scripts) and will not meet here.
  private func doubts(about file: AdapterFile) -> [String] {
    var doubts: [String] = []
    // Of SDXL sd-scripts reads one layer whatever it is told, and writes what it was told.
    let isMeant = textEncoders.count == 1 || file.metadata["ziplora.version"] != nil
    if isMeant, let skip = file.metadata["ss_clip_skip"].flatMap(Int.init), max(skip, 1) != clipSkip {
      doubts.append(
        "\(file.path): was trained with clip skip \(skip) (ss_clip_skip), and here it is \(clipSkip), with which it may act otherwise; "
          + "--clip-skip \(max(skip, 1)) is what it was trained with")
    }
    let predictsV =
      file.metadata["ss_v_parameterization"]?.lowercased() == "true"
      || ["v", "v_prediction"].contains(file.metadata["modelspec.prediction_type"])
    if predictsV, schedule.configuration.predictionType != .velocity {
      doubts.append(
        "\(file.path): was trained for a base that predicts v, and this one predicts noise; say so with "
          + "--prediction-type if the base does")
    }
    return doubts
  }
}

extension Array<MergeInput> {
  /// LoRAs under the names of their files.
  init(files: [AdapterFile], adapters: [Adapter], weights: [Double]) {
    self = zip(zip(AdapterFiles.names(of: files), adapters), weights).map { MergeInput($0.0, $0.1, weight: $1) }
  }
}
