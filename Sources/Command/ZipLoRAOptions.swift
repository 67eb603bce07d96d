internal import ArgumentParser
internal import LoRA
internal import Merging
internal import Training
internal import Workflows

/// The LoRAs to zip, with what they were trained on.
struct SideOptions: ParsableArguments {
  @Option(help: ArgumentHelp("LoRA of the subject.", valueName: "file"))
  var subject: String

  @Option(help: ArgumentHelp("LoRA of the style.", valueName: "file"))
  var style: String

  @Option(
    help: ArgumentHelp(
      "Pictures of the subject: a folder or one picture; without, its LoRA draws references.", valueName: "dir|file"))
  var subjectImages: String?

  @Option(
    help: ArgumentHelp(
      "Pictures of the style: a folder or one picture; without, its LoRA draws references.", valueName: "dir|file"))
  var styleImages: String?

  @Option(
    help: ArgumentHelp(
      "Prompt the subject was trained with; by default captions in the folder, or what its metadata says.", valueName: "text"))
  var subjectPrompt: String?

  @Option(
    help: ArgumentHelp(
      "Prompt the style was trained with; by default captions in the folder, or what its metadata says.", valueName: "text"))
  var stylePrompt: String?

  @Option(
    help: ArgumentHelp(
      "Draw references of this prompt, too, such as the subject in styles that the base knows; may be given again.",
      valueName: "text"))
  var subjectReferencePrompt: [String] = []

  @Option(
    help: ArgumentHelp(
      "Draw references of this prompt, too, such as other things in the style; may be given again.", valueName: "text"))
  var styleReferencePrompt: [String] = []

  @Option(
    help: ArgumentHelp(
      """
      Prompt with the words of all LoRAs, such as "a sbu dog in szn style": on it the result is to change the prediction by the sum \
      of what each LoRA changes alone; may be given again.
      """, valueName: "text"))
  var jointPrompt: [String] = []

  @Option(parsing: .unconditional, help: ArgumentHelp("How strongly the subject counts.", valueName: "weight"))
  var subjectWeight = 1.0

  @Option(parsing: .unconditional, help: ArgumentHelp("How strongly the style counts.", valueName: "weight"))
  var styleWeight = 1.0

  @Option(
    name: .customLong("lora"),
    help: ArgumentHelp("One more LoRA; may be given again.", valueName: "file[:weight]"),
    transform: WeightedFile.init(argument:))
  var others: [WeightedFile] = []

  @Option(
    name: .customLong("lora-prompt"),
    help: ArgumentHelp("Prompt of each further LoRA, in their order; \"-\" for what its metadata says.", valueName: "text"))
  var otherPrompts: [String] = []

  @Option(
    name: .customLong("lora-images"),
    help: ArgumentHelp("Pictures of each further LoRA, in their order; \"-\" for none.", valueName: "dir|file"))
  var otherImages: [String] = []

  @OptionGroup var size: SizeOptions

  func validate() throws {
    guard jointPrompt.allSatisfy({ !$0.allSatisfy(\.isWhitespace) }) else {
      throw ValidationError(
        "--joint-prompt: found nothing; expected a prompt that calls up all LoRAs, such as \"a sbu dog in szn style\"")
    }
    for (option, values) in [("lora-prompt", otherPrompts), ("lora-images", otherImages)] {
      guard values.isEmpty || values.count == others.count else {
        throw ValidationError(
          """
          --\(option) is given \(values.count) times and --lora \(others.count) times; give it once for each --lora, in the \
          same order, with "-" where there is none
          """)
      }
    }
  }

  var subjectSide: ZipAdapters.Side {
    .init(
      lora: WeightedFile(subject, weight: subjectWeight), images: subjectImages, prompt: subjectPrompt,
      referencePrompts: subjectReferencePrompt)
  }

  var styleSide: ZipAdapters.Side {
    .init(
      lora: WeightedFile(style, weight: styleWeight), images: styleImages, prompt: stylePrompt,
      referencePrompts: styleReferencePrompt)
  }

  /// Whether a LoRA draws references: of its own prompt where it has no pictures, and of others.
  var draws: Bool { ([subjectSide, styleSide] + otherSides).contains { $0.images == nil || !$0.referencePrompts.isEmpty } }

  var otherSides: [ZipAdapters.Side] {
    func value(_ values: [String], _ index: Int) -> String? {
      values.isEmpty || values[index] == "-" ? nil : values[index]
    }
    return others.indices.map {
      .init(lora: others[$0], images: value(otherImages, $0), prompt: value(otherPrompts, $0))
    }
  }
}

/// How LoRAs draw references.
struct ReferenceOptions: ParsableArguments {
  private static let defaults = SavedReferences().sampling

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Pictures of each prompt of which a LoRA draws references. (default: \(defaults.count))", valueName: "n"))
  var references: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Sampling steps of these pictures; each gives a reference. (default: \(defaults.steps))", valueName: "n"))
  var referenceSteps: Int?

  @Option(
    parsing: .unconditional, help: ArgumentHelp("Guidance of these pictures. (default: \(defaults.guidance))", valueName: "scale")
  )
  var referenceGuidance: Double?

  @Option(
    help: ArgumentHelp(
      "Folder that keeps the references for other runs. By default they lie beside the output and go when that is written.",
      valueName: "dir"))
  var referenceFolder: String?

