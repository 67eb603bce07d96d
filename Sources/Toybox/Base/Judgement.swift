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

/// The answer that the oracle gives to one question about one picture.
public struct Mark: Sendable, Equatable {
  public let attribute: Attribute
  /// Of the true answer.
  public let probability: Double
  /// Whether the true answer is the most probable one.
  public let isRight: Bool
}

extension Oracle {
  /// - Parameters:
  ///   - pictures: 0 ... 1, [N, 3, 64, 64].
  ///   - truth: what each picture should show.
  /// - Returns: of each picture, a mark for every attribute that it shows.
  public func marks(_ pictures: Tensor, truth: [Scene]) -> [[Mark]] {
    precondition(pictures.dim(0) == truth.count, "\(pictures.dim(0)) pictures, \(truth.count) scenes")
    let answers = zip(Attribute.all, probabilities(pictures)).map { ($0, $1.floats()) }
    return truth.enumerated().map { picture, scene in
      zip(scene.attributes, answers).compactMap { wanted, answers in
        guard wanted.isVisible else { return nil }
        let (attribute, values) = answers
        let row = values[picture * attribute.answers.count..<(picture + 1) * attribute.answers.count]
        let probability = row[row.startIndex + wanted.index]
        return Mark(attribute: attribute, probability: Double(probability), isRight: probability == row.max())
      }
    }
  }

  public func judge(_ pictures: Tensor, truth: [Scene]) -> Judgement {
    let marks = OrderedDictionary(grouping: marks(pictures, truth: truth).joined(), by: \.attribute)
    let shown = Attribute.all.compactMap { attribute in marks[attribute].map { (attribute.name, Judgement.Score($0)) } }
    return Judgement(scores: OrderedDictionary(uniqueKeysWithValues: shown))
  }

  /// How near each picture comes to the truth: the mean probability of the true answers, as a share of what true renders of
  /// the same scenes get. 1 is as good as the truth.
  public func fidelity(_ pictures: Tensor, truth: [Scene], in attributes: [Attribute]) -> [Double] {
    func means(_ pictures: Tensor) -> [Double] {
      marks(pictures, truth: truth).map { marks in
        let asked = marks.filter { attributes.contains($0.attribute) }
        precondition(!asked.isEmpty, "a picture that shows none of the attributes")
        return asked.reduce(0) { $0 + $1.probability } / Double(asked.count)
      }
    }
    let renders = means(renderBatch(truth).to(dtype: .float32) / 255)
    let best = renders.reduce(0, +) / Double(renders.count)
    return means(pictures).map { $0 / best }
  }
}

extension Judgement.Score {
  init(_ marks: [Mark]) {
    count = marks.count
    accuracy = Double(marks.count(where: \.isRight)) / Double(count)
    probability = marks.reduce(0) { $0 + $1.probability } / Double(count)
  }
}
