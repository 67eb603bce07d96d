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

  @Option(help: ArgumentHelp("How strongly the subject counts.", valueName: "weight"))
  var subjectWeight = 1.0

  @Option(help: ArgumentHelp("How strongly the style counts.", valueName: "weight"))
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

  @Option(help: ArgumentHelp("Pictures of each prompt of which a LoRA draws references.", valueName: "n"))
  var references = defaults.count

  @Option(help: ArgumentHelp("Sampling steps of these pictures; each gives a reference.", valueName: "n"))
  var referenceSteps = defaults.steps

  @Option(help: ArgumentHelp("Guidance of these pictures.", valueName: "scale"))
  var referenceGuidance = defaults.guidance

  @Option(
    help: ArgumentHelp(
      "Folder that keeps the references for other runs. By default they lie beside the output and go when that is written.",
      valueName: "dir"))
  var referenceFolder: String?

  func saved(seed: UInt64) -> SavedReferences {
    SavedReferences(
      sampling: .init(count: references, steps: referenceSteps, guidance: referenceGuidance, seed: seed),
      folder: referenceFolder)
  }
}

/// How to zip; the defaults are those of `ZipOptions`.
struct ZipLoRAOptions: ParsableArguments {
  private static let defaults = ZipOptions()

  enum Start: ExpressibleByArgument {
    case value(Double)
    case closedForm

    init?(argument: String) {
      if argument == "closed-form" {
        self = .closedForm
      } else if let value = Double(argument) {
        self = .value(value)
      } else {
        return nil
      }
    }

    var defaultValueDescription: String {
      switch self {
      case .value(let value): Int(exactly: value).map(String.init) ?? "\(value)"
      case .closedForm: "closed-form"
      }
    }

    var value: Double? { if case .value(let value) = self { value } else { nil } }
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
      "Layers to zip of those that several LoRAs change, as for train --targets; others are added up. (default: attention)",
      valueName: "layers"),
    transform: { try Targets($0) })
  var scope = defaults.scope

  @Option(
    help: ArgumentHelp(
      "Where the coefficients start: all at one value (1 is direct merge), or closed-form, a least-squares solution.",
      valueName: "number|closed-form"))
  var start = Start.value(defaults.initialValue)

  @Option(help: ArgumentHelp("Stop when this many steps bring less than 1 % over as many before.", valueName: "steps"))
  var patience: Int?

  @Option(help: ArgumentHelp("Noisy pictures of each LoRA in a step.", valueName: "n"))
  var batch = 1

  @Option(help: ArgumentHelp("Seed of all random numbers.", valueName: "n"))
  var seed = defaults.seed

  var options: ZipOptions {
    ZipOptions(
      objective: ZipObjective(fidelity: fidelity, similarity: similarity, lambda: lambda), steps: steps,
      learningRate: learningRate, scope: scope, initialValue: start.value ?? Self.defaults.initialValue,
      closedForm: start.value == nil ? ClosedForm() : nil, patience: patience, seed: seed)
  }
}
