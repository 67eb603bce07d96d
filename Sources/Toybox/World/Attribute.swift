/// One question about a picture, with its possible answers: a head of an oracle.
public struct Attribute: Hashable, Sendable {
  public let name: String
  public let answers: [String]

  public static let subjectClass = Attribute(name: "class", answers: SubjectClass.allCases.map(\.rawValue))
  public static let context = Attribute(name: "context", answers: Context.allCases.map { $0 == .none ? "none" : $0.rawValue })
  public static let line = Attribute(name: "line", answers: Style.Line.allCases.map(\.rawValue))
  public static let fill = Attribute(name: "fill", answers: Style.Fill.allCases.map(\.rawValue))
  public static let tone = Attribute(name: "tone", answers: Style.Tone.names)
  public static let background = Attribute(name: "background", answers: Style.Background.names)
  public static let texture = Attribute(name: "texture", answers: Style.Texture.allCases.map(\.rawValue))
  public static let primary = Attribute(name: "primary", answers: colors)
  public static let secondary = Attribute(name: "secondary", answers: colors)
  public static let marking = Attribute(name: "marking", answers: Identity.Marking.allCases.map(\.rawValue))
  /// The dark colour of a duotone, the colour of neon.
  public static let firstStyleColor = Attribute(name: "first style colour", answers: colors)
  /// The bright colour of a duotone, the colour of a plain background.
  public static let secondStyleColor = Attribute(name: "second style colour", answers: colors)

  /// In the order of `Scene.attributes`.
  public static let all = [
    subjectClass, context, line, fill, tone, background, texture, primary, secondary, marking, firstStyleColor,
    secondStyleColor,
  ]

  private static let colors = NamedColor.allCases.map(\.rawValue)
}

/// The true answer to one question.
public struct AttributeValue: Hashable, Sendable {
  public let attribute: Attribute
  /// Position of the answer in `attribute.answers`.
  public let index: Int
  /// Whether the picture shows it; otherwise the index is what the scene says, or 0.
  public let isVisible: Bool
}

extension Style {
  /// Whether the colours and markings of the subject can be seen.
  public var showsColors: Bool { tone.keepsColors && fill != .empty }
}

extension Scene {
  /// The true answers, in the order of `Attribute.all`.
  public var attributes: [AttributeValue] {
    let (first, second) = style.colors
    let showsColors = style.showsColors
    return [
      AttributeValue(attribute: .subjectClass, index: subjectClass.position, isVisible: true),
      AttributeValue(attribute: .context, index: context.position, isVisible: style.background == .scene),
      AttributeValue(attribute: .line, index: style.line.position, isVisible: true),
      AttributeValue(attribute: .fill, index: style.fill.position, isVisible: true),
      AttributeValue(attribute: .tone, index: style.tone.index, isVisible: true),
      AttributeValue(attribute: .background, index: style.background.index, isVisible: true),
      AttributeValue(attribute: .texture, index: style.texture.position, isVisible: true),
      AttributeValue(attribute: .primary, index: identity.primary.position, isVisible: showsColors),
      AttributeValue(attribute: .secondary, index: identity.secondary.position, isVisible: showsColors),
      AttributeValue(attribute: .marking, index: identity.marking.position, isVisible: showsColors),
      AttributeValue(attribute: .firstStyleColor, index: first?.position ?? 0, isVisible: first != nil),
      AttributeValue(attribute: .secondStyleColor, index: second?.position ?? 0, isVisible: second != nil),
    ]
  }
}

extension Style {
  /// The colours that belong to the style and not to the subject.
  fileprivate var colors: (first: NamedColor?, second: NamedColor?) {
    let plain: NamedColor? = if case .plain(let color) = background, tone.keepsColors { color } else { nil }
    return switch tone {
    case .duotone(let dark, let bright): (dark, bright)
    case .neon(let color): (color, nil)
    case .color, .pastel, .gray: (nil, plain)
    }
  }
}

extension CaseIterable where Self: Equatable, AllCases == [Self] {
  /// Place among all cases.
  fileprivate var position: Int { Self.allCases.firstIndex(of: self)! }
}
