public import Evaluation
internal import Foundation
internal import Merging
internal import OrderedCollections

/// An experiment's figures: of every row over all pairs, and beside the row that the others are compared with.
public struct ExperimentResults: Codable, Sendable, Equatable {
  /// One score over all pictures and pairs.
  public struct Figure: Codable, Sendable, Equatable {
    /// What was drawn, and what was asked of it.
    public let exhibit: Experiment.Exhibit
    public let measure: String
    public let score: Estimate
    /// What this row has more, picture by picture with the same prompt and seed; nil for the row compared with.
    public let gain: Estimate?
    /// Of the pairs, in their order.
    public let byPair: [Double]
    public let gainByPair: [Double]

    public var name: String {
      switch exhibit {
      case .styled: measure
      case .reproduction: "\(measure) error"
      default: "\(measure) (\(exhibit.rawValue))"
      }
    }

    /// Whether the gain is one, beyond doubt; nil where it may be chance.
    public var isBetter: Bool? {
      guard let gain, gain.excludesZero else { return nil }
      return (gain.mean > 0) != (exhibit == .reproduction)
    }
  }

  public struct Row: Codable, Sendable, Equatable {
    public let name: String
    public let figures: [Figure]
  }

  public let pairs: [String]
  public let reference: String
  public let rows: [Row]

  init(
    _ experiment: Experiment, scores: (Experiment.Row, Experiment.Pair) throws -> ExperimentScores
  ) throws {
    let pairs = try experiment.allPairs
    let all = try experiment.rows.map { row in try pairs.map { try scores(row, $0) } }
    let reference = experiment.rows.firstIndex { $0.name == experiment.reference }!
    self.pairs = pairs.map(\.name)
    self.reference = experiment.reference
    rows = experiment.rows.indices.map { row in
      let figures = Experiment.Exhibit.allCases.flatMap { exhibit in
        ["subject", "style", "context"].compactMap { measure -> Figure? in
          func values(_ row: Int) -> [[Double]] { all[row].compactMap { $0[exhibit, measure] } }
          let (these, those) = (values(row), values(reference))
          guard !these.isEmpty else { return nil }
          let gains = zip(these, those).map { zip($0, $1).map { $0 - $1 } }
          func means(_ groups: [[Double]]) -> [Double] { groups.map { $0.reduce(0, +) / Double($0.count) } }
          return Figure(
            exhibit: exhibit, measure: measure, score: Estimate(ofGroups: these),
            gain: row == reference ? nil : Estimate(ofGroups: gains), byPair: means(these), gainByPair: means(gains))
        }
      }
      return Row(name: experiment.rows[row].name, figures: figures)
    }
  }

  /// Of the figures' columns.
  public var columns: [String] { rows.first?.figures.map(\.name) ?? [] }

  /// The scores and gains as tables.
  public var markdown: String {
    func table(_ cell: (Figure) -> String) -> String {
      let head = "| | \(columns.joined(separator: " | ")) |\n|---|\(columns.map { _ in "---|" }.joined())"
      let lines = rows.map { "| \($0.name) | \($0.figures.map(cell).joined(separator: " | ")) |" }
      return ([head] + lines).joined(separator: "\n")
    }
    return """
      \(pairs.count) pairs, means with 95 % intervals (bootstrap over pairs and pictures). 1 is as good as the truth; errors are
      distances from what each LoRA alone predicts, 1 as far as the base without it.

      \(table(\.score.description))

      What each has more than "\(reference)", by pictures with the same prompt and seed, and in how many of the pairs:

      \(table { figure in
        guard let gain = figure.gain else { return "" }
        return "\(gain.signed), \(figure.gainByPair.count { $0 > 0 })/\(pairs.count)"
      })

      """
  }
}

extension ExperimentScores {
  /// What the jobs of one row and pair have found.
  init(in folder: String) throws {
    func read<Value: Decodable>(_ name: String, as: Value.Type) throws -> Value {
      try JSONDecoder().decode(Value.self, from: Data(contentsOf: URL(filePath: "\(folder)/\(name)")))
    }
    self = try read("scores.json", as: ExperimentScores.self)
    let errors = try read("reproduction.json", as: Reproduction.self).errors
    (self[.reproduction, "subject"], self[.reproduction, "style"]) = ([errors[0]], [errors[1]])
  }
}
