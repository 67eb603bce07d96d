internal import ArgumentParser
internal import LoRA
internal import Merging
internal import Workflows

/// The LoRAs to zip, with what they were trained on.
struct SideOptions: ParsableArguments {
  @Option(help: ArgumentHelp("LoRA of the subject.", valueName: "file"))
  var subject: String

  @Option(help: ArgumentHelp("LoRA of the style.", valueName: "file"))
  var style: String

  @Option(help: ArgumentHelp("Pictures of the subject: a folder or one picture.", valueName: "dir|file"))
  var subjectImages: String?

  @Option(help: ArgumentHelp("Pictures of the style: a folder or one picture.", valueName: "dir|file"))
  var styleImages: String?

  @Option(help: ArgumentHelp("Prompt the subject was trained with; by default captions in the folder.", valueName: "text"))
  var subjectPrompt: String?

  @Option(help: ArgumentHelp("Prompt the style was trained with; by default captions in the folder.", valueName: "text"))
  var stylePrompt: String?

  @Option(help: ArgumentHelp("How strongly the subject counts.", valueName: "weight"))
  var subjectWeight = 1.0

  @Option(help: ArgumentHelp("How strongly the style counts.", valueName: "weight"))
  var styleWeight = 1.0

  @OptionGroup var size: SizeOptions

  func validate() throws {
    try Self.demand(subjectImages, "subject", prompt: subjectPrompt)
    try Self.demand(styleImages, "style", prompt: stylePrompt)
  }

  private static func demand(_ images: String?, _ side: String, prompt: String?) throws {
    guard images == nil else { return }
    let found = prompt == nil ? "" : "--\(side)-prompt says what the pictures show, but there are no pictures. "
    throw ValidationError(
      """
      \(found)Zipping compares predictions on noisy pictures, so it needs those that the \(side) LoRA was trained on: \
      give --\(side)-images a folder or one picture
      """)
  }

  var subjectSide: ZipAdapters.Side { Self.side(subject, subjectWeight, subjectImages, subjectPrompt) }
  var styleSide: ZipAdapters.Side { Self.side(style, styleWeight, styleImages, stylePrompt) }

  private static func side(_ lora: String, _ weight: Double, _ images: String?, _ prompt: String?) -> ZipAdapters.Side {
    ZipAdapters.Side(lora: WeightedFile(lora, weight: weight), pictures: PictureSource(images ?? "", prompt: prompt))
  }
}

/// How to zip; the defaults are those of `ZipOptions`.
struct ZipLoRAOptions: ParsableArguments {
  private static let defaults = ZipOptions()

  enum Start: String, CaseIterable, ExpressibleByArgument {
    case ones
    case closedForm = "closed-form"
  }

  @Option(help: ArgumentHelp("Largest number of updates.", valueName: "n"))
  var steps = defaults.steps

  @Option(help: ArgumentHelp("Learning rate of Adam: about how far a coefficient moves in a step.", valueName: "rate"))
  var learningRate = defaults.learningRate

  @Option(help: ArgumentHelp("Weight of the similarity term.", valueName: "number"))
  var lambda = defaults.objective.lambda

  @Option(help: "Distance of predictions: the paper prints a norm, the public PyTorch code computes mean squares.")
  var fidelity = defaults.objective.fidelity

  @Option(
    help: ArgumentHelp(
      "Similarity of coefficients: the paper prints dot, its first version says cosine, "
        + "the public PyTorch code computes mean-dot."))
  var similarity = defaults.objective.similarity

  @Option(
    help: ArgumentHelp(
      "Layers to zip of those that both LoRAs change, as for train --targets; others are added up. (default: attention)",
      valueName: "layers"),
    transform: { try Targets($0) })
  var scope = defaults.scope

  @Option(help: "Where the coefficients start: all ones (direct merge), or a least-squares solution.")
  var start = Start.ones

  @Option(help: ArgumentHelp("Stop when this many steps bring less than 1 % over as many before.", valueName: "steps"))
  var patience: Int?

  @Option(help: ArgumentHelp("Noisy pictures of each LoRA in a step.", valueName: "n"))
  var batch = 1

  @Option(help: ArgumentHelp("Seed of all random numbers.", valueName: "n"))
  var seed = defaults.seed

  var options: ZipOptions {
    ZipOptions(
      objective: ZipObjective(fidelity: fidelity, similarity: similarity, lambda: lambda), steps: steps,
      learningRate: learningRate, scope: scope, closedForm: start == .closedForm ? ClosedForm() : nil, patience: patience,
      seed: seed)
  }
}
