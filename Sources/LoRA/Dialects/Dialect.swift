public import OrderedCollections

/// One way of spelling an adapter in a safetensors file.
///
/// Reading happens in two steps. `parse` tells by spelling alone what a key is, which is all that looking at a file without
/// a model needs. `spellings` then says what the names mean, from the list of the model's layers. What a layer's tensors mean
/// is no matter of dialects but of `LayerForm`.
public protocol Dialect: Sendable {
  /// As in `--dialect kohya`.
  var name: String { get }
  /// One line on who writes it, with the form of a key.
  var summary: String { get }
  /// Whether tools of today want it, so that it can be asked for.
  var isWritten: Bool { get }

  /// What a key stands for; nil for a key of another dialect.
  func parse(_ key: String) -> AdapterKey?

  /// Whether a key shows that the file is of this dialect.
  func claims(_ key: String) -> Bool

  /// The inverse of `parse`.
  func key(_ stem: String, _ part: AdapterKey.Part) -> String

  /// The stems by which files name each layer of a base model, by full module path; the first one is written.
  func spellings(in base: ModuleNames) -> OrderedDictionary<String, [String]>

  /// What the tensors' file must be called for the dialect's own reader, which is given a folder; nil where any name will do.
  var fileName: String? { get }

  /// A file that stands beside the tensors and belongs to them. Its text counts as metadata under its name.
  var companion: String? { get }

  /// What the metadata says about the alphas of layers that have no alpha tensor.
  ///
  /// - Throws: `MetadataError` for metadata that cannot be followed.
  func alphas(in metadata: OrderedDictionary<String, String>) throws(MetadataError) -> any AlphaSource

  /// The same ΔW, stated so that all readers of the dialect understand it.
  func statement(of layers: OrderedDictionary<String, LowRankFactors>) -> OrderedDictionary<String, LowRankFactors>

  /// Whether alphas are written as tensors.
  var writesAlphaTensors: Bool { get }

  /// Refuses layers, by their names in the file, that no file of this dialect can hold together.
  func check(_ stems: [String]) throws(MetadataError)

  /// What a file of these layers must say in its metadata for this dialect's readers.
  func metadata(
    for layers: OrderedDictionary<String, LowRankFactors>
  ) throws(MetadataError) -> OrderedDictionary<String, String>
}

/// Knows the alpha of a layer.
public protocol AlphaSource {
  /// - Returns: nil where nothing is said.
  func alpha(of stem: String, rank: Int) -> Double?

  /// alpha / rank of a layer whose tensors have no rank, as a LoKr of whole matrices.
  ///
  /// - Returns: nil where nothing is said.
  func scale(of stem: String) -> Double?

  /// Whether the layer should have magnitudes (DoRA).
  func hasMagnitude(_ stem: String) -> Bool

  /// What a user should know about how the alphas were found; nil when there is nothing to say.
  var remark: String? { get }
}

extension AlphaSource {
  public func scale(of stem: String) -> Double? { nil }
  public func hasMagnitude(_ stem: String) -> Bool { false }
  public var remark: String? { nil }
}

/// Says nothing.
struct NoAlphas: AlphaSource {
  var remark: String?

  func alpha(of stem: String, rank: Int) -> Double? { nil }
}

extension Dialect {
  public var isWritten: Bool { false }

  public var fileName: String? { nil }

  public var companion: String? { nil }

  public var writesAlphaTensors: Bool { false }

  public func check(_ stems: [String]) throws(MetadataError) {}

  public func claims(_ key: String) -> Bool { parse(key) != nil }

  public func alphas(in metadata: OrderedDictionary<String, String>) throws(MetadataError) -> any AlphaSource { NoAlphas() }

  /// Alpha = rank, which is what it is where nothing is said.
  public func statement(
    of layers: OrderedDictionary<String, LowRankFactors>
  ) -> OrderedDictionary<String, LowRankFactors> { layers.mapValues { $0.restated(alpha: Double($0.rank)) } }

  public func metadata(
    for layers: OrderedDictionary<String, LowRankFactors>
  ) throws(MetadataError) -> OrderedDictionary<String, String> { ["format": "pt"] }
}

/// The dialects that are known.
public enum Dialects {
  /// To add one: a file in this folder and a line here.
  public static let all: [any Dialect] = [
    KohyaDialect.kohya, KohyaDialect.lycoris, DiffusersDialect(), OldDiffusersDialect(), PEFTDialect(), ComfyUIDialect(),
    OMIDialect(), DensePyTorchDialect(),
  ]

  /// Those that can be asked for when a file is written.
  public static let written = all.filter(\.isWritten)

  public static var kohya: any Dialect { KohyaDialect.kohya }
  public static var diffusers: any Dialect { DiffusersDialect() }

  /// The dialect of that name, as in `--dialect kohya`.
  public static func named(_ name: String) -> (any Dialect)? { all.first { $0.name == name } }
}

/// Metadata that contradicts itself or asks for something this package does not do.
public struct MetadataError: Error, CustomStringConvertible, Equatable {
  public let key: String
  public let problem: String

  public var description: String { "the metadata \(key) \(problem)" }
}

/// The first of the most frequent values; nil if there are none.
package func mostCommon<Value: Hashable>(_ values: [Value]) -> Value? {
  let counts = values.reduce(into: OrderedDictionary<Value, Int>()) { $0[$1, default: 0] += 1 }
  let most = counts.values.max()
  return counts.first { $0.value == most }?.key
}
