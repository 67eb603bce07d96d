internal import Diffusion
public import LoRA
internal import OrderedCollections
internal import Torch
package import Training

/// A LoRA file to be read as what it says, whatever its dialect and form.
public struct AdapterInput: Codable, Sendable, Equatable {
  public var path: String
  /// The model it is for, where that is none of `KnownBase` or where its weights are needed (DoRA).
  public var base: String?
  /// The largest rank that layers get which are no LoRA; what the work needs when nil.
  public var rankLimit: Int?
  /// Whether changes of biases and norms, and embeddings of words, are left out instead of refused.
  public var leavesOutVectors: Bool

  public init(
    _ path: String, base: String? = nil, rankLimit: Int? = nil, leavesOutVectors: Bool = false
  ) {
    self.path = path
    self.base = base
    self.rankLimit = rankLimit
    self.leavesOutVectors = leavesOutVectors
  }

  package func validate() throws(SettingError) {
    if let rankLimit { try Demand.atLeast(1, rankLimit, "rank-limit") }
  }

  package struct Content {
    let file: AdapterFile
    let names: ModuleNames
    /// What the layers were resolved against.
    let base: String
    /// The files that the result depends on, as they were when they were read: an output may replace one.
    package let inputs: [FileDigest]
    package let reading: AdapterFile.Reading
  }

  /// - Parameter standard: the largest rank of layers that are no LoRA, where none is set.
  package func read(rankLimit standard: Int = AdapterFile.Options().rankLimit, progress: ProgressHandler) throws -> Content {
    let file = try AdapterFile(path: path)
    ProgressReport.remarks(on: [file], to: progress)
    let options = AdapterFile.Options(rankLimit: rankLimit ?? standard, leavesOutVectors: leavesOutVectors)
    func tell(_ done: Int, _ count: Int) throws {
      try ProgressReport.layer(done, of: count, phase: "reading \(Paths.name(file.path))", to: progress)
    }
    let model = try base.map { try AdapterBase($0, for: [file], progress: progress) }
    let inputs = try FileDigest.ofInputs(file.files + (model?.files ?? []), progress: progress)
    let (name, names) = try model.map { ($0.name, $0.names) } ?? KnownBase.named(for: file)
    let reading = try file.resolved(for: names, weights: model?.weights ?? [:], options: options, progress: tell)
    return Content(file: file, names: names, base: name, inputs: inputs, reading: reading)
  }
}

/// A base model, as far as LoRA files need one: the names of its layers, and its weights where a file is DoRA.
struct AdapterBase {
  let name: String
  let names: ModuleNames
  /// Empty where no file needs them.
  let weights: Projections
  let files: [String]

  /// - Parameter name: as for `BaseModel`.
  init(_ name: String, for adapters: [AdapterFile], progress: ProgressHandler) throws {
    let local = try BaseModel(name).locate(progress: progress)
    let needsWeights = adapters.contains { $0.layers.values.contains(where: \.needsBase) }
    self.name = name
    names = try local.checkpoint.moduleNames
    weights = needsWeights ? try local.load().projections : [:]
    files = local.files
  }
}

extension ProgressReport {
  /// Tells of work that goes layer by layer.
  ///
  /// - Throws: `Interrupted` when the handler wants to stop.
  static func layer(_ done: Int, of count: Int, phase: String, to handler: ProgressHandler) throws {
    guard handler(ProgressReport(phase: phase, step: done, total: count)) || done == count else {
      throw Interrupted(phase: phase, step: done, state: nil)
    }
  }
}

/// A LoRA file made of another, and how they differ.
public struct AdapterRewriting: Codable, Sendable, Equatable {
  public let files: [String]
  /// What the layers were resolved against.
  public let base: String
  public let dialects: [String]
  public let layers: Int
  /// Layers that are not exactly what they were.
  public let reductions: [AdapterFile.Reduction]
  /// Keys of biases, norms and embeddings that were left out.
  public let leftOut: [String]
}

extension AdapterOutput {
  /// Writes an adapter made of `input`, and the record of the run.
  package func write(
    _ adapter: Adapter, of content: AdapterInput.Content, reductions: [AdapterFile.Reduction]
  ) throws -> AdapterRewriting {
    let title = content.file.metadata["modelspec.title"]
    let files = try write(
      adapter, metadata: title.map { ["modelspec.title": $0] } ?? [:], as: content.file.dialect, for: content.names,
      dtypes: content.reading.dtypes)
    let dialects = [content.file.dialect, dialect(or: content.file.dialect)]
    return AdapterRewriting(
      files: files, base: content.base, dialects: dialects.map(\.name), layers: adapter.factors.count, reductions: reductions,
      leftOut: content.reading.leftOut)
  }
}
