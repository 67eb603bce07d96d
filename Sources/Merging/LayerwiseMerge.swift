internal import LoRA
internal import OrderedCollections
internal import Torch

/// One layer as several LoRAs change it.
struct SharedLayer {
  let path: String
  /// Of the LoRAs.
  let names: [String]
  /// Unweighted, as they came.
  let factors: [LowRankFactors]
  let weights: [Double]

  /// w_k ΔW_k of each LoRA.
  var weighted: [LowRankFactors] { zip(factors, weights).map { $0.scaled(by: $1) } }

  /// The rank that a layer goes back to when none is asked for: that of the thickest LoRA, as in PEFT.
  var largestRank: Int { factors.map(\.rank).max()! }

  /// All layers that at least two of the LoRAs change, in the LoRAs' order. A LoRA of weight 0 takes no part.
  static func all(of inputs: [MergeInput]) -> [SharedLayer] {
    paths(of: inputs).map { SharedLayer($0, inputs) }.filter { $0.factors.count > 1 }
  }

  static func paths(of inputs: [MergeInput]) -> OrderedSet<String> {
    inputs.reduce(into: []) { $0.formUnion($1.adapter.factors.keys) }
  }

  init(_ path: String, _ inputs: [MergeInput], keeping isKept: (Int, String) -> Bool = { _, _ in true }) {
    let owners = inputs.enumerated().filter { index, input in
      input.weight != 0 && input.adapter.factors[path] != nil && isKept(index, path)
    }.map(\.element)
    self.path = path
    names = owners.map(\.name)
    factors = owners.map { $0.adapter.factors[path]! }
    weights = owners.map(\.weight)
  }
}

/// What has become of a shared layer.
struct MergedLayer {
  let factors: LowRankFactors
  /// The share of ‖ΔW‖² that going back to a low rank has cost.
  var discardedEnergy = 0.0
  /// Where in the sampling K-LoRA changes from the subject to the style.
  var switchPoint: Double?
}

private enum LayerOutcome {
  case dropped
  /// Of one LoRA, with its weight.
  case alone(LowRankFactors)
  case merged(LowRankFactors, MergeReport.Merged)
}

extension MergeMethod {
  /// Merges layer by layer: shared ones with `merge`, in 32 bits, those of one LoRA as they are.
  ///
  /// - Parameters:
  ///   - isKept: whether a layer of the LoRA of that number takes part at all.
  ///   - atOnce: how many layers are merged at once, each with its part of the threads; one where numbers are drawn at random, in the
  ///     order of the layers.
  /// - Throws: `MergeError` for LoRAs that do not go together or whose number is not that of the roles; `TorchError` where
  ///   memory runs out; what `merge` and the progress handler throw.
  func mergingLayers(
    of inputs: [MergeInput], _ context: MergeContext, keeping isKept: (Int, String) -> Bool = { _, _ in true },
    atOnce: Int = 1, with merge: @escaping (SharedLayer) throws -> MergedLayer
  ) throws -> MergeResult {
    try checkLayers(of: inputs)
    let layers = SharedLayer.paths(of: inputs).map { SharedLayer($0, inputs, keeping: isKept) }
    let results = try Engine.atOnce(layers.count, width: atOnce, progress: { try context.layers($0, layers.count) }) {
      index -> LayerOutcome in
      let layer = layers[index]
      switch layer.factors.count {
      case 0: return .dropped
      case 1: return .alone(layer.weighted[0])
      default:
        let result = try merge(layer)
        return .merged(result.factors.to(dtype: .float32, device: .cpu), .init(layer, result))
      }
    }
    var factors: OrderedDictionary<String, LowRankFactors> = [:]
    var (merged, alone, dropped): ([MergeReport.Merged], [MergeReport.Alone], [String]) = ([], [], [])
    for (layer, result) in zip(layers, results) {
      switch result {
      case .dropped: dropped.append(layer.path)
      case .alone(let own):
        factors[layer.path] = own
        alone.append(.init(path: layer.path, input: layer.names[0]))
      case .merged(let stored, let report):
        factors[layer.path] = stored
        merged.append(report)
      }
    }
    let adapter = Adapter(
      factors: factors, metadata: inputs.originMetadata.merging(["ziplora.method": statement]) { $1 })
    return MergeResult(
      adapter: adapter, report: MergeReport(self, inputs: inputs, merged: merged, alone: alone, dropped: dropped))
  }

  /// - Throws: `MergeError` for too few LoRAs, a number that is not that of the roles, and layers of several shapes.
  func checkLayers(of inputs: [MergeInput]) throws(MergeError) {
    guard roles.isEmpty || inputs.count == roles.count else {
      throw .wrongCount(inputs.count, method: name, roles: roles)
    }
    try validate()
    _ = try MergePlan(inputs, scope: nil)
  }

  /// The method with its settings, such as `ties density=0.2`.
  var statement: String {
    ([name] + settings.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.shortest)" }).joined(separator: " ")
  }
}

/// A method that works on the elements of ΔW: thins each ΔW out, combines them, and goes back to a low rank.
///
/// Two layers are dense at a time at most.
protocol ElementwiseMerge: MergeMethod {
  /// Of every merged layer; that of the thickest LoRA when nil.
  var rank: Int? { get }

  /// One ΔW [out, in·k·k] with some elements dropped.
  func thinned(_ delta: Tensor, generator: Generator) -> Tensor

  func combined(_ deltas: [Tensor], weights: [Double]) -> Tensor

  /// Whether elements are dropped at random.
  var isRandom: Bool { get }

  /// Of everything that is dropped at random.
  var seed: UInt64 { get }
}

extension ElementwiseMerge {
  var isRandom: Bool { false }
  var seed: UInt64 { 0 }

  public func merge(_ inputs: [MergeInput], context: MergeContext) throws -> MergeResult {
    let generator = Generator(seed: seed)
    return try mergingLayers(of: inputs, context, atOnce: isRandom ? 1 : 2) { layer in
      let deltas = layer.factors.map { thinned($0.delta().flattened(from: 1), generator: generator) }
      let delta = combined(deltas, weights: layer.weights)
      return MergedLayer(delta, rank: rank ?? layer.largestRank, weightShape: layer.factors[0].weightShape)
    }
  }
}
