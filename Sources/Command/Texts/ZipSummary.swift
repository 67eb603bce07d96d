internal import Merging
internal import Workflows

extension ZipAdapters.Outcome {
  /// What a person wants to know after a zip.
  var summary: String {
    let layers = report.layers
    func mean(_ value: (MergeReport.Layer) -> Double) -> Double { layers.map(value).reduce(0, +) / Double(layers.count) }
    func row(_ name: String, _ value: (Int) -> Double) -> [String] {
      [name] + report.inputs.indices.map { value($0).short }
    }
    var rows = [
      [""] + roles, ["LoRA"] + report.inputs.map(\.name), row("weight") { report.inputs[$0].weight },
      row("mean coefficient") { index in mean { $0.coefficients[index].mean } },
      row("smallest coefficient") { index in layers.map { $0.coefficients[index].min }.min() ?? 1 },
      row("largest coefficient") { index in layers.map { $0.coefficients[index].max }.max() ?? 1 },
    ]
    if let first = report.records.first, let last = report.records.last {
      // Two steps see other noise and timesteps; where draws are fixed, the first ones are asked about once more.
      let (before, after) = report.fidelityAfter == nil ? ("first step", "last step") : ("before the updates", "after them")
      rows.append(row("fidelity term, \(before)") { first.fidelity[$0] })
      rows.append(row("fidelity term, \(after)") { (report.fidelityAfter ?? last.fidelity)[$0] })
    }
    let ending =
      switch report.stop {
      case .similarityGone: "the coefficients are orthogonal"
      case .stalled: "nothing improved any more"
      case .finished, .asked, nil: "all steps done"
      }
    let measures = TextTable(rows: [
      ["", "before", "after"],
      ["overlap of columns", mean(\.before.overlap).short, mean(\.overlapAfter).short],
      ["|cosine| of coefficients", "1", mean { abs($0.coefficientCosine) }.short],
    ])
    let hint = untriedJointPrompt.map { "\n\nnot asked for: a prompt of both, such as --joint-prompt \"\($0)\"" } ?? ""
    return """
      \(TextTable(rows: rows).lines.joined(separator: "\n"))

      \(measures.lines.joined(separator: "\n"))

      \(layers.count) layers zipped, \(report.summed.count) added up, \(report.alone.count) in one LoRA only
      \(report.records.count) steps: \(ending)

      LoRA          \(lora)
      coefficients  \(coefficients)
      report        \(reportFile)\(hint)
      """
  }
}
