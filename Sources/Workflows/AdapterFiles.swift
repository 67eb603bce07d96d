internal import LoRA
internal import OrderedCollections
internal import Torch
internal import Training

/// LoRA files that belong together, with their layers under common names: those of a base model that is given or known, or
/// those that the files give them themselves where all name layers alike.
struct AdapterFiles {
  let files: [AdapterFile]
  let adapters: [Adapter]
  /// By the common names.
  let names: ModuleNames
  /// That of the first file, to write under the common names.
  let dialect: any Dialect
  /// What the base model was read from.
  let baseFiles: [String]

  /// - Parameter base: as for `BaseModel`.
  /// - Throws: `SettingError` for files that need a base model to be understood together.
  init(_ paths: [String], base: String?, progress: ProgressHandler) throws {
    let files = try paths.map { try AdapterFile(path: $0) }
    self.files = files
    if let base {
      let model = try AdapterBase(base, for: files, progress: progress)
      (names, dialect, baseFiles) = (model.names, files[0].dialect, model.files)
      adapters = try withoutGrad { try files.map { try $0.adapter(for: model.names, weights: model.weights) } }
    } else if let known = KnownBase.common(of: files) {
      (names, dialect, baseFiles) = (known.names, files[0].dialect, [])
      adapters = try withoutGrad { try files.map { try $0.adapter(for: known.names) } }
    } else {
      baseFiles = []
      try Self.checkNames(of: files)
      adapters = try withoutGrad { try files.map { try $0.unresolved() } }
      let factors = adapters.reduce(into: OrderedDictionary<String, LowRankFactors>()) { all, adapter in
        all.merge(adapter.factors) { first, _ in first }
      }
      (names, dialect) = (ModuleNames(factors.mapValues(\.weightShape)), VerbatimNames(files[0].dialect))
    }
  }

  /// Of a base that nobody knows, only equal names tell that two layers are the same.
  private static func checkNames(of files: [AdapterFile]) throws(SettingError) {
    let remedy = "give the base model that they are for with --base"
    for other in files.dropFirst() {
      guard other.dialect.name == files[0].dialect.name else {
        throw SettingError(
          """
          \(files[0].path) is in the dialect \(files[0].dialect.name) and \(other.path) in \(other.dialect.name), which name \
          layers differently; \(remedy)
          """)
      }
      guard other.layers.keys.contains(where: { files[0].layers[$0] != nil }) else {
        throw SettingError(
          """
          \(files[0].path) and \(other.path) have no name of a layer in common, such as \(files[0].layers.keys[0]) and \
          \(other.layers.keys[0]); \(remedy)
          """)
      }
    }
  }

  /// - Throws: `SettingError` for another dialect than the files', which takes a base model.
  func write(_ adapter: Adapter, to output: AdapterOutput) throws {
    var output = output
    if let wanted = output.dialect, dialect is VerbatimNames {
      guard wanted == dialect.name else {
        throw SettingError(
          """
          --dialect \(wanted): \(files[0].path) is in the dialect \(dialect.name), and only a base model tells what its \
          layers are called in another; give it with --base, or leave --dialect out
          """)
      }
      output.dialect = nil
    }
    try output.write(adapter, metadata: [:], as: dialect, for: names)
  }
}
