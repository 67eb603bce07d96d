public import Evaluation
internal import Foundation
internal import Merging
internal import OrderedCollections
internal import Workflows

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
    /// The gain with subjects and styles resampled in place of pairs, which share them: what may be expected of others. Nil where no
    /// two pairs share any, and where there are but two of either.
    public let gainElsewhere: Estimate?
    /// Of the pairs, in their order.
    public let byPair: [Double]
    public let gainByPair: [Double]

    public var name: String {
      switch exhibit {
      case .styled: measure
      case .placed: measure == "context" ? "place" : "\(measure) in places"
      case .subject: "\(measure), subject's prompt"
      case .style: "\(measure), style's prompt"
      case .reproduction: "\(measure)'s error"
      }
    }

    /// In how many pairs this row is better, by what three decimals show.
    public var improvedPairs: Int { gainByPair.count { (exhibit == .reproduction ? -$0 : $0) >= 0.0005 } }

    /// Whether the interval of the gain excludes zero; nil where it does not, and where pairs are so few that their bootstrap is much too
    /// narrow (of four pairs it excludes a true zero in 17 to 19 % of cases, of two in 29 to 44).
    public var isBetter: Bool? {
      guard let gain, gainByPair.count >= Self.enoughPairs, gain.excludesZero else { return nil }
      return (gain.mean > 0) != (exhibit == .reproduction)
    }

    private static let enoughPairs = 8
  }

  /// Whether a score of an encoder puts styled pictures in the order in which the oracle, who knows the truth, puts them: Spearman's
  /// rank correlation over the pictures of all rows, the mean over pairs.
  public struct Agreement: Codable, Sendable, Equatable {
    public let score: String
    public let truth: String
    public let correlation: Estimate
  }

  public struct Row: Codable, Sendable, Equatable {
    public let name: String
    public let figures: [Figure]
  }

  /// The oracle's, then the encoders'.
  private static let encoderScores = ImageEncoders.all.map(\.score) + [PictureScores.textScore]
  private static let measures = ["subject", "style", "context"] + OrderedSet(encoderScores)

  public let pairs: [String]
  public let reference: String
  public let rows: [Row]
  /// Where both have judged.
  public let agreements: [Agreement]

  /// - Throws: `SettingError` where rows have other numbers of pictures than the one they are compared with; what `scores` throws.
  package init(
    _ experiment: Experiment, scores: (Experiment.Row, Experiment.Pair) throws -> ExperimentScores
  ) throws {
    let pairs = try experiment.allPairs
    let all = try experiment.rows.map { row in try pairs.map { try scores(row, $0) } }
    let reference = experiment.rows.firstIndex { $0.name == experiment.reference }!
    self.pairs = pairs.map(\.name)
    self.reference = experiment.reference
    rows = try experiment.rows.indices.map { row in
      let figures = try Experiment.Exhibit.allCases.flatMap { exhibit in
        try Self.measures.compactMap { measure -> Figure? in
          func values(_ row: Int) -> [[Double]] { all[row].compactMap { $0[exhibit, measure] } }
          let (these, those) = (values(row), values(reference))
          guard !these.isEmpty else { return nil }
          guard these.map(\.count) == those.map(\.count) else {
            throw SettingError(
              "\(experiment.rows[row].title): found other numbers of pictures than \(experiment.rows[reference].title) has "
                + "(\(exhibit.rawValue), \(measure)); run the experiment again")
          }
          let gains = zip(these, those).map { zip($0, $1).map { $0 - $1 } }
          let materials = [pairs.map(\.subject.name), pairs.map(\.style.name)]
          func means(_ groups: [[Double]]) -> [Double] { groups.map { $0.reduce(0, +) / Double($0.count) } }
          return Figure(
            exhibit: exhibit, measure: measure, score: Estimate(ofGroups: these),
            gain: row == reference ? nil : Estimate(ofGroups: gains),
            gainElsewhere: row == reference ? nil : Estimate(ofGroups: gains, sharing: materials), byPair: means(these),
            gainByPair: means(gains))
        }
      }
      return Row(name: experiment.rows[row].name, figures: figures)
    }
    agreements = Self.encoderScores.flatMap { score in
      ["subject", "style"].compactMap { truth -> Agreement? in
        let correlations = pairs.indices.compactMap { pair in
          let scores = all.compactMap { $0[pair][.styled, score] }.flatMap { $0 }
          let truths = all.compactMap { $0[pair][.styled, truth] }.flatMap { $0 }
          return scores.count == truths.count ? rankCorrelation(scores, truths) : nil
        }
        return correlations.isEmpty ? nil : Agreement(score: score, truth: truth, correlation: Estimate(of: correlations))
      }
    }
  }

  /// Of the figures' columns.
  public var columns: [String] { rows.first?.figures.map(\.name) ?? [] }

  /// What is asked of the subject in the styled pictures: by the oracle, or else by an encoder; likewise of the style.
  var subjectMeasure: String { measure("subject", ImageEncoders.vit.score, ImageEncoders.dinov2.score) }
  var styleMeasure: String { measure("style", ImageEncoders.clip.score) }

  private func measure(_ names: String...) -> String { names.first(where: measuresOfPictures.contains) ?? names[0] }

  private var measuresOfPictures: Set<String> {
    Set(rows.flatMap(\.figures).filter { $0.exhibit != .reproduction }.map(\.measure))
  }

  /// What the numbers mean.
  var scale: String {
    let byOracle = "Subject, style and context are shares of what true renders reach: 1 is as good as the truth."
    let byEncoders = "CLIP-I, CLIP-T and DINO are cosines."
    return [
      measuresOfPictures.contains("subject") ? byOracle : nil,
      measuresOfPictures.isDisjoint(with: Self.encoderScores) ? nil : byEncoders,
    ].compactMap { $0 }.joined(separator: " ")
  }

  /// What the second intervals of gains are; empty where there are none.
  var elsewhere: String {
    guard rows.contains(where: { $0.figures.contains { $0.gainElsewhere != nil } }) else { return "" }
    return """
      The same gains with subjects and styles resampled in place of pairs, which share them (pigeonhole bootstrap): what may be
      expected of other subjects and styles.
      """
  }

  /// The scores and gains as tables.
  public var markdown: String {
    func table(_ cell: (Figure) -> String) -> String {
      let head = "| | \(columns.joined(separator: " | ")) |\n|---|\(columns.map { _ in "---|" }.joined())"
      let lines = rows.map { "| \(Self.cell($0.name)) | \($0.figures.map(cell).joined(separator: " | ")) |" }
      return ([head] + lines).joined(separator: "\n")
    }
    return """
      \(pairs.count.counted("pair")), means with 95 % intervals (bootstrap over pairs and pictures). \(scale) Errors are distances from what
      each LoRA alone predicts, 1 as far as the base without it.

      \(table(\.score.description))

      What each has more than "\(reference)", by pictures with the same prompt and seed, and in how many of the pairs it is better:

      \(table { figure in
        guard let gain = figure.gain else { return "" }
        return "\(gain.signed), \(figure.improvedPairs)/\(pairs.count)"
      })
      \(elsewhere.isEmpty ? "" : "\n\(elsewhere)\n\n\(table { $0.gainElsewhere?.signed ?? "" })\n")
      \(agreements.isEmpty ? "" : agreementTable)
      """
  }

  /// A name in a table of Markdown.
  private static func cell(_ name: String) -> String {
    name.replacing("\\", with: "\\\\").replacing("|", with: "\\|").split(whereSeparator: \.isNewline).joined(separator: " ")
  }

  private var agreementTable: String {
    """

    Whether an encoder's score puts the styled pictures of a pair in the order in which the oracle puts them (Spearman's rank
    correlation, mean over pairs):

    | score | truth | agreement |
    |---|---|---|
    \(agreements.map { "| \($0.score) | \($0.truth) | \($0.correlation) |" }.joined(separator: "\n"))

    """
  }
}

