/// What is pictured.
public enum SubjectClass: String, CaseIterable, Codable, Sendable {
  case cat, dog, fish, bird, mushroom, house, tree, rocket, car, boat, flower, mug, ghost, robot, turtle, butterfly
}

/// What makes one member of a class differ from the others.
public struct Identity: Codable, Hashable, Sendable {
  public enum Marking: String, CaseIterable, Codable, Sendable { case none, stripes, spots }

  /// Size of the part that varies in this class (ears, roof, petals...), 0...1.
  public var proportion: Double
  /// Horizontal stretch, 0.88...1.12.
  public var width: Double
  /// Three different colours.
  public var primary, secondary, accent: NamedColor
  /// On the parts in the primary colour, in the secondary one.
  public var marking: Marking

  public init(
    proportion: Double, width: Double, primary: NamedColor, secondary: NamedColor, accent: NamedColor, marking: Marking
  ) {
    (self.proportion, self.width, self.marking) = (proportion, width, marking)
    (self.primary, self.secondary, self.accent) = (primary, secondary, accent)
  }

  static func random(_ random: inout SplitMix64) -> Identity {
    let colors = random.pick(3, of: NamedColor.allCases)
    return Identity(
      proportion: random.unit(), width: random.number(0.88, 1.12), primary: colors[0], secondary: colors[1],
      accent: colors[2], marking: random.pick([.none, .none, .stripes, .spots]))
  }
}

/// One individual: what a subject LoRA learns.
public struct Subject: Codable, Hashable, Sendable {
  public var subjectClass: SubjectClass
  public var identity: Identity

  public init(_ subjectClass: SubjectClass, _ identity: Identity) {
    (self.subjectClass, self.identity) = (subjectClass, identity)
  }
}

/// Where the subject is; seen only on the background `scene`.
public enum Context: String, CaseIterable, Codable, Sendable {
  case none = ""
  case grass = "on grass"
  case snow = "in the snow"
  case beach = "at the beach"
  case night = "at night"
  case desert = "in the desert"
  case underwater
}

/// What differs between two photographs of the same thing.
public struct Pose: Codable, Hashable, Sendable {
  /// Centre, in a picture that reaches from −1 to 1; y points down.
  public var x, y: Double
  public var scale: Double
  public var isMirrored: Bool
  /// Phase of the small details: clouds, stars, the waves of a wobbly hand; 0..<1.
  public var phase: Double

  public init(x: Double = 0, y: Double = 0.05, scale: Double = 0.78, isMirrored: Bool = false, phase: Double = 0.3) {
    (self.x, self.y, self.scale, self.isMirrored, self.phase) = (x, y, scale, isMirrored, phase)
  }

  public static func random(_ random: inout SplitMix64) -> Pose {
    Pose(
      x: random.number(-0.12, 0.12), y: random.number(-0.03, 0.12), scale: random.number(0.7, 0.86),
      isMirrored: random.chance(0.5), phase: random.unit())
  }
}

/// Everything that determines a picture of the toy world.
public struct Scene: Codable, Hashable, Sendable {
  public var subject: Subject
  public var context: Context
  public var style: Style
  public var pose: Pose

  public init(_ subject: Subject, context: Context = .none, style: Style = .photo, pose: Pose = Pose()) {
    (self.subject, self.context, self.style, self.pose) = (subject, context, style, pose)
  }

  public var subjectClass: SubjectClass { subject.subjectClass }
  public var identity: Identity { subject.identity }
}
