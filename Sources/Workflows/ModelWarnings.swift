internal import Diffusion
internal import Training

extension ProgressReport {
  /// Warns of the ends of prompts that the model cannot read; nil where all fit.
  static func overflow(of prompts: some Sequence<String>, in model: DiffusionModel) -> ProgressReport? {
    let warnings = prompts.compactMap { prompt in
      model.overflow(of: prompt).map {
        "the prompt is too long for the text encoders; they do not read its end: \"\($0)\" (--text-parts \(model.textParts + 1) reads more)"
      }
    }
    return warnings.isEmpty ? nil : ProgressReport(phase: "reading prompts", step: 1, total: 1, warnings: warnings)
  }

  /// Warns of a base that wants a sampler which is not among those here.
  static func foreignSampler(of model: DiffusionModel) -> ProgressReport? {
    let schedule = model.schedule.configuration
    guard schedule.isConsistencyModel else { return nil }
    let warning =
      "the base was distilled for \(schedule.className), which is not among the samplers; its pictures are better elsewhere"
    return ProgressReport(phase: "reading the base", step: 1, total: 1, warnings: [warning])
  }
}
