public import OrderedCollections
internal import Torch

/// A dialect whose layers keep the names that a file gives them, for work that needs no base model: what was read by
/// `AdapterFile.unresolved` is written with the same keys.
public struct VerbatimNames: Dialect {
  private let dialect: any Dialect

  public init(_ dialect: any Dialect) { self.dialect = dialect }

  public var name: String { dialect.name }
  public var summary: String { dialect.summary }
  /// Whoever has files of it wants one more.
  public var isWritten: Bool { true }
  public var fileName: String? { dialect.fileName }
  public var companion: String? { dialect.companion }
  public var writesAlphaTensors: Bool { dialect.writesAlphaTensors }

  public func parse(_ key: String) -> AdapterKey? { dialect.parse(key) }

  public func claims(_ key: String) -> Bool { dialect.claims(key) }

  public func key(_ stem: String, _ part: AdapterKey.Part) -> String { dialect.key(stem, part) }

  /// - Parameter base: with the file's names for its layers.
  public func spellings(in base: ModuleNames) -> OrderedDictionary<String, [String]> {
    OrderedDictionary(uniqueKeysWithValues: base.paths.map { ($0, [$0]) })
  }

  public func alphas(in metadata: OrderedDictionary<String, String>) throws(MetadataError) -> any AlphaSource {
    try dialect.alphas(in: metadata)
  }

  public func statement(
    of layers: OrderedDictionary<String, LowRankFactors>
  ) -> OrderedDictionary<String, LowRankFactors> { dialect.statement(of: layers) }

  public func check(_ stems: [String]) throws(MetadataError) { try dialect.check(stems) }

  public func metadata(
    for layers: OrderedDictionary<String, LowRankFactors>
  ) throws(MetadataError) -> OrderedDictionary<String, String> { try dialect.metadata(for: layers) }
}
