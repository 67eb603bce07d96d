internal import Evaluation
internal import Foundation
internal import Images
internal import Merging
internal import SafeTensors
internal import Workflows

/// An experiment on one page and in one picture, made of its results and pictures alone.
struct ExperimentReport {
  let experiment: Experiment
  let results: ExperimentResults
  let output: String
  /// Pictures of each row and pair that are shown.
  private let shown = 3

  func write(page: String, grid path: String) throws {
    try AtomicFile.write(try html(), to: page, overwrite: true)
    try grid().write(to: path, overwrite: true)
  }

  private func html() throws -> String {
    """
    <!doctype html>
    <html lang="en"><head><meta charset="utf-8"><title>ziplora experiment</title>
    <style>
    body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
    table { border-collapse: collapse; margin: 1rem 0 } .scroll { overflow-x: auto }
    th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
    th:first-child { text-align: left } .better { color: #15803d } .worse { color: #b91c1c }
    img { image-rendering: pixelated; margin: 1px } .pictures td { text-align: left }
    </style></head><body>
    <h1>\(results.pairs.count.counted("pair")), \(results.rows.count.counted("way"))</h1>
    <p>Columns without brackets are of “a sbu X in szn style”, \(experiment.pictures.counted("picture")) of each pair; the rest of
    \(experiment.otherPictures.counted("picture")) of each prompt. \(results.scale) Means with 95 % intervals (bootstrap over pairs and
    pictures). Errors are distances from what each LoRA alone predicts for its noisy pictures: 1 is as far as the base without
    it.</p>
    \(table { "<td>\($0.score)</td>" })
    <h2>Compared with \(escaped(results.reference))</h2>
    <p>By pictures with the same prompt and seed. Coloured where the interval excludes zero; behind it, in how many pairs it
    is better.</p>
    \(table(gain))
    \(results.elsewhere.isEmpty ? "" : "<p>\(results.elsewhere)</p>\n\(table { "<td>\($0.gainElsewhere?.signed ?? "")</td>" })")
    <h2>Subject against style</h2>
    \(scatter())
    <h2>Every pair</h2>
    \(heatMap(results.subjectMeasure))
    \(heatMap(results.styleMeasure))
    \(try overlaps())
    \(agreements())
    <h2>Pictures</h2>
    \(try pictures())
    </body></html>

    """
  }

  private func table(_ cell: (ExperimentResults.Figure) -> String) -> String {
    let head = results.columns.map { "<th>\($0)</th>" }.joined()
    let rows = results.rows.map { row in
      "<tr><th>\(escaped(row.name))</th>\(row.figures.map(cell).joined())</tr>"
    }
    return "<div class=\"scroll\"><table><tr><th></th>\(head)</tr>\n\(rows.joined(separator: "\n"))</table></div>"
  }

  private func gain(_ figure: ExperimentResults.Figure) -> String {
    guard let gain = figure.gain else { return "<td></td>" }
    let color = figure.isBetter.map { $0 ? "better" : "worse" } ?? ""
    return "<td class=\"\(color)\">\(gain.signed) · \(figure.improvedPairs)/\(results.pairs.count)</td>"
  }

  private func styled(_ row: ExperimentResults.Row, _ measure: String) -> ExperimentResults.Figure? {
    row.figures.first { $0.exhibit == .styled && $0.measure == measure }
  }