extension ExperimentScores {
  /// Where the encoders' scores of one exhibit are.
  static func file(_ exhibit: Experiment.Exhibit, in folder: String) -> String { "\(folder)/\(exhibit.rawValue)-scores.json" }

  /// What the jobs of one row and pair have found.
  init(_ experiment: Experiment, of pair: Experiment.Pair, in folder: String) throws {
    func read<Value: Decodable>(_ file: String, as: Value.Type) throws -> Value {
      try JSONDecoder().decode(Value.self, from: Data(contentsOf: URL(filePath: file)))
    }
    self = experiment.asksOracle ? try read("\(folder)/scores.json", as: ExperimentScores.self) : ExperimentScores()
    for exhibit in Experiment.Exhibit.allCases where !experiment.prompts(exhibit, of: pair).isEmpty {
      let file = Self.file(exhibit, in: folder)
      guard experiment.evaluation(exhibit, of: pair, pictures: folder, json: file) != nil else { continue }
      let found = try read(file, as: PictureScores.self)
      // With the whole prompt, as it is drawn; without rare tokens is in the file.
      for score in found.scores where score.measure != .plainText {
        self[exhibit, score.name] = found.values(score.measure)
      }
    }
    let errors = try read("\(folder)/reproduction.json", as: Reproduction.self).errors
    (self[.reproduction, "subject"], self[.reproduction, "style"]) = ([errors[0]], [errors[1]])
  }
}