  /// - Parameter draws: whether a LoRA draws any.
  func validate(draws: Bool) throws {
    let options = [
      ("--references", references != nil), ("--reference-steps", referenceSteps != nil),
      ("--reference-guidance", referenceGuidance != nil), ("--reference-folder", referenceFolder != nil),
    ]
    let given = options.filter(\.1).map(\.0)
    guard draws || given.isEmpty else {
      throw ValidationError(
        """
        \(given.joined(separator: ", ")): no LoRA draws references, as each has pictures; leave this out, or give \
        --subject-reference-prompt or --style-reference-prompt
        """)
    }
  }

  func saved(seed: UInt64) -> SavedReferences {
    let defaults = Self.defaults
    return SavedReferences(
      sampling: .init(
        count: references ?? defaults.count, steps: referenceSteps ?? defaults.steps,
        guidance: referenceGuidance ?? defaults.guidance, seed: seed),
      folder: referenceFolder)
  }
}

/// How to zip; the defaults are those of `ZipOptions(method:)`.
struct ZipLoRAOptions: ParsableArguments {
  private static let closedForm = ZipOptions(method: .closedForm)
  private static let joint = ZipOptions(method: .joint)
  private static let paper = ZipOptions(method: .paper)

  @Option(
    help: ArgumentHelp(
      """
      Where the coefficients come from: closed-form solves for them layer by layer and refines them in a few updates; joint \
      makes more and larger updates from direct merge on; paper makes 100, each with new noise. (default: closed-form; with \
      --joint-prompt joint)
      """))
  var method: ZipOptions.Method?

  @Option(
    name: [.customLong("steps"), .customLong("refine")], parsing: .unconditional,
    help: ArgumentHelp(
      "Largest number of updates. (default: \(closedForm.steps); joint: \(joint.steps); paper: \(paper.steps))", valueName: "n"))
  var steps: Int?

  @Option(
    help: ArgumentHelp(
      """
      How an update follows from the gradient: Adam's, or each coefficient by the learning rate against the gradient's sign. \
      (default: \(closedForm.optimizer.rawValue); joint and paper: \(paper.optimizer.rawValue))
      """))
  var optimizer: ZipOptimizer?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      Learning rate: about how far a coefficient moves in an update. (default: \(closedForm.learningRate), falling to \
      a hundredth; joint: \(joint.learningRate), likewise; paper: \(paper.learningRate))
      """, valueName: "rate"))
  var learningRate: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      Batches of noisy pictures of each LoRA that are drawn once, for the closed form and all updates; 0 for new ones in each \
      update. (default: \(closedForm.draws!); joint: \(joint.draws!); paper: 0)
      """, valueName: "n"))
  var draws: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Value of all coefficients at the start of --method paper and joint; 1 is direct merge. (default: 1)", valueName: "number"))
  var start: Double?

  @Option(parsing: .unconditional, help: ArgumentHelp("Weight of the similarity term.", valueName: "number"))
  var lambda = paper.objective.lambda

  @Option(help: "Distance of predictions: the paper prints a norm, the public PyTorch code computes mean squares.")
  var fidelity = paper.objective.fidelity

  @Option(
    help: ArgumentHelp(
      "Similarity of coefficients: the paper prints dot, its first version says cosine, "
        + "the public PyTorch code computes mean-dot."))
  var similarity = paper.objective.similarity

  @Option(
    help: ArgumentHelp(
      "Layers to zip of those that several LoRAs change, as for train --targets; others are added up. (default: attention)",
      valueName: "layers"),
    transform: { try Targets($0) })
  var scope = paper.scope

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Stop when this many steps bring less than 1 % over as many before.", valueName: "steps"))
  var patience: Int?

  @Option(parsing: .unconditional, help: ArgumentHelp("Noisy pictures of each LoRA in a batch.", valueName: "n"))
  var batch = 1

  @Option(help: ArgumentHelp("Seed of all random numbers.", valueName: "n"))
  var seed = paper.seed

  /// - Parameter isJoint: whether there is a joint prompt.
  func validate(isJoint: Bool) throws {
    guard method != .joint || isJoint else {
      throw ValidationError(
        "--method joint: found no prompt of both; give one with --joint-prompt, or --method closed-form or paper")
    }
    guard method(isJoint: isJoint) == .closedForm else { return }
    guard start == nil else {
      throw ValidationError("--start is of other ways than the closed form; give --method paper or joint with it")
    }
    guard draws != 0 else {
      throw ValidationError("--draws 0: the closed form is solved for its draws; give at least 1, or --method paper")
    }
  }

  private func method(isJoint: Bool) -> ZipOptions.Method { method ?? .standard(withJointPrompts: isJoint) }

  /// - Parameter isJoint: as for `validate`.
  func options(isJoint: Bool) -> ZipOptions {
    var options = ZipOptions(method: method(isJoint: isJoint))
    options.objective = ZipObjective(fidelity: fidelity, similarity: similarity, lambda: lambda)
    if let steps { options.steps = steps }
    if let optimizer { options.optimizer = optimizer }
    if let learningRate { options.learningRate = learningRate }
    if let draws { options.draws = draws == 0 ? nil : draws }
    if let start { options.initialValue = start }
    options.scope = scope
    options.patience = patience
    options.seed = seed
    return options
  }
}