  /// Each row as a point with the intervals of both scores.
  private func scatter() -> String {
    let (width, height, margin) = (720.0, 480.0, 40.0)
    func x(_ value: Double) -> Double { margin + (width - 2 * margin) * min(max(value, 0), 1.1) / 1.1 }
    func y(_ value: Double) -> Double { height - margin - (height - 2 * margin) * min(max(value, 0), 1.1) / 1.1 }
    func line(_ from: (Double, Double), _ to: (Double, Double), _ color: String) -> String {
      String(
        format: "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%@\"/>", from.0, from.1, to.0, to.1, color)
    }
    let points = results.rows.enumerated().compactMap { index, row -> String? in
      guard let subject = styled(row, results.subjectMeasure)?.score,
        let style = styled(row, results.styleMeasure)?.score
      else { return nil }
      let color = "hsl(\(index * 360 / results.rows.count) 70% 40%)"
      let (px, py) = (x(subject.mean), y(style.mean))
      return line((x(subject.low), py), (x(subject.high), py), color) + line((px, y(style.low)), (px, y(style.high)), color)
        + String(format: "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%@\"/>", px, py, color)
        + String(format: "<text x=\"%.1f\" y=\"%.1f\" font-size=\"12\" fill=\"%@\">", px + 6, py - 6, color)
        + "\(escaped(row.name))</text>"
    }
    let axes =
      line((x(0), y(0)), (x(1.1), y(0)), "#999") + line((x(0), y(0)), (x(0), y(1.1)), "#999")
      + "<text x=\"\(width / 2)\" y=\"\(height - 8)\">subject</text><text x=\"4\" y=\"\(margin - 12)\">style</text>"
    return """
      <svg viewBox="0 0 \(Int(width)) \(Int(height))" width="\(Int(width))" role="img">\(axes)\(points.joined())</svg>
      """
  }

  private func heatMap(_ measure: String) -> String {
    guard results.rows.contains(where: { styled($0, measure) != nil }) else { return "" }
    let head = results.pairs.map { "<th>\(escaped($0))</th>" }.joined()
    let rows = results.rows.map { row in
      let cells = (styled(row, measure)?.byPair ?? []).map { value in
        let lightness = Int(95 - 45 * min(max(value, 0), 1))
        return "<td style=\"background: hsl(140 50% \(lightness)%)\">\(String(format: "%.2f", value))</td>"
      }
      return "<tr><th>\(escaped(row.name))</th>\(cells.joined())</tr>"
    }
    return """
      <h3>\(measure)</h3>
      <div class="scroll"><table><tr><th></th>\(head)</tr>
      \(rows.joined(separator: "\n"))</table></div>
      """
  }

  /// The paper's third observation, layer by layer: how much the columns of both LoRAs stand in each other's way, and what zipping
  /// leaves of that. Means over pairs; empty where nothing was zipped.
  private func overlaps() throws -> String {
    let pairs = try experiment.allPairs
    let drawings = try experiment.rows.filter { $0.zip != nil }.map { row in
      let reports = try pairs.map { pair in
        let merged = AdapterOutput("\(ExperimentPlan.folder(row, of: pair, in: output))/merged.safetensors")
        return try JSONDecoder().decode(MergeReport.self, from: Data(contentsOf: URL(filePath: merged.reportPath)))
      }
      func means(_ figure: (MergeReport.Layer) -> Double) -> [Double] {
        (0..<(reports.map(\.layers.count).min() ?? 0)).map { layer in
          reports.reduce(0) { $0 + figure($1.layers[layer]) } / Double(reports.count)
        }
      }
      return "<h3>\(escaped(row.name))</h3>"
        + curves([("before", "#999", means(\.before.overlap)), ("after", "#15803d", means(\.overlapAfter))])
    }
    guard !drawings.isEmpty else { return "" }
    return """
      <h2>Overlap of the LoRAs' columns</h2>
      <p>Σ |⟨a, b⟩| / Σ ‖a‖ ‖b‖ over the columns a, b of a layer, mean over pairs; layers from the first to the last.</p>
      \(drawings.joined(separator: "\n"))
      """
  }

  private func agreements() -> String {
    guard !results.agreements.isEmpty else { return "" }
    let rows = results.agreements.map {
      "<tr><th>\($0.score)</th><td>\($0.truth)</td><td>\($0.correlation)</td></tr>"
    }
    return """
      <h2>Encoders against the truth</h2>
      <p>Whether an encoder's score puts the styled pictures of a pair in the order in which the oracle puts them: Spearman's rank
      correlation, mean over pairs.</p>
      <table><tr><th>score</th><th>truth</th><th>agreement</th></tr>
      \(rows.joined(separator: "\n"))</table>
      """
  }

