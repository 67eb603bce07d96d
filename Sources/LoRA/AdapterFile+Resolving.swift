public import OrderedCollections
public import Torch

extension AdapterFile {
  /// How layers that are no LoRA become one.
  public struct Options: Sendable, Equatable {
    /// The largest rank that a LoHa, a LoKr, a DoRA or a whole difference gets. A LoRA keeps its own.
    public var rankLimit: Int
    /// Whether changes of biases and norms, and embeddings of words, are left out instead of refused.
    public var leavesOutVectors: Bool

    public init(rankLimit: Int = 128, leavesOutVectors: Bool = false) {
      self.rankLimit = rankLimit
      self.leavesOutVectors = leavesOutVectors
    }
  }

  /// What became of a layer that was no LoRA.
  public struct Reduction: Codable, Sendable, Equatable {
    public let layer: String
    /// Such as LoHa.
    public let form: String
    /// Of the exact product, and of what was kept.
    public let exactRank: Int
    public let rank: Int
    /// The share of ‖ΔW‖² that is gone.
    public let discardedEnergy: Double

    /// What has become of the layer when it is reduced again.
    package func followed(by later: Reduction) -> Reduction {
      Reduction(
        layer: layer, form: form, exactRank: exactRank, rank: later.rank,
        discardedEnergy: 1 - (1 - discardedEnergy) * (1 - later.discardedEnergy))
    }
  }

  /// An adapter and how it differs from the file.
  public struct Reading {
    public var adapter: Adapter
    public let reductions: [Reduction]
    /// Of each layer in the file; what is computed of it is in 32 bits or more.
    public let dtypes: [String: DType]
    /// Keys of biases, norms and embeddings that were left out.
    public let leftOut: [String]
  }

  /// The adapter, with its layers found in a base model and fitting it.
  ///
  /// - Parameters:
  ///   - base: every layer of the components that adapters may change.
  ///   - weights: of the base, for DoRA.
  /// - Throws: `AdapterFileError` where a layer is not in the model, is there twice or has another shape, and for what no
  ///   LoRA can hold; `TorchError` where memory runs out.
  public func adapter(
    for base: ModuleNames, weights: Projections = [:], options: Options = .init()
  ) throws -> Adapter {
    try reading(for: base, weights: weights, options: options).adapter
  }

  /// The adapter for the model that has these layers, DoRA included.
  public func adapter(for projections: Projections, options: Options = .init()) throws -> Adapter {
    try adapter(for: ModuleNames(projections), weights: projections, options: options)
  }

  /// The adapter, with a report of what is not exactly as in the file.
  ///
  /// Factors of 1×1 convolutions and of linear layers take the form of the model's layer.
  ///
  /// - Parameter progress: hears how many of how many layers are done; what it throws ends the work.
  public func reading(
    for base: ModuleNames, weights: Projections = [:], options: Options = .init(),
    progress: (_ done: Int, _ count: Int) throws -> Void = { _, _ in }
  ) throws -> Reading {
    let places = try places(in: base)
    var defects = places.values.filter { $0.change.needsBase }.compactMap { place in
      weights[place.path] == nil ? AdapterFileError.Defect.needsBase(place.stem) : nil
    }
    defects += extras(unless: options.leavesOutVectors)
    guard defects.isEmpty else { throw AdapterFileError(path, .defects(defects, dialect: dialect.name)) }

    guard !places.isEmpty else { throw AdapterFileError(path, .empty) }
    var factors: OrderedDictionary<String, LowRankFactors> = [:]
    var reductions: [Reduction] = []
    var dtypes: [String: DType] = [:]
    for (path, shape) in base.shapes {
      guard let place = places[path] else { continue }
      let (reduced, fitting) = try withTorchErrors {
        let reduced = place.change.factors(atMost: options.rankLimit, beside: weights[path]?.weight)
        // The shape was found to fit.
        return (reduced, reduced.factors.fitting(shape))
      }
      factors[path] = fitting
      dtypes[path] = place.change.dtype
      try progress(factors.count, layers.count)
      place.change.reduction(reduced, at: path).map { reductions.append($0) }
    }
    return Reading(
      adapter: Adapter(factors: factors, metadata: metadata), reductions: reductions, dtypes: dtypes,
      leftOut: vectors + embeddings)
  }

  /// The adapter by the names that the file gives its layers.
  ///
  /// - Throws: `AdapterFileError` for what takes a base model (DoRA) and for what no LoRA can hold; `TorchError` where memory
  ///   runs out.
  public func unresolved(_ options: Options = .init()) throws -> Reading {
    let defects =
      layers.filter { $0.value.needsBase }.keys.map(AdapterFileError.Defect.needsBase)
      + extras(unless: options.leavesOutVectors)
    guard defects.isEmpty else { throw AdapterFileError(path, .defects(defects, dialect: dialect.name)) }
    let reduced = try layers.mapValues { layer in
      try withTorchErrors { layer.factors(atMost: options.rankLimit, beside: nil) }
    }
    return Reading(
      adapter: Adapter(factors: reduced.mapValues(\.factors), metadata: metadata),
      reductions: reduced.compactMap { layers[$0.key]!.reduction($0.value, at: $0.key) },
      dtypes: Dictionary(uniqueKeysWithValues: layers.map { ($0.key, $0.value.dtype) }), leftOut: vectors + embeddings)
  }

