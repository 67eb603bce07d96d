internal import Foundation

/// Columns for the eye: the first flush left, the others flush right, no line ends in spaces.
struct TextTable {
  var rows: [[String]]

  var lines: [String] {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0 }
    return rows.map { row in
      let cells = row.enumerated().map { column, text in
        let space = String(repeating: " ", count: widths[column] - text.count)
        return column == 0 ? text + space : space + text
      }
      return cells.joined(separator: "  ").replacing(/\s+$/, with: "")
    }
  }
}

extension Double {
  /// Four significant digits.
  var short: String { ProgressBar.figure(self) }
}
