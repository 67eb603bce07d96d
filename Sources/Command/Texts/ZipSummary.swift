internal import Merging
internal import Workflows

extension ZipAdapters.Outcome {
  /// What a person wants to know after a zip.
  var summary: String {
    let layers = report.layers
    func mean<Part>(_ parts: [Part], _ value: (Part) -> Double) -> Double? {
      parts.isEmpty ? nil : parts.map(value).reduce(0, +) / Double(parts.count)
    }
    func text(_ number: Double?) -> String { number?.short ?? "-" }
    func row(_ name: String, _ value: (Int) -> Double?) -> [String] { [name] + report.inputs.indices.map { text(value($0)) } }
    // Of several LoRAs, one may lack layers that others share, or all of them.
    let statistics = report.inputs.map { input in layers.compactMap { $0.coefficients(of: input.name) } }
    var rows = [
      [""] + roles, ["LoRA"] + report.inputs.map(\.name), row("weight") { report.inputs[$0].weight },
      row("mean coefficient") { mean(statistics[$0], \.mean) },
      row("smallest coefficient") { statistics[$0].map(\.min).min() },
      row("largest coefficient") { statistics[$0].map(\.max).max() },
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
      ["overlap of columns", text(mean(layers, \.before.overlap)), text(mean(layers, \.overlapAfter))],
      ["|cosine| of coefficients", "1", text(mean(layers) { abs($0.coefficientCosine) })],
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
