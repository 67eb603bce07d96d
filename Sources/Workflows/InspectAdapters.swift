internal import Diffusion
public import LoRA
internal import Merging
internal import OrderedCollections
internal import Torch
public import Training

/// `ziplora inspect`: what is in a LoRA file, and how two of them stand in each other's way.
public struct InspectAdapters: Workflow {
  public static let name = "inspect"

  public struct Outcome: Codable, Sendable, Equatable {
    /// One a file.
    public let files: [Inspection]
    /// Of two files.
    public let similarity: Similarity?
  }

  /// How much the columns of two LoRAs point the same way: where they do, adding the LoRAs up spoils both.
  public struct Similarity: Codable, Sendable, Equatable {
    /// A layer, or a block with the means over its layers.
    public struct Row: Codable, Sendable, Equatable {
      public let name: String
      public let layers: Int
      /// Mean |cos| of the columns.
      public let meanCosine: Double
      /// The same weighted by the columns' sizes.
      public let overlap: Double
    }

    public let blocks: [Row]
    public let layers: [Row]
    /// Layers that only the first, and only the second file changes.
    public let alone: [Int]
  }

  /// One or two.
  public var files: [String]
  /// What the files are for; without it, layers of bases that nobody knows are called as the files call them.
  public var base: String?
  /// Whether norms are computed, and layers found that change nothing.
  public var measures: Bool

  public init(files: [String], base: String? = nil, measures: Bool = true) {
    self.files = files
    self.base = base
    self.measures = measures
  }

  public func validate() throws {
    guard (1...2).contains(files.count) else {
      throw SettingError("\(files.count) files; expected one, or two to compare")
    }
    guard measures || files.count == 1 else {
      throw SettingError("--header looks at no numbers, and two files are compared by theirs; give one file")
    }
  }

  public func perform(progress: ProgressHandler) throws -> Outcome {
    let adapters = try files.map { try AdapterFile(path: $0, checksNumbers: measures) }
    let model = try base.map { try AdapterBase($0, for: adapters, progress: progress) }
    let inspections = try adapters.map { file in
      Inspection(file, base: try model?.names ?? KnownBase.likely(for: file)?.names, measures: measures)
    }
    guard adapters.count == 2 else { return Outcome(files: inspections, similarity: nil) }
    let names = try model?.names ?? KnownBase.common(of: adapters)?.names
    if names == nil, adapters[0].dialect.name != adapters[1].dialect.name {
      throw SettingError(
        """
        \(files[0]) is in the dialect \(adapters[0].dialect.name) and \(files[1]) in \(adapters[1].dialect.name), which \
        name layers differently; give the base model that both are for with --base to compare them
        """)
    }
    let options = AdapterFile.Options(leavesOutVectors: true)
    let both = try withoutGrad {
      try adapters.map { file in
        try names.map { try file.adapter(for: $0, weights: model?.weights ?? [:], options: options) }
          ?? file.unresolved(options).adapter
      }
    }
    return Outcome(files: inspections, similarity: Similarity(both[0], both[1]))
  }
}

extension InspectAdapters.Similarity {
  init(_ first: Adapter, _ second: Adapter) {
    let table = withoutGrad { ColumnSimilarity.compare(first, second) }
    layers = table.map { Row(name: $0, layers: 1, meanCosine: $1.meanCosine, overlap: $1.overlap) }
    blocks = OrderedDictionary(grouping: layers, by: { Inspection.block(of: $0.name) }).map { name, rows in
      func mean(_ value: (Row) -> Double) -> Double { rows.map(value).reduce(0, +) / Double(rows.count) }
      return Row(name: name, layers: rows.count, meanCosine: mean(\.meanCosine), overlap: mean(\.overlap))
    }
    alone = [first, second].map { adapter in adapter.factors.keys.filter { table[$0] == nil }.count }
  }
}
