public import LoRA
public import OrderedCollections

/// A way of making one adapter of several. Its stored properties are its options, with the defaults of its source.
public protocol MergeMethod: Codable, Sendable {
  /// As in `--method direct`.
  var name: String { get }
  /// One sentence for help texts and result cards.
  var summary: String { get }
  /// Where it was published.
  var reference: String { get }
  /// Whether it looks at what the model predicts.
  var needsProbe: Bool { get }
  /// What each LoRA is for where their order matters; empty for a method that takes any number of equals.
  var roles: [String] { get }
  /// The options that can be set by name.
  static var options: [MergeOption<Self>] { get }

  /// Checks options that depend on each other.
  func validate() throws(MergeError)

  /// - Throws: `MergeError`, and what the probe throws.
  func merge(_ inputs: [MergeInput], context: MergeContext) throws -> MergeResult
}

extension MergeMethod {
  public var needsProbe: Bool { false }
  public var roles: [String] { [] }
  public static var options: [MergeOption<Self>] { [] }
  public func validate() throws(MergeError) {}
}

/// The methods with their default options. To add one: a file in Methods and a line here (Docs/Adding.md).
public enum MergeMethods {
  public static let all: [any MergeMethod] = [
    DirectMerge(),
    ZipLoRAMerge(),
    SVDMerge(),
    LinearMerge(),
    MagnitudePrune(),
    TIESMerge(),
    DAREMerge(),
    DAREMerge(elects: true),
    DELLAMerge(),
    KnOTSMerge(),
    NPLoRAMerge(),
    KLoRAMerge(),
    BLoRASplit(),
  ]

  /// Those that work on weights alone.
  public static var onWeights: [any MergeMethod] { all.filter { !$0.needsProbe } }

  public static func named(_ name: String) -> (any MergeMethod)? { all.first { $0.name == name } }
}

/// An adapter to be merged.
public struct MergeInput {
  /// For reports and metadata, such as the file's name.
  public let name: String
  public let adapter: Adapter
  /// How strongly it counts: the method sees ΔW times this.
  public let weight: Double

  public init(_ name: String, _ adapter: Adapter, weight: Double = 1) {
    self.name = name
    self.adapter = adapter
    self.weight = weight
  }

  /// The adapter as strong as it counts.
  public var weighted: Adapter { adapter.scaled(by: weight) }

  /// One layer, weighted; it must be there.
  func factors(_ path: String) -> LowRankFactors { adapter.factors[path]!.scaled(by: weight) }
}

extension Array<MergeInput> {
  /// What LoRAs something was merged of, and the phrases that call up what they have learnt (SAI Model Spec 1.0).
  var originMetadata: OrderedDictionary<String, String> {
    var metadata: OrderedDictionary = ["modelspec.merged_from": map(\.name).joined(separator: ", ")]
    let phrases = OrderedSet(compactMap { $0.adapter.metadata[Self.phraseKey] })
    if !phrases.isEmpty { metadata[Self.phraseKey] = phrases.joined(separator: ", ") }
    return metadata
  }

  private static var phraseKey: String { "modelspec.trigger_phrase" }
}

/// What a method has around it.
public struct MergeContext {
  public let probe: (any FidelityProbe)?
  /// Hears of the steps of an optimisation; false asks to stop with what there is.
  public let progress: (ZipProgress) -> Bool
  /// Hears how many layers are merged where each is merged for itself; stops the merge by throwing.
  public let layers: (_ done: Int, _ total: Int) throws -> Void

  public init(
    probe: (any FidelityProbe)? = nil, progress: @escaping (ZipProgress) -> Bool = { _ in true },
    layers: @escaping (_ done: Int, _ total: Int) throws -> Void = { _, _ in }
  ) {
    self.probe = probe
    self.progress = progress
    self.layers = layers
  }
}

public struct MergeResult {
  public let adapter: Adapter
  public let report: MergeReport
  /// What a method that learns has learned.
  public let coefficients: MergerCoefficients?

  public init(adapter: Adapter, report: MergeReport, coefficients: MergerCoefficients? = nil) {
    self.adapter = adapter
    self.report = report
    self.coefficients = coefficients
  }
}

