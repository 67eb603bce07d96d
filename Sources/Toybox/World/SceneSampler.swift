/// Draws scenes to train on: never one that is withheld.
public struct SceneSampler: Sendable {
  /// Share of photographs, in the plain style that captions do not mention.
  public static let photoShare = 0.4
  /// Share of the styled scenes that have a named style.
  public static let namedStyleShare = 0.3
  /// Share of the scenes that show a named individual.
  public static let namedIndividualShare = 0.2

  private var random: SplitMix64

  public init(random: SplitMix64) { self.random = random }

  public mutating func next() -> Scene {
    let subject = nextSubject()
    let style = nextStyle()
    // Behind another background the context is hidden; captions name it there now and then all the same.
    let showsContext = style.background == .scene || random.chance(0.3)
    let context = showsContext ? random.pick(Context.allCases) : .none
    return Scene(subject, context: context, style: style, pose: .random(&random))
  }

  public mutating func next(_ count: Int) -> [Scene] { (0..<count).map { _ in next() } }

  private mutating func nextSubject() -> Subject {
    if random.chance(Self.namedIndividualShare) { return random.pick(NamedIndividual.all).value }
    while true {
      let subject = Subject(random.pick(SubjectClass.allCases), .random(&random))
      if !Withheld.contains(subject) { return subject }
    }
  }

  private mutating func nextStyle() -> Style {
    if random.chance(Self.photoShare) { return .photo }
    if random.chance(Self.namedStyleShare) { return random.pick(NamedStyle.all).value }
    while true {
      let style = Style.random(&random)
      if !Withheld.contains(style) { return style }
    }
  }
}
