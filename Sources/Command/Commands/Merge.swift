internal import ArgumentParser
internal import Merging
internal import Workflows

struct Merge: WorkflowCommand {
  static let configuration = CommandConfiguration(
    abstract: "Merge LoRAs by their weights alone: the sum, or one of the methods that other tools have.",
    discussion: """
      Methods, with what can be set of each:
      \(methods)

      Where a method has a subject and a style, the subject comes first. Files that name layers alike need no base \
      model. Writes FILE, a report of every layer (STEM.report.json) and a record of the run (FILE.json).

      Example: ziplora merge --method svd --rank 32 --lora dog.safetensors --lora ink.safetensors:0.8 --output \
      both.safetensors
      """)

  private static var methods: String {
    MergeMethods.onWeights.map { method in
      func setting(_ name: String) -> String { method.settings[name].map { "--\(name) \($0.short)" } ?? "--\(name)" }
      let options = type(of: method).optionNames.map(setting)
      return "- \(method.name): \(method.summary)" + (options.isEmpty ? "" : " (\(options.joined(separator: ", ")))")
    }.joined(separator: "\n")
  }

  @OptionGroup(title: "LoRAs") var loras: MergedLoRAOptions
  @OptionGroup(title: "Method") var method: MergeMethodOptions
  @OptionGroup(title: "Result") var output: AdapterOutputOptions<DialectOfFirstLoRA>

  var workflow: MergeAdapters {
    MergeAdapters(
      method: method.method, settings: method.settings, loras: loras.lora, base: loras.base, output: output.adapter)
  }

  func text(of outcome: MergeAdapters.Outcome) -> String { outcome.summary }
}

struct MergedLoRAOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "A LoRA and how strongly it counts, 1 when not given; give it again for each LoRA.", valueName: "file[:weight]"),
    transform: WeightedFile.init(argument:))
  var lora: [WeightedFile] = []

  @Option(help: ArgumentHelp("Base model, for files that name layers differently.", valueName: "dir|file|id"))
  var base: String?
}

struct MergeMethodOptions: ParsableArguments {
  @Option(help: ArgumentHelp("How to merge.", valueName: "name"))
  var method: String

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Largest rank of a merged layer; by default that of the thickest LoRA, with knots the sum.", valueName: "n"))
  var rank: Int?

  @Option(parsing: .unconditional, help: ArgumentHelp("Share of elements that are kept.", valueName: "share"))
  var density: Double?

  @Option(parsing: .unconditional, help: ArgumentHelp("How much likelier large elements are kept (della).", valueName: "number"))
  var epsilon: Double?

  @Option(
    parsing: .unconditional, help: ArgumentHelp("How far the subject is kept off the style (np-lora).", valueName: "number"))
  var mu: Double?

  @Option(parsing: .unconditional, help: ArgumentHelp("How fast the style gains over the steps (k-lora).", valueName: "number"))
  var alpha: Double?

  @Option(parsing: .unconditional, help: ArgumentHelp("How strong the style is at the first step (k-lora).", valueName: "number"))
  var beta: Double?

  @Option(
    parsing: .unconditional, help: ArgumentHelp("Seed of what is dropped at random (dare, dare-ties, della).", valueName: "n"))
  var seed: Int?

  /// Those that are given.
  var settings: [String: Double] {
    [
      "rank": rank.map(Double.init), "density": density, "epsilon": epsilon, "mu": mu, "alpha": alpha, "beta": beta,
      "seed": seed.map(Double.init),
    ].compactMapValues { $0 }
  }
}
