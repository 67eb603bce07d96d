public import LoRA
internal import OrderedCollections

/// A way of making one adapter of several.
public protocol MergeMethod: Sendable {
  /// As in `--method direct`.
  var name: String { get }
  /// One sentence for help texts and result cards.
  var summary: String { get }
  /// Where it was published.
  var reference: String { get }
  /// Whether it looks at what the model predicts.
  var needsProbe: Bool { get }

  /// - Throws: `MergeError`, and what the probe throws.
  func merge(_ inputs: [MergeInput], context: MergeContext) throws -> MergeResult
}

/// The methods with their default options. To add one: a file in Methods and a line here.
public enum MergeMethods {
  public static let all: [any MergeMethod] = [DirectMerge(), ZipLoRAMerge()]

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

/// What a method has around it.
public struct MergeContext {
  public let probe: (any FidelityProbe)?
  /// Hears of progress; false asks to stop with what there is.
  public let progress: (ZipProgress) -> Bool

  public init(probe: (any FidelityProbe)? = nil, progress: @escaping (ZipProgress) -> Bool = { _ in true }) {
    self.probe = probe
    self.progress = progress
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
  case nothingShared(scope: String, shared: Int, examples: [String])
  case shapes(String, [String], [[Int]])
  case needsProbe(String)
  case notFinite(step: Int)
  case notCoefficients(String)
  case notAState(String)
  case otherRun(String, differences: [String])

  public var description: String {
    switch self {
    case .tooFew(let count): "\(count) LoRAs to merge, expected at least 2"
    case .nothingShared(let scope, let shared, let examples):
      shared == 0
        ? "the LoRAs have no layer in common; they change layers such as \(examples.joined(separator: " and "))"
        : "none of the \(shared) layers that the LoRAs share is in the scope \(scope); they share layers such as "
          + examples.joined(separator: " and ")
    case .shapes(let path, let names, let shapes):
      "\(path): the LoRAs are for different base models: "
        + zip(names, shapes).map { "\($0) changes a weight \($1)" }.joined(separator: ", ")
    case .needsProbe(let method): "the method \(method) needs the base model's predictions; give it a base model"
    case .notFinite(let step):
      "step \(step): the objective is infinite or NaN; check the LoRAs and the precision (float16 overflows easily)"
    case .notCoefficients(let path): "\(path): not a file of merger coefficients written by ziplora"
    case .notAState(let path): "\(path): not the saved state of a zip run; start without it"
    case .otherRun(let path, let differences):
      "\(path): the saved state is of another run: \(differences.joined(separator: "; ")). "
        + "Use the same LoRAs and options, or start without it"
    }
  }
}
