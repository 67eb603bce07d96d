public import OrderedCollections

/// One way of spelling an adapter in a safetensors file.
///
/// Reading happens in two steps. `parse` tells by spelling alone what a key is, which is all that looking at a file without
/// a model needs. `spellings` then says what the names mean, from the list of the model's layers.
public protocol Dialect: Sendable {
  /// As in `--dialect kohya`.
  var name: String { get }
  /// One line on who writes it, with the form of a key.
  var summary: String { get }

  /// What a key stands for; nil for a key of another dialect.
  func parse(_ key: String) -> AdapterKey?

  /// The inverse of `parse`.
  func key(_ stem: String, _ part: AdapterKey.Part) -> String

  /// The stems by which files name each layer of a base model, by full module path; the first one is written.
  func spellings(in base: ModuleNames) -> OrderedDictionary<String, [String]>

  /// What the metadata says about the alphas of layers that have no alpha tensor.
  ///
  /// - Throws: `MetadataError` for metadata that cannot be followed.
  func alphas(in metadata: OrderedDictionary<String, String>) throws -> any AlphaSource

  /// The same ΔW, stated so that all readers of the dialect understand it.
  func statement(of layers: OrderedDictionary<String, LowRankFactors>) -> OrderedDictionary<String, LowRankFactors>

  /// Whether alphas are written as tensors.
  var writesAlphaTensors: Bool { get }

  /// What a file of these layers must say in its metadata for this dialect's readers.
  func metadata(for layers: OrderedDictionary<String, LowRankFactors>) throws -> OrderedDictionary<String, String>
}

/// A key taken apart: the name of a layer in the dialect's spelling, and which of its tensors it is.
public struct AdapterKey: Equatable, Sendable {
  public enum Part: String, CaseIterable, Sendable { case down, up, alpha }

  public let stem: String
  public let part: Part

  public init(_ stem: String, _ part: Part) {
    self.stem = stem
    self.part = part
  }
}

/// Knows the alpha of a layer.
public protocol AlphaSource {
  /// - Returns: nil where nothing is said.
  func alpha(of stem: String, rank: Int) -> Double?
}

/// Says nothing.
struct NoAlphas: AlphaSource {
  func alpha(of stem: String, rank: Int) -> Double? { nil }
}

extension Dialect {
  public func alphas(in metadata: OrderedDictionary<String, String>) throws -> any AlphaSource { NoAlphas() }

  public func statement(
    of layers: OrderedDictionary<String, LowRankFactors>
  ) -> OrderedDictionary<String, LowRankFactors> { layers }

  public func metadata(
    for layers: OrderedDictionary<String, LowRankFactors>
  ) throws -> OrderedDictionary<String, String> { [:] }

  /// The first of the most frequent values; nil if there are none.
  func mostCommon<Value: Hashable>(_ values: [Value]) -> Value? {
    let counts = values.reduce(into: OrderedDictionary<Value, Int>()) { $0[$1, default: 0] += 1 }
    let most = counts.values.max()
    return counts.first { $0.value == most }?.key
  }
}

/// The dialects that are read and written.
public enum Dialects {
  /// To add one: a file in this folder and a line here.
  public static let all: [any Dialect] = [KohyaDialect(), DiffusersDialect()]

  public static var kohya: any Dialect { KohyaDialect() }
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