  /// Lines over the layers, each from its name to its numbers.
  private func curves(_ lines: [(name: String, color: String, values: [Double])]) -> String {
    let (width, height, margin) = (720.0, 200.0, 30.0)
    let top = max(lines.flatMap(\.values).max() ?? 1, 1e-9)
    let drawn = lines.enumerated().map { index, line in
      let points = line.values.enumerated().map { place, value in
        let x = margin + (width - 2 * margin) * Double(place) / Double(max(line.values.count - 1, 1))
        return String(format: "%.1f,%.1f", x, height - margin - (height - 2 * margin) * value / top)
      }
      return """
        <polyline points="\(points.joined(separator: " "))" fill="none" stroke="\(line.color)"/>\
        <text x="\(margin + 80 * Double(index))" y="14" font-size="12" fill="\(line.color)">\(line.name)</text>
        """
    }
    return """
      <svg viewBox="0 0 \(Int(width)) \(Int(height))" width="\(Int(width))" role="img">\(drawn.joined())\
      <text x="0" y="\(margin)" font-size="12">\(String(format: "%.2f", top))</text>\
      <text x="0" y="\(height - margin)" font-size="12">0</text></svg>
      """
  }

  /// Each pair as a row: a picture of the subject, one of the style, and the first one that each way has drawn.
  private func grid() throws -> Image {
    let rows = try experiment.allPairs.map { pair in
      let given = try [pair.subject, pair.style].map { material in
        try PictureSource(material.images, prompt: material.prompt).load(promptOption: "prompt").images.first.map(small)
      }
      let drawn = try experiment.rows.map { row in
        try styledPictures(row, of: pair).first.map { small(try Image(contentsOf: $0)) }
      }
      return given + drawn
    }
    let side = rows.joined().compactMap { $0.map { max($0.width, $0.height) } }.max() ?? 1
    // Large enough to look at, small enough for many.
    let magnification = max(1, 128 / side)
    return ContactSheet(
      columnLabels: ["subject", "style"] + experiment.rows.map(\.name),
      rowLabels: try experiment.allPairs.map { "\($0.subject.name), \($0.style.name)" },
      rows: rows.map { $0.map { ContactSheet.Cell($0) } }, magnification: magnification
    ).image()
  }

  /// Large enough to look at; a page of many pictures of SDXL's size would be gigabytes.
  private func small(_ image: Image) -> Image {
    let factor = min(1, 256 / Double(max(image.width, image.height)))
    func scaled(_ length: Int) -> Int { max(1, Int((Double(length) * factor).rounded())) }
    return factor == 1 ? image : image.resized(width: scaled(image.width), height: scaled(image.height))
  }

  private func styledPictures(_ row: Experiment.Row, of pair: Experiment.Pair) throws -> [String] {
    let folder = "\(ExperimentPlan.folder(row, of: pair, in: output))/\(Experiment.Exhibit.styled.rawValue)"
    return try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".png") }.sorted()
      .map { "\(folder)/\($0)" }
  }

  private func pictures() throws -> String {
    let pairs = try experiment.allPairs
    let head = pairs.map { "<th>\(escaped($0.name))</th>" }.joined()
    let rows = try experiment.rows.map { row in
      let cells = try pairs.map { pair in
        let images = try styledPictures(row, of: pair).prefix(shown).map { path in
          let data = Data(try small(Image(contentsOf: path)).png()).base64EncodedString()
          return "<img width=\"64\" src=\"data:image/png;base64,\(data)\" alt=\"\">"
        }
        return "<td>\(images.joined())</td>"
      }
      return "<tr><th>\(escaped(row.name))</th>\(cells.joined())</tr>"
    }
    return """
      <div class="scroll"><table class="pictures"><tr><th></th>\(head)</tr>
      \(rows.joined(separator: "\n"))</table></div>
      """
  }

  private func escaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;")
  }
}
