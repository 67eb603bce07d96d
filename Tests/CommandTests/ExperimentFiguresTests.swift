import Evaluation
import Experiments
import Foundation
import TestFiles
import Testing
import Workflows

/// Figures of an experiment from scores that are known, number by number.
@Suite struct ExperimentFiguresTests {
  private static let subjects = ["a", "b", "c"]
  private static let styles = ["x", "y", "z"]

  private func experiment() throws -> Experiment {
    let folder = try TemporaryFolder()
    func materials(_ names: [String], _ phrase: String) -> String {
      names.map { "{name: \($0), images: \($0).png, prompt: a sbu \($0), class: a thing\(phrase)}" }.joined(separator: ", ")
    }
    try """
    base: nowhere
    subjects: [\(materials(Self.subjects, ""))]
    styles: [\(materials(Self.styles, ", phrase: in szn style"))]
    contexts: [on grass, at night]
    pictures: 3
    oracle: true
    encoders: {clip: nowhere}
    rows:
      - {name: direct merge, merge: direct}
      - {name: other, merge: svd}

    """.write(toFile: folder("a.yaml"), atomically: true, encoding: .utf8)
    return try Experiment(contentsOf: folder("a.yaml"))
  }

  /// Numbers without a pattern, the same for the same question.
  private func score(_ parts: Int...) -> Double {
    let number = parts.reduce(17) { ($0 * 31 + $1 * 7919) % 104_729 }
    return Double(number) / 104_729
  }

  private func scores(_ row: Int, _ subject: Int, _ style: Int, count: Int = 3) throws -> ExperimentScores {
    var scores = ExperimentScores()
    func values(_ measure: Int, _ count: Int) -> [Double] {
      (0..<count).map { score(row, subject, style, measure, $0) }
    }
    scores[.styled, "subject"] = values(1, count)
    scores[.styled, "style"] = values(2, count)
    scores[.styled, "CLIP-I"] = values(3, count)
    scores[.placed, "context"] = values(4, 4)
    scores[.reproduction, "subject"] = values(5, 1)
    return scores
  }

  private func results(_ experiment: Experiment, count: @escaping (Int) -> Int = { _ in 3 }) throws -> ExperimentResults {
    try ExperimentResults(experiment) { row, pair in
      let index = row.name == "other" ? 1 : 0
      return try scores(
        index, Self.subjects.firstIndex(of: pair.subject.name)!, Self.styles.firstIndex(of: pair.style.name)!,
        count: count(index))
    }
  }

  @Test("means, gains and pairs that are better")
  func figures() throws {
    let results = try results(experiment())
    #expect(results.columns == ["subject", "style", "CLIP-I", "place", "subject's error"])
    let other = results.rows[1]
    for (column, (measure, count)) in [(1, 3), (2, 3), (3, 3), (4, 4), (5, 1)].enumerated() {
      let figure = other.figures[column]
      var (means, gains): ([Double], [Double]) = ([], [])
      for subject in 0..<3 {
        for style in 0..<3 {
          func mean(_ row: Int) -> Double {
            (0..<count).map { score(row, subject, style, measure, $0) }.reduce(0, +) / Double(count)
          }
          means.append(mean(1))
          gains.append(mean(1) - mean(0))
        }
      }
      func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
      func error(_ found: [Double], _ expected: [Double]) -> Double {
        found.count == expected.count ? zip(found, expected).map { abs($0 - $1) }.max()! : .infinity
      }
      #expect(abs(figure.score.mean - mean(means)) < 1e-12, "\(figure.name)")
      #expect(figure.score.count == 9 * count)
      let gain = try #require(figure.gain)
      #expect(abs(gain.mean - mean(gains)) < 1e-12, "\(figure.name)")
      #expect(gain.low < gain.mean && gain.mean < gain.high)
      #expect(error(figure.byPair, means) < 1e-12 && error(figure.gainByPair, gains) < 1e-12, "\(figure.name)")
      // Of an error less is better.
      let isError = figure.exhibit == .reproduction
      #expect(figure.improvedPairs == gains.count { isError ? $0 < 0 : $0 > 0 })
      #expect(results.rows[0].figures[column].gain == nil)
      #expect(figure.gainElsewhere != nil, "three subjects and three styles are shared")
    }
  }

  @Test("whether encoders agree with the truth: the rank correlation of all pictures of a pair")
  func agreement() throws {
    let results = try results(experiment())
    let agreement = try #require(results.agreements.first { $0.score == "CLIP-I" && $0.truth == "subject" })
    var correlations: [Double] = []
    for subject in 0..<3 {
      for style in 0..<3 {
        func ranks(_ measure: Int) -> [Double] {
          let values = (0..<2).flatMap { row in (0..<3).map { score(row, subject, style, measure, $0) } }
          return values.map { value in Double(values.count { $0 < value }) }
        }
        let (a, b) = (ranks(3), ranks(1))
        // Six different ranks each.
        let squares = zip(a, b).map { ($0 - $1) * ($0 - $1) }.reduce(0, +)
        correlations.append(1 - 6 * squares / (6 * 35))
      }
    }
    let expected = correlations.reduce(0, +) / 9
    #expect(abs(agreement.correlation.mean - expected) < 1e-12, "\(agreement.correlation.mean), \(expected)")
  }

  @Test("rows with other numbers of pictures are not compared")
  func otherCounts() throws {
    let error = try #require(throws: SettingError.self) { try results(experiment(), count: { $0 == 1 ? 2 : 3 }) }
    #expect(error.description.contains("row \"other\": found other numbers of pictures than row \"direct merge\" has"))
  }
}