  /// What is in the file and no LoRA can hold.
  func extras(unless leavesOut: Bool) -> [AdapterFileError.Defect] {
    leavesOut ? [] : (vectors.isEmpty ? [] : [.vectors(vectors)]) + (embeddings.isEmpty ? [] : [.embeddings(embeddings)])
  }

  /// The full path of each layer in a base model, by the file's name for it.
  ///
  /// - Throws: `AdapterFileError` as `adapter(for:)` does.
  package func paths(in base: ModuleNames) throws(AdapterFileError) -> [String: String] {
    Dictionary(uniqueKeysWithValues: try places(in: base).values.map { ($0.stem, $0.path) })
  }

  private typealias Place = (path: String, stem: String, change: LayerChange)

  /// Where in a base model each layer belongs.
  private func places(in base: ModuleNames) throws(AdapterFileError) -> OrderedDictionary<String, Place> {
    var pathsOfStem: [String: [String]] = [:]
    for (path, stems) in dialect.spellings(in: base) {
      for stem in stems { pathsOfStem[stem, default: []].append(path) }
    }
    var found: OrderedDictionary<String, Place> = [:]
    var (defects, misfits): ([AdapterFileError.Defect], [AdapterFileError.Defect]) = ([], [])
    for (stem, change) in layers {
      guard let candidates = pathsOfStem[stem], let first = candidates.first else {
        defects.append(.noSuchLayer(stem))
        continue
      }
      let fitting = candidates.filter { change.fits(base.shapes[$0]!) }
      guard fitting.count == 1 else {
        if fitting.isEmpty { misfits.append(change.misfit(first, base.shapes[first]!)) }
        if fitting.count > 1 { defects.append(.ambiguous(stem, fitting)) }
        continue
      }
      if let other = found[fitting[0]]?.stem { defects.append(.twice(fitting[0], [other, stem])) }
      found[fitting[0]] = (fitting[0], stem, change)
    }
    if !misfits.isEmpty || found.isEmpty && !layers.isEmpty && !defects.contains(where: \.isAmbiguity) {
      throw AdapterFileError(
        path, .otherBase(misfits + defects, of: layers.count, file: family, base: base.family))
    }
    guard defects.isEmpty else { throw AdapterFileError(path, .defects(defects, dialect: dialect.name)) }
    return found
  }

  /// Told by shapes; nil where no cross-attention is changed.
  public var family: BaseFamily? { BaseFamily(layers: layers.map { (name: $0.key, inputs: $0.value.inputs) }) }
}

extension AdapterFileError.Defect {
  fileprivate var isAmbiguity: Bool { if case .ambiguous = self { true } else { false } }
}

extension LayerChange {
  /// What became of it; nil for a LoRA.
  fileprivate func reduction(_ reduced: ReducedFactors, at path: String) -> AdapterFile.Reduction? {
    guard !isLoRA else { return nil }
    return AdapterFile.Reduction(
      layer: path, form: formName, exactRank: reduced.originalRank, rank: reduced.factors.rank,
      discardedEnergy: reduced.discardedEnergy)
  }

  fileprivate func fits(_ shape: [Int]) -> Bool { weightShape.fitting(shape) != nil && magnitude?.fits(shape) ?? true }

  fileprivate func misfit(_ path: String, _ shape: [Int]) -> AdapterFileError.Defect {
    if let magnitude, weightShape.fitting(shape) != nil {
      return .shapes(path, found: ["\(magnitude.count) magnitudes of DoRA"], expected: "\(shape[1]), one an input")
    }
    let factors = (form as? LowRankForm)?.factors()
    let transposed = factors.map { [$0.up.dim(1), $0.down.dim(0)] }
    return transposed == shape
      ? .transposed(path, file: weightShape, model: shape) : .misfit(path, file: weightShape, model: shape)
  }
}

extension [Int] {
  /// The shape of the model's weight if this one means the same. A 1×1 convolution and a linear layer are the same thing, and
  /// models of one family have either (SD 1.x proj_in); a matrix [out, in·k·k] is a convolution laid flat.
  fileprivate func fitting(_ shape: [Int]) -> [Int]? {
    func isFlat(_ shape: [Int]) -> Bool { shape.dropFirst(2).allSatisfy { $0 == 1 } }
    if self == shape { return shape }
    guard first == shape.first else { return nil }
    if isFlat(self), isFlat(shape), self[1] == shape[1] { return shape }
    return count == 2 && self[1] == shape.dropFirst().reduce(1, *) ? shape : nil
  }
}

extension LowRankFactors {
  /// The same factors for a weight of this shape; nil if they do not fit.
  func fitting(_ shape: [Int]) -> LowRankFactors? {
    if weightShape == shape { return self }
    return weightShape.fitting(shape).map { LowRankFactors(up: upMatrix, down: downMatrix, weightShape: $0, alpha: alpha) }
  }
}
