internal import OrderedCollections
internal import SafeTensors
public import Torch

extension AdapterFile {
  /// Writes an adapter for a base model. The same adapter gives the same bytes.
  ///
  /// - Parameters:
  ///   - dtype: of the factors in the file. Alphas are always 32-bit.
  ///   - dtypes: of layers by their paths where `dtype` is nil; the others stay as they are.
  ///   - overwrite: whether an existing file may be replaced.
  /// - Returns: the paths of all files written: a dialect may put a second one beside the tensors.
  /// - Throws: `AdapterFileError` for layers that the base lacks or the dialect cannot hold, and for numbers too large for
  ///   `dtype`; `AtomicFileError` where the disk refuses; `TorchError` where an operation has failed, be it before. Nothing
  ///   half-written stays.
  @discardableResult
  public static func write(
    _ adapter: Adapter, to path: String, as dialect: any Dialect, for base: ModuleNames, dtype: DType? = nil,
    dtypes: [String: DType] = [:], overwrite: Bool = false
  ) throws -> [String] {
    guard !adapter.factors.isEmpty else { throw AdapterFileError(path, .empty) }
    let stems = try stems(of: adapter.factors.keys, path: path, dialect, base)
    let layers = try withTorchErrors {
      dialect.statement(of: OrderedDictionary(uniqueKeysWithValues: stems.map { ($0, adapter.factors[$1]!) }))
    }
    var tensors: OrderedDictionary<String, Tensor> = [:]
    for (stem, module) in stems {
      let factors = layers[stem]!
      let target = dtype ?? dtypes[module] ?? adapter.factors[module]!.dtype
      guard factors.isFinite else { throw AdapterFileError(path, .notFinite(stem)) }
      let stored = try withTorchErrors {
        // bfloat16 has numbers that are too small for float16.
        let changesType = target.byteCount <= 2 && target != factors.dtype
        let balanced = changesType || factors.largest > LayerReader.largestNumber ? factors.balanced : factors
        let stored = balanced.to(dtype: target, device: .cpu)
        guard stored.largest <= LayerReader.largestNumber else {
          let largest = stored.isFinite ? stored.largest : balanced.largest
          throw AdapterFileError(path, .beyondReading(stem, largest, limit: LayerReader.largestNumber))
        }
        return stored
      }
      tensors[dialect.key(stem, .down)] = stored.down
      tensors[dialect.key(stem, .up)] = stored.up
      if dialect.writesAlphaTensors { tensors[dialect.key(stem, .alpha)] = Tensor(stored.alpha) }
    }
    let own = try naming(path) { () throws(MetadataError) in
      try dialect.check(Array(layers.keys))
      return try dialect.metadata(for: layers)
    }
    var metadata = standardMetadata(for: Array(layers.values), of: base, replacing: adapter.lastingMetadata)
      .merging(own) { $1 }
    let companion = dialect.companion.flatMap { name in
      metadata.removeValue(forKey: name).map { (path: beside(path, name), text: $0) }
    }
    let sources = tensors.map { SafeTensorsSource(name: $0, tensor: $1) }
    for file in [path] + (companion.map { [$0.path] } ?? []) { try AtomicFile.check(file, overwrite: overwrite) }
    metadata.merge(try ContentHashes(of: sources, metadata: metadata, file: path).metadata) { $1 }
    try SafeTensorsFile.write(sources, metadata: metadata, to: path, overwrite: overwrite) {
      // When all that can fill the disk is written: the tensors never stand there with what explains others.
      if let companion { try AtomicFile.write(companion.text + "\n", to: companion.path, overwrite: overwrite) }
    }
    return [path] + (companion.map { [$0.path] } ?? [])
  }

  /// Refuses layers that a file of a dialect cannot hold, before there is anything to write.
  ///
  /// - Throws: `AdapterFileError`, as `write` does.
  package static func check(
    _ layers: some Sequence<String>, for path: String, as dialect: any Dialect, of base: ModuleNames
  ) throws(AdapterFileError) {
    let stems = try stems(of: layers, path: path, dialect, base)
    try naming(path) { () throws(MetadataError) in try dialect.check(Array(stems.keys)) }
  }

  /// The paths of the layers by their names in the file.
  private static func stems(
    of layers: some Sequence<String>, path: String, _ dialect: any Dialect, _ base: ModuleNames
  ) throws(AdapterFileError) -> OrderedDictionary<String, String> {
    let spellings = dialect.spellings(in: base)
    var stems: OrderedDictionary<String, String> = [:]
    for module in layers {
      guard let stem = spellings[module]?.first else {
        throw AdapterFileError(path, .defects([.noSuchLayer(module)], dialect: dialect.name))
      }
      guard stems.updateValue(module, forKey: stem) == nil else {
        let twins = spellings.filter { $0.value.first == stem }.keys
        throw AdapterFileError(path, .defects([.ambiguous(stem, Array(twins))], dialect: dialect.name))
      }
    }
    return stems
  }
}
