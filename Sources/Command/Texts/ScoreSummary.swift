internal import Evaluation
internal import Workflows

extension PictureScores {
  /// The scores, and under them what they depend on.
  var summary: String {
    let rows = scores.map { score in
      [score.title, "\(score.estimate)", "\(pictures.count)", references(score.measure).map { "\($0)" } ?? ""]
    }
    let table = TextTable(rows: [["score", "mean [95 % interval]", "pictures", "references"]] + rows)
    return ([table.lines] + models.map(\.lines)).map { $0.joined(separator: "\n") }.joined(separator: "\n\n")
  }

  private func references(_ measure: Measure) -> Int? {
    switch measure {
    case .style: styleImages.count
    case .subject: subjectImages.count
    case .text, .plainText: nil
    }
  }
}

extension PictureScores.Score {
  fileprivate var title: String {
    switch measure {
    case .style: "\(name) style"
    case .text: "\(name) prompt"
    case .plainText: "\(name) prompt without rare tokens"
    case .subject: "\(name) subject"
    }
  }
}

extension PictureScores.Model {
  fileprivate var lines: [String] {
    ["\(architecture) \(source)", "  \(preprocessing)"] + weights.map { "  \($0.path): sha256 \($0.sha256)" }
  }
}
