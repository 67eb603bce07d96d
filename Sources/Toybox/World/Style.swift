/// How a picture is made: line × fill × tone × background × texture.
public struct Style: Codable, Hashable, Sendable {
  public enum Line: String, CaseIterable, Codable, Sendable { case none, thin, thick }

  public enum Fill: String, CaseIterable, Codable, Sendable { case flat, shaded, hatched, dotted, empty }

  public enum Tone: Codable, Hashable, Sendable {
    case color, pastel, gray
    /// Dark and bright parts in two colours.
    case duotone(NamedColor, NamedColor)
    /// Glowing lines in one colour in the dark.
    case neon(NamedColor)

    static let names = ["color", "duotone", "pastel", "gray", "neon"]

    /// Position in `names`.
    var index: Int {
      switch self {
      case .color: 0
      case .duotone: 1
      case .pastel: 2
      case .gray: 3
      case .neon: 4
      }
    }

    /// Whether the colours of the subject can be told.
    var keepsColors: Bool { self == .color || self == .pastel }
  }

  public enum Background: Codable, Hashable, Sendable {
    /// The context of the scene; the other ones hide it.
    case scene
    case paper, dark
    case plain(NamedColor)

    static let names = ["scene", "paper", "dark", "plain"]

    /// Position in `names`.
    var index: Int {
      switch self {
      case .scene: 0
      case .paper: 1
      case .dark: 2
      case .plain: 3
      }
    }
  }

  public enum Texture: String, CaseIterable, Codable, Sendable { case clean, pixel, canvas, wobbly }

  public var line: Line
  public var fill: Fill
  public var tone: Tone
  public var background: Background
  public var texture: Texture

  public init(line: Line, fill: Fill, tone: Tone, background: Background, texture: Texture) {
    (self.line, self.fill, self.tone, self.background, self.texture) = (line, fill, tone, background, texture)
  }

  /// The photograph of this world; captions say nothing about it.
  public static let photo = Style(line: .none, fill: .shaded, tone: .color, background: .scene, texture: .clean)

  /// A random style in which the subject can be seen: an empty figure has lines, neon glows in the dark, a plain
  /// ground keeps its colour, the two colours of a duotone differ in brightness (dark first).
  static func random(_ random: inout SplitMix64) -> Style {
    let fill = random.pick(Fill.allCases)
    let line = random.pick(fill == .empty ? [.thin, .thick] : Line.allCases)
    let texture = random.pick(Texture.allCases)
    let tone: Tone
    switch random.index(below: Tone.names.count) {
    case 0: tone = .color
    case 1: tone = randomDuotone(&random)
    case 2: tone = .pastel
    case 3: tone = .gray
    default: tone = .neon(random.pick(NamedColor.neon))
    }
    let background: Background
    switch (tone, random.unit()) {
    case (_, ..<0.4): background = .scene
    case (.neon, _): background = .dark
    case (.color, ..<0.6), (.pastel, ..<0.6): background = .plain(random.pick(NamedColor.allCases))
    case (_, ..<0.8): background = .paper
    default: background = .dark
    }
    return Style(line: line, fill: fill, tone: tone, background: background, texture: texture)
  }

  private static func randomDuotone(_ random: inout SplitMix64) -> Tone {
    while true {
      let pair = random.pick(2, of: NamedColor.allCases)
      if pair[1].rgb.luminance - pair[0].rgb.luminance > 0.3 { return .duotone(pair[0], pair[1]) }
    }
  }
}
