public import OrderedCollections
internal import SafeTensors
public import Torch

/// An adapter file, taken apart and checked, as far as that goes without the base model.
///
/// ```swift
/// let file = try AdapterFile(path: "cat.safetensors")
/// let adapter = try file.adapter(for: ModuleNames(projections))
/// ```
/// Every key is accounted for: what is not understood, has no counterpart or holds no usable numbers is an error.
public struct AdapterFile {
  public let path: String
  public let dialect: any Dialect
  public let metadata: OrderedDictionary<String, String>
  /// By the names that the file gives to layers, in its order.
  public let layers: OrderedDictionary<String, LowRankFactors>

  /// Opens a file, finds its dialect and checks every tensor.
  ///
  /// - Throws: `AdapterFileError`; `SafeTensorsError` for what is no safetensors file; `MetadataError`.
  public init(path: String) throws {
    let collection = try SafeTensorsCollection(path: path)
    self.path = path
    metadata = collection.file.metadata
    dialect = try Self.dialect(of: collection.keys, path: path)
    var reader = LayerReader(dialect: dialect, collection: collection)
    layers = try reader.layers(alphas: dialect.alphas(in: metadata))
    guard reader.defects.isEmpty else {
      throw AdapterFileError(path, .defects(reader.defects, dialect: dialect.name))
    }
  }

  /// Exactly one dialect must recognise keys of the file.
  private static func dialect(of keys: [String], path: String) throws(AdapterFileError) -> any Dialect {
    guard !keys.isEmpty else { throw AdapterFileError(path, .empty) }
    let evidence = Dialects.all.map { dialect in
      AdapterFileError.Evidence(dialect.name, keys.filter { dialect.parse($0) != nil })
    }
    let claims = evidence.indices.filter { evidence[$0].count > 0 }
    switch claims.count {
    case 1: return Dialects.all[claims[0]]
    case 0: throw AdapterFileError(path, .unrecognized(count: keys.count, examples: Array(keys.sorted().prefix(3))))
    default: throw AdapterFileError(path, .mixed(claims.map { evidence[$0] }, count: keys.count))
    }
  }

  /// The adapter, with its layers found in a base model and fitting it.
  ///
  /// Factors of 1×1 convolutions and of linear layers take the form of the model's layer.
  /// - Parameter base: every layer of the components that adapters may change.
  /// - Throws: `AdapterFileError` where a layer is not in the model, is there twice or has another shape.
  public func adapter(for base: ModuleNames) throws -> Adapter {
    var pathOfStem: [String: String] = [:]
    for (path, stems) in dialect.spellings(in: base) {
      for stem in stems { pathOfStem[stem] = path }
    }
    var found: [String: (stem: String, factors: LowRankFactors)] = [:]
    var defects: [AdapterFileError.Defect] = []
    var misfits: [AdapterFileError.Defect] = []
    for (stem, factors) in layers {
      guard let path = pathOfStem[stem], let shape = base.shapes[path] else {
        defects.append(.noSuchLayer(stem))
        continue
      }
      guard let fitting = factors.fitting(shape) else {
        misfits.append(.misfit(path, file: factors.weightShape, model: shape))
        continue
      }
      if let other = found[path]?.stem { defects.append(.twice(path, [other, stem])) }
      found[path] = (stem, fitting)
    }
    if !misfits.isEmpty || found.isEmpty {
      let families = (file: Inspection.family(of: self), base: base.family)
      throw AdapterFileError(
        path, .otherBase(misfits + defects, of: layers.count, file: families.file, base: families.base))
    }
    guard defects.isEmpty else { throw AdapterFileError(path, .defects(defects, dialect: dialect.name)) }
    let ordered = base.paths.compactMap { path in found[path].map { (path, $0.factors) } }
    return Adapter(factors: OrderedDictionary(uniqueKeysWithValues: ordered), metadata: metadata)
  }

  /// Reads an adapter for a base model.
  public static func read(_ path: String, for base: ModuleNames) throws -> Adapter {
    try AdapterFile(path: path).adapter(for: base)
  }

