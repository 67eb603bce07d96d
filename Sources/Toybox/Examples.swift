public import Images
internal import Torch

/// The demo's input: pictures of withheld subjects and styles, as a person would collect them. Rendered, so their truth is
/// known.
public struct Example: Sendable {
  public enum Kind: String, Sendable { case subject, style }

  public let name: String
  public let kind: Kind
  /// What LoRAs are trained with, and the merged prompt's words.
  public let prompt: String
  public let scenes: [Scene]

  /// What the base calls things of this kind, without the words for what is special.
  public var classPrompt: String { "a \(scenes[0].subject.subjectClass.rawValue)" }

  /// What a LoRA of it must keep besides: the subject in styles that the base knows, other things in the style. Nothing in
  /// its pictures says so.
  public var referencePrompts: [String] {
    switch kind {
    case .subject: ["thick outline", "hatched , paper", "dark", "dotted"].map { "\(prompt) , \($0)" }
    case .style:
      [SubjectClass.mug, .butterfly, .turtle, .tree, .car].filter { $0 != scenes[0].subject.subjectClass }.prefix(4)
        .map { "a \($0.rawValue) in szn style" }
    }
  }

  public var pictures: [Image] { scenes.map { Image(rendered: $0) } }

  /// Subjects: five photographs each, in different places. The identities are withheld from the base.
  public static let subjects: [Example] = Withheld.subjects.enumerated().map { index, subject in
    var random = SplitMix64(seed: 0x5355_424A + UInt64(index))
    let contexts = random.pick(5, of: Context.allCases)
    return Example(
      name: subject.subjectClass.rawValue, kind: .subject, prompt: "a sbu \(subject.subjectClass.rawValue)",
      scenes: contexts.map { Scene(subject, context: $0, pose: .random(&random)) })
  }

  /// Styles: one picture each, of something that is no example subject. The styles are withheld from the base.
  public static let styles: [Example] = zip(styleNames, Withheld.styles).enumerated().map { index, style in
    var random = SplitMix64(seed: 0x5354_594C + UInt64(index))
    let subjectClass = styleClasses[index]
    var subject = Subject(subjectClass, .random(&random))
    while Withheld.contains(subject) { subject = Subject(subjectClass, .random(&random)) }
    let context: Context = style.1.background == .scene ? .grass : .none
    return Example(
      name: style.0, kind: .style, prompt: "a \(subjectClass.rawValue) in szn style",
      scenes: [Scene(subject, context: context, style: style.1, pose: .random(&random))])
  }

  /// - Throws: `ExampleError` with the names that there are.
  public static func named(_ name: String, _ kind: Kind) throws(ExampleError) -> Example {
    let all = kind == .subject ? subjects : styles
    guard let found = all.first(where: { $0.name == name }) else {
      throw ExampleError(name: name, kind: kind, known: all.map(\.name))
    }
    return found
  }

  private static let styleNames = ["notebook", "ballpoint", "neon", "newsprint", "comic", "canvas", "pixel", "charcoal"]
  private static let styleClasses: [SubjectClass] = [.house, .boat, .flower, .car, .rocket, .tree, .house, .fish]
}

/// A name that is none of the examples.
public struct ExampleError: Error, CustomStringConvertible, Equatable {
  public let name: String
  public let kind: Example.Kind
  public let known: [String]

  public var description: String {
    "there is no example \(kind.rawValue) \"\(name)\"; choose one of \(known.joined(separator: ", "))"
  }
}

extension Image {
  /// A scene as the world draws it.
  public init(rendered scene: Scene) {
    let pixels = (scene.render() * 255).rounded().permuted(1, 2, 0)
    self.init(width: pixels.dim(1), height: pixels.dim(0), pixels: pixels.bytes())
  }
}
