internal import Merging
internal import Workflows

extension MergeAdapters.Outcome {
  /// What a person wants to know after a merge.
  var summary: String {
    let inputs = TextTable(
      rows: [["LoRA", "weight", "layers", "norm"]]
        + report.inputs.map { [$0.name, $0.weight.short, "\($0.layers)", $0.norm.short] })
    let settings = (report.settings ?? [:]).sorted { $0.key < $1.key }.map { ", \($0.key) \($0.value.short)" }
    var lines = ["method  \(report.method)\(settings.joined())", ""] + inputs.lines + [""]
    // The direct merge has coefficients of one.
    let shared = report.merged.count + report.layers.count + report.summed.count
    let dropped = report.dropped.isEmpty ? "" : ", \(report.dropped.count) left out"
    lines.append("\(shared) shared layers merged, \(report.alone.count) in one LoRA only\(dropped)")
    if let worst = report.merged.max(by: { $0.discardedEnergy < $1.discardedEnergy }), worst.discardedEnergy > 1e-6 {
      let mean = report.merged.map(\.discardedEnergy).reduce(0, +) / Double(report.merged.count)
      lines.append(
        """
        discarded by going back to a low rank: \((100 * mean).short) % of ‖ΔW‖² on average, at most \
        \((100 * worst.discardedEnergy).short) % (\(worst.path))
        """)
    }
    let switches = report.merged.compactMap(\.switchPoint)
    if !switches.isEmpty {
      lines.append("\(switches.count { $0 > 0.5 }) layers have the subject, \(switches.count { $0 <= 0.5 }) the style")
    }
    return (lines + ["", "LoRA    \(lora)", "report  \(reportFile)"]).joined(separator: "\n")
  }
}

extension ReweightAdapter.Outcome {
  var summary: String {
    var lines: [String] = []
    if !inputs.isEmpty {
      lines +=
        TextTable(rows: [["LoRA", "weight before", "now"]] + inputs.map { [$0.name, $0.before.short, $0.now.short] }).lines
      lines.append("")
    }
    if !layers.isEmpty {
      let rows = layers.map { [$0.weight.part, "\($0.count)", $0.weight.weight.short] }
      lines += TextTable(rows: [["layers under", "number", "times"]] + rows).lines + [""]
    }
    return (lines + [lora]).joined(separator: "\n")
  }
}