/// Why adapters cannot be merged.
public enum MergeError: Error, CustomStringConvertible, Equatable {
  case tooFew(Int)
  case wrongCount(Int, method: String, roles: [String])
  case nothingShared(scope: String, shared: Int, examples: [String])
  case shapes(String, [String], [[Int]])
  case ranks(String, [String], [Int], method: String)
  case nothingLeft(method: String, expected: String)
  case noSuchOption(String, method: String, available: [String])
  case option(String, Double, expected: String)
  case needsProbe(String)
  case noShares
  case otherShares(String, found: Int?, OrderedDictionary<String, Int>)
  case wrongWeights(Int, inputs: [String])
  case alreadyGone(String)
  case notFinite(step: Int, learningRate: Double? = nil)
  case changesNothing(Int)
  case notCoefficients(String)
  case notAState(String)
  case otherRun(String, differences: [String])

  public var description: String {
    switch self {
    case .tooFew(let count): "\(count) LoRAs to merge, expected at least 2"
    case .wrongCount(let count, let method, let roles):
      "the method \(method) merges \(roles.count) LoRAs, in the order \(roles.joined(separator: ", ")); found \(count)"
    case .nothingShared(let scope, let shared, let examples):
      shared == 0
        ? "the LoRAs have no layer in common; they change layers such as \(examples.joined(separator: " and "))"
        : "none of the \(shared) layers that the LoRAs share is in the scope \(scope); they share layers such as "
          + examples.joined(separator: " and ")
    case .shapes(let path, let names, let shapes):
      "\(path): the LoRAs are for different base models: "
        + zip(names, shapes).map { "\($0) changes a weight \($1)" }.joined(separator: ", ")
    case .ranks(let path, let names, let ranks, let method):
      "\(path): the method \(method) needs equal ranks: "
        + zip(names, ranks).map { "\($0) has \($1)" }.joined(separator: ", ") + "; use direct or svd"
    case .nothingLeft(let method, let expected):
      "the method \(method) leaves nothing of these LoRAs: it keeps \(expected)"
    case .noSuchOption(let name, let method, let available):
      "--\(name): the method \(method) has no such option; "
        + (available.isEmpty ? "it has none" : "it has \(available.map { "--\($0)" }.joined(separator: ", "))")
    case .option(let name, let value, let expected): "--\(name) \(value): expected \(expected)"
    case .needsProbe(let method): "the method \(method) needs the base model's predictions; give it a base model"
    case .noShares:
      "its metadata (\(MergeShares.metadataKey)) does not say which ranks are whose; "
        + "only files that ziplora zip or ziplora merge --method direct wrote can be weighed anew"
    case .otherShares(let layer, nil, _):
      "\(layer): its metadata names a layer that is not there; another program or conversion has renamed or removed it"
    case .otherShares(let layer, let rank?, let expected):
      "\(layer): has rank \(rank), but its metadata says "
        + expected.map { "\($0.value) of \($0.key)" }.joined(separator: " and ") + "; the file was changed after merging"
    case .wrongWeights(let count, let inputs):
      "\(count) weights for \(inputs.count) LoRAs (\(inputs.joined(separator: ", ")))"
    case .alreadyGone(let name):
      "\(name) has weight 0 in this file, so nothing of it is left to make stronger; start from the file before that"
    case .notFinite(let step, let rate):
      "step \(step): the objective is infinite or NaN, or makes a coefficient so"
        + (rate.map { ", with learning rate \($0); lower the learning rate, or" } ?? ";")
        + " check the LoRAs and the precision (float16 overflows easily)"
    case .changesNothing(let index):
      "LoRA \(index + 1) changes nothing of what the model predicts for its pictures, so nothing of it can be reproduced; train it longer"
    case .notCoefficients(let path): "\(path): not a file of merger coefficients written by ziplora"
    case .notAState(let path): "\(path): not the saved state of a zip run; choose another file for the state with --state"
    case .otherRun(let path, let differences):
      "\(path): the saved state is of another run: \(differences.joined(separator: "; ")). "
        + "Use the LoRAs and options that it was made with, or delete it to start again"
    }
  }
}
