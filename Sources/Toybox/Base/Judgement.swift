public import OrderedCollections
public import Torch

/// What the oracle says about pictures whose truth is known.
public struct Judgement: Sendable, Codable, Equatable {
  /// One attribute over all pictures that show it.
  public struct Score: Sendable, Codable, Equatable {
    /// Share of pictures whose most probable answer is the true one.
    public var accuracy: Double
    /// Mean probability of the true answer.
    public var probability: Double
    /// Pictures that show the attribute.
    public var count: Int
  }

  /// By the attribute's name, in the order of `Attribute.all`; attributes that no picture shows are left out.
  public let scores: OrderedDictionary<String, Score>

  /// Mean over attributes, each weighing the same; nil where none is shown.
  public func mean(_ attributes: [Attribute], _ figure: (Score) -> Double) -> Double? {
    let values = attributes.compactMap { scores[$0.name].map(figure) }
    return values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
  }
}

extension Attribute {
  /// What makes a subject: its class and its identity.
  public static let ofSubject = [subjectClass, primary, secondary, marking]
  /// What makes a style.
  public static let ofStyle = [line, fill, tone, background, texture, firstStyleColor, secondStyleColor]
}

extension Oracle {
  /// - Parameters:
  ///   - pictures: 0 ... 1, [N, 3, 64, 64].
  ///   - truth: what each picture should show.
  public func judge(_ pictures: Tensor, truth: [Scene]) -> Judgement {
    precondition(pictures.dim(0) == truth.count, "\(pictures.dim(0)) pictures, \(truth.count) scenes")
    let answers = probabilities(pictures)
    let attributes = truth.map(\.attributes)
    var scores: OrderedDictionary<String, Judgement.Score> = [:]
    for (place, attribute) in Attribute.all.enumerated() {
      let width = attribute.answers.count
      let values = answers[place].floats()
      var right = 0
      var probability = 0.0
      var count = 0
      for (picture, wanted) in attributes.enumerated() where wanted[place].isVisible {
        let row = values[picture * width..<(picture + 1) * width]
        let best = row.indices.max { row[$0] < row[$1] }! - row.startIndex
        right += best == wanted[place].index ? 1 : 0
        probability += Double(row[row.startIndex + wanted[place].index])
        count += 1
      }
      guard count > 0 else { continue }
      scores[attribute.name] = .init(
        accuracy: Double(right) / Double(count), probability: probability / Double(count), count: count)
    }
    return Judgement(scores: scores)
  }
}
