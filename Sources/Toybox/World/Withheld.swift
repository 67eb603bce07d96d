/// Test material: subjects and styles that no training sample shows.
public enum Withheld {
  /// Striking individuals for subject LoRAs. Training shows none of their class with the same primary colour, secondary
  /// colour and marking, whatever the rest.
  public static let subjects: [Subject] = [
    subject(.cat, .pink, .teal, .yellow, .stripes, proportion: 0.8),
    subject(.robot, .orange, .blue, .green, .spots, proportion: 0.6),
    subject(.mushroom, .blue, .yellow, .pink, .spots, proportion: 0.9),
    subject(.bird, .green, .red, .orange, .stripes, proportion: 0.9),
    subject(.dog, .teal, .orange, .pink, .spots, proportion: 0.9),
    subject(.ghost, .yellow, .purple, .red, .stripes, proportion: 0.7),
  ]

  /// Styles for style LoRAs. Training shows none with all these attributes, the colours of the style included.
  public static let styles: [Style] = [
    Style(line: .thick, fill: .hatched, tone: .color, background: .paper, texture: .clean),
    Style(line: .thin, fill: .empty, tone: .duotone(.blue, .white), background: .paper, texture: .wobbly),
    Style(line: .thick, fill: .flat, tone: .neon(.pink), background: .dark, texture: .clean),
    Style(line: .none, fill: .dotted, tone: .duotone(.red, .white), background: .scene, texture: .clean),
    Style(line: .thick, fill: .dotted, tone: .color, background: .plain(.yellow), texture: .clean),
    Style(line: .none, fill: .flat, tone: .pastel, background: .scene, texture: .canvas),
    Style(line: .thin, fill: .flat, tone: .color, background: .dark, texture: .pixel),
    Style(line: .thick, fill: .shaded, tone: .gray, background: .scene, texture: .wobbly),
  ]

  public static func contains(_ subject: Subject) -> Bool {
    subjects.contains { withheld in
      withheld.subjectClass == subject.subjectClass && withheld.identity.primary == subject.identity.primary
        && withheld.identity.secondary == subject.identity.secondary
        && withheld.identity.marking == subject.identity.marking
    }
  }

  public static func contains(_ style: Style) -> Bool { styles.contains(style) }

  /// Whether a scene must not be trained on.
  public static func contains(_ scene: Scene) -> Bool { contains(scene.subject) || contains(scene.style) }

  private static func subject(
    _ subjectClass: SubjectClass, _ primary: NamedColor, _ secondary: NamedColor, _ accent: NamedColor,
    _ marking: Identity.Marking, proportion: Double
  ) -> Subject {
    Subject(
      subjectClass,
      Identity(
        proportion: proportion, width: 1, primary: primary, secondary: secondary, accent: accent, marking: marking))
  }
}

extension Scene {
  /// Whether this scene is kept for tests: nothing may be trained on it, except a LoRA.
  public var isWithheld: Bool { Withheld.contains(self) }
}
