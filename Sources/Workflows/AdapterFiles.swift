package import LoRA
internal import Merging
internal import OrderedCollections
internal import Torch
package import Training

/// LoRA files that belong together, with their layers under common names: those of a base model that is given or known, or
/// those that the files give them themselves where all name layers alike.
package struct AdapterFiles {
  let files: [AdapterFile]
  package let adapters: [Adapter]
  /// By the common names.
  let names: ModuleNames
  /// That of the first file, to write under the common names.
  let dialect: any Dialect
  /// Everything that was read, as it was then: an output may replace it.
  package let inputs: [FileDigest]

  /// - Parameter base: as for `BaseModel`.
  /// - Throws: `SettingError` for files that need a base model to be understood together.
  package init(_ paths: [String], base: String?, progress: ProgressHandler) throws {
    let files = try paths.map { try AdapterFile(path: $0) }
    self.files = files
    ProgressReport.remarks(on: files, to: progress)
    let model = try base.map { try AdapterBase($0, for: files, progress: progress) }
    inputs = try FileDigest.ofInputs(files.flatMap(\.files) + (model?.files ?? []), progress: progress)
    let readings: [AdapterFile.Reading]
    if let model {
      (names, dialect) = (model.names, files[0].dialect)
      readings = try files.map { try $0.resolved(for: model.names, weights: model.weights) }
    } else if let known = try KnownBase.common(of: files) {
      (names, dialect) = (known.names, files[0].dialect)
      readings = try files.map { try $0.resolved(for: known.names) }
    } else {
      try Self.checkNames(of: files)
      readings = try withoutGrad { try files.map { try $0.unresolved() } }
      let factors = readings.reduce(into: OrderedDictionary<String, LowRankFactors>()) { all, reading in
        all.merge(reading.adapter.factors) { first, _ in first }
      }
      (names, dialect) = (ModuleNames(factors.mapValues(\.weightShape)), VerbatimNames(files[0].dialect))
    }
    adapters = readings.map(\.adapter)
    ProgressReport.losses(of: readings, from: files, to: progress)
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
      let (mine, theirs) = (parts(of: files[0]), parts(of: other))
      let shared = mine.filter { theirs[$0.key] != nil }
      // Of a part that both change under no common name, one may have another program's names.
      let apart = shared.first { part, names in theirs[part]!.allSatisfy { !names.contains($0) } }
      if let (part, names) = apart ?? (shared.isEmpty ? mine.elements.first : nil) {
        throw SettingError(
          """
          \(files[0].path) and \(other.path) have no name of a layer in common\(part.isEmpty ? "" : " in \(part.dropLast())"), such as \
          \(names[0]) and \((theirs[part] ?? other.layers.keys)[0]); \(remedy)
          """)
      }
    }
  }

  /// The names of its layers by the part of the model that they begin with; those that name none are one part.
  private static func parts(of file: AdapterFile) -> OrderedDictionary<String, OrderedSet<String>> {
    let known = ["lora_unet_", "lora_te_", "lora_te1_", "lora_te2_"] + Component.allCases.map { "\($0.rawValue)." }
    return OrderedDictionary(grouping: file.layers.keys) { name in known.first(where: name.hasPrefix) ?? "" }
      .mapValues { OrderedSet($0) }
  }

  /// What the files are called in reports and metadata, with numbers where they are called alike.
  static func names(of files: [AdapterFile]) -> [String] {
    var seen: [String: Int] = [:]
    let names = files.map(\.name)
    return names.map { name in
      guard names.count(where: { $0 == name }) > 1 else { return name }
      seen[name, default: 0] += 1
      return "\(name) \(seen[name]!)"
    }
  }

  /// Refuses before the work what `write` would refuse after it.
  func check(_ output: AdapterOutput) throws {
    let output = try accepted(output)
    try output.check(as: dialect)
    try output.check(OrderedSet(adapters.flatMap(\.factors.keys)), as: dialect, for: names)
  }

  /// - Returns: the paths of the files written.
  /// - Throws: `SettingError` for another dialect than the files', which takes a base model.
  package func write(_ adapter: Adapter, to output: AdapterOutput) throws -> [String] {
    try accepted(output).write(adapter, metadata: [:], as: dialect, for: names)
  }

  /// An output that the names of the layers are enough for.
  private func accepted(_ output: AdapterOutput) throws(SettingError) -> AdapterOutput {
    var output = output
    if let wanted = output.dialect, dialect is VerbatimNames {
      guard wanted == dialect.name else {
        throw SettingError(
          """
          --dialect \(wanted): \(files[0].path) is in the dialect \(dialect.name), and only a base model tells what its \
          layers are called in another; leave --dialect out, and let ziplora convert --base rewrite the result
          """)
      }
      output.dialect = nil
    }
    return output
  }
}

extension AdapterFile {
  /// The adapter for a base model, as `reading` has it, with what its metadata says about layers under the base's names, too.
  func resolved(
    for base: ModuleNames, weights: Projections = [:], options: Options = .init(),
    progress: (_ done: Int, _ count: Int) throws -> Void = { _, _ in }
  ) throws -> Reading {
    let paths = try paths(in: base)
    var resolved = try withoutGrad { try reading(for: base, weights: weights, options: options, progress: progress) }
    if let shares = try? MergeShares(metadata: metadata) {
      resolved.adapter.metadata[MergeShares.metadataKey] = shares.renamed { paths[$0] }.text
    }
    return resolved
  }
}

extension ProgressReport {
  /// Passes on what a user should know about how files were understood.
  static func remarks(on files: [AdapterFile], to handler: ProgressHandler) {
    let warnings = files.flatMap { file in file.remarks.map { "\(file.path): \($0)" } }
    if !warnings.isEmpty { _ = handler(ProgressReport(phase: "opening LoRAs", step: 1, total: 1, warnings: warnings)) }
  }

  /// Warns of layers that lost a part of their change when they became LoRAs.
  static func losses(of readings: [AdapterFile.Reading], from files: [AdapterFile], to handler: ProgressHandler) {
    let warnings = zip(readings, files).compactMap { reading, file -> String? in
      // What float32 leaves of an exact conversion is far below.
      let lossy = reading.reductions.filter { $0.discardedEnergy > 1e-6 }
      guard let worst = lossy.max(by: { $0.discardedEnergy < $1.discardedEnergy }) else { return nil }
      let share = (worst.discardedEnergy * 1000).rounded() / 10
      return """
        \(file.path): \(lossy.count) layers are no LoRA (\(worst.form)) and are taken as LoRAs of rank \(worst.rank), which lose \
        \(share) % of the squared norm at \(worst.layer), the most; ziplora convert --rank-limit \(2 * worst.rank) makes a file \
        that loses less
        """
    }
    if !warnings.isEmpty { _ = handler(ProgressReport(phase: "reading LoRAs", step: 1, total: 1, warnings: warnings)) }
  }
}
