internal import Evaluation
internal import Foundation
internal import Images
internal import OrderedCollections
internal import SafeTensors
internal import Torch
internal import Toybox
internal import Training
internal import Workflows

/// What the demo leaves to look at: grid.png, results.json and one HTML page that holds everything.
struct DemoReport {
  let demo: Demo
  let results: DemoResults
  let sheets: OrderedDictionary<String, DemoExam.Sheet>
  let exam: DemoExam
  let inputs: (subject: [Image], style: [Image])

  /// Pictures in the style in each row of the grid.
  static let styledShown = 6

  func write(to folder: String) throws {
    let grid = grid().image()
    try grid.write(
      to: "\(folder)/grid.png", text: [("prompt", exam.styledPrompt), ("seed", "\(demo.seed)")], overwrite: true)
    try AtomicFile.write(results.json(), to: "\(folder)/results.json", overwrite: true)
    try AtomicFile.write(try html(grid), to: "\(folder)/report.html", overwrite: true)
  }

  /// Truth and models as rows; the styled pictures, then one in each place.
  private func grid() -> ContactSheet {
    func cells(_ styled: Tensor, _ placed: Tensor) -> [ContactSheet.Cell] {
      let perPlace = placed.dim(0) / DemoExam.contexts.count
      let shown = (0..<Self.styledShown).map { styled[$0] } + DemoExam.contexts.indices.map { placed[$0 * perPlace] }
      return shown.map { ContactSheet.Cell(Image($0)) }
    }
    func renders(_ scenes: [Scene]) -> Tensor { renderBatch(scenes).to(dtype: .float32) / 255 }
    var rows = [cells(renders(exam.styledTruth), renders(exam.placedTruth))]
    rows += sheets.values.map { cells($0.styled, $0.placed) }
    let columns = (1...Self.styledShown).map { "in szn style \($0)" } + DemoExam.contexts.map(\.rawValue)
    return ContactSheet(
      title: "\(exam.styledPrompt)", columnLabels: columns, rowLabels: ["truth"] + Array(sheets.keys), rows: rows,
      magnification: 2)
  }

  private func html(_ grid: Image) throws -> String {
    let rows = results.rows.map { name, row in
      let cells = row.estimates.map { "<td>\($0)</td>" }.joined()
      return "<tr class=\"\(name == "ziplora" ? "ours" : "")\"><th>\(name)</th>\(cells)</tr>"
    }
    let errors = results.errors.map { name, errors in
      let cells = errors.map { String(format: "<td>%.3f</td>", $0) }.joined()
      return "<tr class=\"\(name == "ziplora" ? "ours" : "")\"><th>\(name)</th>\(cells)</tr>"
    }
    let gain = "<tr><th>gain</th>\(results.gain.estimates.map { "<td>\($0.signed)</td>" }.joined())</tr>"
    let seconds = results.seconds.map { "\($0) \(String(format: "%.0f", $1)) s" }.joined(separator: " · ")
    return """
      <!doctype html>
      <html lang="en"><head><meta charset="utf-8"><title>ZipLoRA demo: \(exam.styledPrompt)</title>
      <style>
      body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
      img { max-width: 100%; image-rendering: pixelated } table { border-collapse: collapse; margin: 1rem 0 }
      th, td { padding: .3rem .9rem; text-align: right; border-bottom: 1px solid #ddd } th:first-child { text-align: left }
      .ours { background: #eaf6ea; font-weight: 600 } .inputs img { margin: 2px } figcaption { color: #555 }
      </style></head><body>
      <h1>\(exam.styledPrompt)</h1>
      <p>Two LoRAs were trained on the Toybox base, one on \(inputs.subject.count) pictures of a subject, one on
      \(inputs.style.count == 1 ? "a single picture" : "\(inputs.style.count) pictures") of a style, and merged in two ways.</p>
      <figure class="inputs">\(try images(inputs.subject))<figcaption>“\(exam.subject.prompt)”</figcaption></figure>
      <figure class="inputs">\(try images(inputs.style))<figcaption>“\(exam.style.prompt)”</figcaption></figure>
      <h2>Fidelity</h2>
      <p>The oracle's mean probability of the true attributes, as a share of what it gives true renders: 1 is as good as
      the truth. Subject and style are read from “\(exam.styledPrompt)” (\(demo.pictures) pictures), context from
      “\(exam.placedPrompts[0])” and the like. Means with their 95 % bootstrap intervals; the gain is ZipLoRA's over the direct
      merge, picture by picture with the same seeds.</p>
      <table><tr><th></th><th>subject</th><th>style</th><th>context</th></tr>
      \(rows.joined(separator: "\n"))
      \(gain)
      </table>
      <h2>Pictures</h2>
      <p>The same seeds in every row; the first row is drawn by the world itself, in poses of its own.</p>
      \(try image(grid, width: grid.width))
      <h2>Zipping</h2>
      <p>How far what each model predicts is from what the subject LoRA alone and the style LoRA alone predict for their own
      pictures and prompts, on noise that zipping has not seen: 0 is the same, 1 as far as the base.</p>
      <table><tr><th></th><th>subject</th><th>style</th></tr>
      \(errors.joined(separator: "\n"))
      </table>
      <p>\(seconds) · seed \(results.seed)</p>
      </body></html>

      """
  }

  private func images(_ pictures: [Image]) throws -> String {
    try pictures.map { try image($0, width: $0.width * 2) }.joined()
  }

  private func image(_ picture: Image, width: Int) throws -> String {
    "<img width=\"\(width)\" src=\"data:image/png;base64,\(Data(try picture.png()).base64EncodedString())\" alt=\"\">"
  }
}