  /// Writes an adapter for a base model. The same adapter gives the same bytes.
  ///
  /// - Parameters:
  ///   - dtype: of the factors in the file; as they are when nil. Alphas are always 32-bit.
  ///   - overwrite: whether an existing file may be replaced.
  /// - Throws: `AdapterFileError` for a layer that the base lacks and for numbers too large for `dtype`;
  ///   `AtomicFileError` where the disk refuses. Nothing half-written stays.
  public static func write(
    _ adapter: Adapter, to path: String, as dialect: any Dialect, for base: ModuleNames, dtype: DType? = nil,
    overwrite: Bool = false
  ) throws {
    guard !adapter.factors.isEmpty else { throw AdapterFileError(path, .empty) }
    let spellings = dialect.spellings(in: base)
    var layers: OrderedDictionary<String, LowRankFactors> = [:]
    for (module, factors) in adapter.factors {
      guard let stem = spellings[module]?.first else {
        throw AdapterFileError(path, .defects([.noSuchLayer(module)], dialect: dialect.name))
      }
      layers[stem] = factors
    }
    layers = dialect.statement(of: layers)
    var tensors: OrderedDictionary<String, Tensor> = [:]
    for (stem, factors) in layers {
      let stored = factors.to(dtype: dtype ?? factors.down.dtype, device: .cpu)
      guard stored.isFinite else {
        throw AdapterFileError(path, .notWritable(stem, dtype: stored.down.dtype, wasFinite: factors.isFinite))
      }
      tensors[dialect.key(stem, .down)] = stored.down
      tensors[dialect.key(stem, .up)] = stored.up
      if dialect.writesAlphaTensors { tensors[dialect.key(stem, .alpha)] = Tensor(stored.alpha) }
    }
    let metadata = adapter.lastingMetadata
      .merging(Self.standardMetadata(for: Array(layers.values), of: base)) { $1 }
      .merging(try dialect.metadata(for: layers)) { $1 }
    try saveSafeTensors(tensors, metadata: metadata, to: path, overwrite: overwrite)
  }
}

/// Makes layers of the tensors of a file and collects what is wrong with them.
private struct LayerReader {
  let dialect: any Dialect
  let collection: SafeTensorsCollection
  private(set) var defects: [AdapterFileError.Defect] = []

  init(dialect: any Dialect, collection: SafeTensorsCollection) {
    self.dialect = dialect
    self.collection = collection
  }

  mutating func layers(alphas: any AlphaSource) throws -> OrderedDictionary<String, LowRankFactors> {
    var parts: OrderedDictionary<String, [AdapterKey.Part: String]> = [:]
    for key in collection.keys.sorted() {
      if let parsed = dialect.parse(key) {
        parts[parsed.stem, default: [:]][parsed.part] = key
      } else {
        defects.append(.unknownKey(key))
      }
    }
    var layers: OrderedDictionary<String, LowRankFactors> = [:]
    for (stem, keys) in parts { layers[stem] = try layer(stem, keys, alphas) }
    return layers
  }

  private mutating func layer(
    _ stem: String, _ keys: [AdapterKey.Part: String], _ alphas: any AlphaSource
  ) throws -> LowRankFactors? {
    guard let downKey = keys[.down], let upKey = keys[.up] else {
      let missing = [AdapterKey.Part.down, .up].filter { keys[$0] == nil }.map { dialect.key(stem, $0) }
      defects.append(.missing(missing, for: stem))
      return nil
    }
    guard let down = try numbers(downKey), let up = try numbers(upKey) else { return nil }
    guard down.rank == 2 || down.rank == 4, up.rank == 2 || up.rank == 4, down.dim(0) > 0, up.dim(1) == down.dim(0),
      up.shape.dropFirst(2).allSatisfy({ $0 == 1 })
    else {
      defects.append(.halves(stem, down: down.shape, up: up.shape))
      return nil
    }
    let stated = alphas.alpha(of: stem, rank: down.dim(0))
    var alpha = stated ?? Double(down.dim(0))
    if let key = keys[.alpha] {
      guard let tensor = try numbers(key) else { return nil }
      guard tensor.count == 1 else {
        defects.append(.alphaNotOneNumber(key, shape: tensor.shape))
        return nil
      }
      alpha = tensor.item()
      if let stated, stated != alpha { defects.append(.twoAlphas(stem, tensor: alpha, metadata: stated)) }
    }
    let ones = down.shape.dropFirst(2).map { _ in 1 }
    return LowRankFactors(down: down, up: up.reshaped([up.dim(0), up.dim(1)] + ones), alpha: alpha)
  }

  /// A tensor of finite floating-point numbers.
  private mutating func numbers(_ key: String) throws -> Tensor? {
    let tensor = try collection.tensor(key)
    guard tensor.dtype.isFloatingPoint else {
      defects.append(.notFloatingPoint(key, tensor.dtype))
      return nil
    }
    guard tensor.isFinite().allHold() else {
      defects.append(.notFinite(key))
      return nil
    }
    return tensor
  }
}

extension LowRankFactors {
  /// The same factors for a weight of this shape; nil if they do not fit. A 1×1 convolution and a linear layer are the same
  /// thing, and models of one family have either (SD 1.x proj_in).
  func fitting(_ shape: [Int]) -> LowRankFactors? {
    if weightShape == shape { return self }
    guard Array(shape.prefix(2)) == Array(weightShape.prefix(2)),
      shape.dropFirst(2).allSatisfy({ $0 == 1 }), weightShape.dropFirst(2).allSatisfy({ $0 == 1 })
    else { return nil }
    let ones = shape.dropFirst(2)
    return LowRankFactors(
      down: down.reshaped([rank, inputs] + ones), up: up.reshaped([up.dim(0), rank] + ones), alpha: alpha)
  }
}
