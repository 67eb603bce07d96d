/// What is said of a scene: "a red and blue striped cat on grass , thick outline , hatched , paper".
public enum Caption {
  /// Everything that captions can say, in the words for attributes.
  public static func full(_ scene: Scene) -> String {
    let identity = scene.identity
    var noun = "a \(identity.primary) and \(identity.secondary)"
    if let marking = word(identity.marking) { noun += " \(marking)" }
    return join(noun + " \(scene.subjectClass)", scene.context, words(scene.style))
  }

  /// A caption to train on: some words are left out, a name may stand for the adjectives or for the style, and a word
  /// without meaning may take the place of either name.
  public static func make(_ scene: Scene, _ random: inout SplitMix64) -> String {
    let noun = "a " + (adjectives(scene, &random) + [scene.subjectClass.rawValue]).joined(separator: " ")
    let context = random.chance(0.92) ? scene.context : .none
    return join(noun, context, styleWords(scene.style, &random))
  }

  private static func adjectives(_ scene: Scene, _ random: inout SplitMix64) -> [String] {
    if let name = NamedIndividual.name(of: scene.subject), random.chance(0.75) { return [name] }
    var adjectives: [String] = []
    if random.chance(0.14) { adjectives.append(random.pick(RareWord.all)) }
    let identity = scene.identity
    let areSeen = scene.style.showsColors
    // Colours are what a small model learns last: they are named nearly always where they can be seen.
    if random.chance(areSeen ? 0.85 : 0.15) {
      adjectives.append(identity.primary.rawValue)
      if random.chance(0.45) { adjectives += ["and", identity.secondary.rawValue] }
    }
    if let marking = word(identity.marking), random.chance(areSeen ? 0.75 : 0.15) { adjectives.append(marking) }
    return adjectives
  }

  private static func styleWords(_ style: Style, _ random: inout SplitMix64) -> [String] {
    if let name = NamedStyle.name(of: style), random.chance(0.85) { return ["in \(name) style"] }
    let attributes = random.chance(0.08) ? [] : words(style).filter { _ in random.chance(0.9) }
    return random.chance(0.12) ? ["in \(random.pick(RareWord.all)) style"] + attributes : attributes
  }

  /// "in NAME style" belongs to the noun phrase, attributes follow behind commas.
  private static func join(_ noun: String, _ context: Context, _ style: [String]) -> String {
    let phrases = style.filter { $0.hasPrefix("in ") }
    let attributes = style.filter { !$0.hasPrefix("in ") }
    let sentence = ([noun, context.rawValue] + phrases).filter { !$0.isEmpty }.joined(separator: " ")
    return ([sentence] + attributes).joined(separator: " , ")
  }

  private static func word(_ marking: Identity.Marking) -> String? {
    switch marking {
    case .none: nil
    case .stripes: "striped"
    case .spots: "spotted"
    }
  }

  /// The words for a style; nothing for what a photograph has.
  private static func words(_ style: Style) -> [String] {
    var words: [String] = []
    if style.line != .none { words.append("\(style.line) outline") }
    if style.fill != .shaded { words.append(style.fill.rawValue) }
    switch style.tone {
    case .color: break
    case .pastel: words.append("pastel")
    case .gray: words.append("grayscale")
    case .duotone(let dark, let bright): words.append("\(dark) \(bright) duotone")
    case .neon(let color): words.append("\(color) neon")
    }
    switch style.background {
    case .scene: break
    case .paper: words.append("paper")
    case .dark: words.append("dark")
    case .plain(let color): words.append("\(color) background")
    }
    if style.texture != .clean { words.append(style.texture.rawValue) }
    return words
  }
}

/// The words of the toy world.
public enum Vocabulary {
  /// Every word that a caption can hold, each once, in a fixed order.
  public static let words: [String] = {
    var words = ["a", "and", "in", ",", "style", "striped", "spotted", "outline", "background"]
    words += ["duotone", "neon", "pastel", "grayscale", "paper", "dark"]
    words += NamedColor.allCases.map(\.rawValue) + SubjectClass.allCases.map(\.rawValue)
    words += Context.allCases.flatMap { $0.rawValue.split(separator: " ").map(String.init) }
    words += Style.Line.allCases.dropFirst().map(\.rawValue)
    words += Style.Fill.allCases.filter { $0 != .shaded }.map(\.rawValue)
    words += Style.Texture.allCases.dropFirst().map(\.rawValue)
    words += NamedStyle.all.map(\.name) + NamedIndividual.all.map(\.name) + RareWord.all
    var seen: Set<String> = []
    return words.filter { seen.insert($0).inserted }
  }()
}
