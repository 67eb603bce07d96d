internal import Foundation
internal import LoRA
internal import Merging
internal import OrderedCollections
public import Torch

/// Where and how a LoRA is written.
public struct AdapterOutput: Codable, Sendable, Equatable {
  public var path: String
  /// By its name in `Dialects`; what the workflow says when nil.
  public var dialect: String?
  /// Of the factors in the file; when nil, those of a LoRA stay as they are, and others get the type they had in the file they
  /// are from.
  public var dtype: DType?
  /// Whether existing files may be replaced.
  public var overwrite: Bool

  public init(_ path: String, dialect: String? = nil, dtype: DType? = .float32, overwrite: Bool = false) {
    self.path = path
    self.dialect = dialect
    self.dtype = dtype
    self.overwrite = overwrite
  }

  /// The path without `.safetensors`, which the names of everything beside it begin with.
  var stem: String { Paths.stem(path) }

  /// The output of the LoRA as it is after a step of its training.
  ///
  /// - Parameter fallback: the dialect when none is asked for. One that opens a LoRA by one name alone has a folder for each.
  func checkpoint(step: Int, as fallback: any Dialect, overwrite: Bool) -> AdapterOutput {
    let place = "\(stem)\(String(format: "-step%05d", step))"
    var output = self
    output.path = dialect(or: fallback).fileName.map { "\(place)/\($0)" } ?? "\(place).safetensors"
    output.overwrite = overwrite
    return output
  }

  /// What the merge that made it did, layer by layer (`MergeReport`).
  package var reportPath: String { "\(stem).report.json" }

  package func validate() throws(SettingError) {
    guard path.hasSuffix(".safetensors") else {
      throw SettingError("output", path, expected: "a name that ends in .safetensors")
    }
    if let dialect, Dialects.written.allSatisfy({ $0.name != dialect }) {
      throw SettingError("dialect", dialect, expected: Dialects.written.map(\.name).joined(separator: " or "))
    }
  }

  /// The dialect that is asked for, else the fallback; kohya's instead of one that is not written any more.
  func dialect(or fallback: any Dialect) -> any Dialect {
    dialect.flatMap(Dialects.named) ?? (fallback.isWritten ? fallback : Dialects.kohya)
  }

  /// Refuses before the work what `write` would refuse after it.
  ///
  /// - Throws: `AtomicFileError` for a file that is there, be it one that the dialect puts beside the LoRA; `SettingError` for a
  ///   name by which the dialect's own reader would not find it.
  func check(as fallback: any Dialect) throws {
    let dialect = dialect(or: fallback)
    if let name = dialect.fileName, Paths.name(path) != name {
      throw SettingError(
        "output", path, expected: "FOLDER/\(name), the only name by which \(dialect.name) opens a LoRA, or another dialect")
    }
    try Paths.checkWritable(AdapterFile.files(at: path, as: dialect), overwrite: overwrite)
  }

  /// The same for the layers that it will have, once they are known.
  ///
  /// - Throws: `AdapterFileError` for layers that a file of the dialect cannot hold.
  func check(_ layers: some Sequence<String>, as fallback: any Dialect, for base: ModuleNames) throws {
    try AdapterFile.check(layers, for: path, as: dialect(or: fallback), of: base)
  }

  /// - Parameters:
  ///   - metadata: goes before what the adapter says of itself.
  ///   - fallback: the dialect when none is asked for.
  ///   - dtypes: of layers by their paths, where none is asked for.
  /// - Returns: the paths of the files written.
  func write(
    _ adapter: Adapter, metadata: OrderedDictionary<String, String>, as fallback: any Dialect, for base: ModuleNames,
    dtypes: [String: DType] = [:]
  ) throws -> [String] {
    let dialect = dialect(or: fallback)
    var own: OrderedDictionary = ["ss_output_name": Paths.name(stem), "modelspec.title": Paths.name(stem)]
    if let shares = try? MergeShares(metadata: adapter.metadata) {
      let spellings = dialect.spellings(in: base)
      own[MergeShares.metadataKey] = shares.renamed { spellings[$0]?.first }.text
    }
    let described = Adapter(
      factors: adapter.factors,
      metadata: adapter.metadata.merging(own) { $1 }.merging(metadata) { $1 }
        .merging(["ziplora.version": Version.current]) { $1 })
    return try AdapterFile.write(
      described, to: path, as: dialect, for: base, dtype: dtype, dtypes: dtypes, overwrite: overwrite)
  }
}
