public import LoRA

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
