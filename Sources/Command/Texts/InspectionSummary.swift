internal import LoRA
internal import Workflows

extension InspectAdapters.Outcome {
  /// What a person wants to know about the files.
  var summary: String {
    (files.map(\.summary) + [similarity?.summary].compactMap { $0 }).joined(separator: "\n\n")
  }
}

extension Inspection {
  fileprivate var summary: String {
    func counts(_ counts: [Count]) -> String {
      guard counts.count > 1 else { return counts.first?.value.short ?? "" }
      let shown = counts.prefix(8).map { "\($0.value.short) (\($0.layers) layers)" }
      let rest = counts.count - shown.count
      return (shown + (rest > 0 ? ["\(rest) more up to \(counts.last!.value.short)"] : [])).joined(separator: ", ")
    }
    let facts = [
      ("dialect", dialect), ("layers", "\(layers), \(dtype)"),
      ("form", forms.map { forms.count == 1 ? $0.name : "\($0.name) (\($0.layers) layers)" }.joined(separator: ", ")),
      ("scope", scope.map { "\($0.kind.rawValue) \($0.layers)" }.joined(separator: ", ")), ("rank", counts(ranks)),
      ("alpha", counts(alphas)), ("made for", baseFamily ?? "a base that the layers do not tell"), ("norm", norm?.short ?? ""),
    ]
    let head = facts.filter { !$0.1.isEmpty }.map { name, value in
      name + String(repeating: " ", count: 10 - name.count) + value
    }
    let table = TextTable(
      rows: [["block", "layers"] + (norm == nil ? [] : ["norm"])]
        + blocks.map { [$0.name, "\($0.layers)"] + ($0.norm.map { [$0.short] } ?? []) })
    let sections = [
      head, table.lines,
      section("trigger words", triggers.map { Self.shortened($0.text) + ($0.count.map { " (\($0) captions)" } ?? "") }),
      section("training", training.map { "\($0.key.printable): \(Self.shortened($0.value))" }),
      section("metadata", metadata.map { "\($0.key.printable): \(Self.shortened($0.value))" }),
      section("problems", problems),
    ]
    let body = sections.filter { !$0.isEmpty }.map { $0.map { "  \($0)" }.joined(separator: "\n") }
    return "\(file)\n" + body.joined(separator: "\n\n")
  }

  private func section(_ title: String, _ lines: [String]) -> [String] {
    lines.isEmpty ? [] : [title] + lines.map { "  " + $0.replacing("\n", with: "\n    ") }
  }

  private static func shortened(_ value: String) -> String {
    let line = value.printable.replacing(/\s+/, with: " ")
    return line.count > 90 ? line.prefix(90) + "…" : line
  }
}

extension InspectAdapters.Similarity {
  fileprivate var summary: String {
    guard !layers.isEmpty else { return "The files have no layer in common." }
    func cells(_ row: Row) -> [String] { [row.name, "\(row.layers)", row.meanCosine.short, row.overlap.short] }
    let table = TextTable(rows: [["shared layers, by block", "layers", "mean |cosine|", "overlap"]] + blocks.map(cells))
    let count = Double(layers.count)
    let cosine = layers.map(\.meanCosine).reduce(0, +) / count
    let overlap = layers.map(\.overlap).reduce(0, +) / count
    return table.lines.joined(separator: "\n")
      + """
      \n
      \(layers.count) shared layers (\(alone[0]) and \(alone[1]) in one file only): mean |cosine| of columns \(cosine.short), \
      overlap (cosines weighted by size) \(overlap.short)
      """
  }
}
