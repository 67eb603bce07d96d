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

extension MergeMethod {
  /// Merges layer by layer: shared ones with `merge`, in 32 bits, those of one LoRA as they are.
  ///
  /// - Parameter isKept: whether a layer of the LoRA of that number takes part at all.
  /// - Throws: `MergeError` for LoRAs that do not go together or whose number is not that of the roles; `TorchError` where
  ///   memory runs out; what `merge` and the progress handler throw.
  func mergingLayers(
    of inputs: [MergeInput], _ context: MergeContext, keeping isKept: (Int, String) -> Bool = { _, _ in true },
    with merge: (SharedLayer) throws -> MergedLayer
  ) throws -> MergeResult {
    try checkLayers(of: inputs)
    var factors: OrderedDictionary<String, LowRankFactors> = [:]
    var (merged, alone, dropped): ([MergeReport.Merged], [MergeReport.Alone], [String]) = ([], [], [])
    let paths = SharedLayer.paths(of: inputs)
    try withoutGrad {
      for (done, path) in paths.enumerated() {
        try context.layers(done, paths.count)
        let layer = SharedLayer(path, inputs, keeping: isKept)
        switch layer.factors.count {
        case 0: dropped.append(path)
        case 1:
          factors[path] = layer.weighted[0]
          alone.append(.init(path: path, input: layer.names[0]))
        default:
          let (result, stored) = try withTorchErrors {
            let result = try merge(layer)
            return (result, result.factors.to(dtype: .float32, device: .cpu))
          }
          factors[path] = stored
          merged.append(.init(layer, result))
        }
      }
    }
    try context.layers(paths.count, paths.count)
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
/// Only one layer is dense at a time.
protocol ElementwiseMerge: MergeMethod {
  /// Of every merged layer; that of the thickest LoRA when nil.
  var rank: Int? { get }

  /// One ΔW [out, in·k·k] with some elements dropped.
  func thinned(_ delta: Tensor, generator: Generator) -> Tensor

  func combined(_ deltas: [Tensor], weights: [Double]) -> Tensor

  /// Of everything that is dropped at random.
  var seed: UInt64 { get }
}

extension ElementwiseMerge {
  var seed: UInt64 { 0 }

  public func merge(_ inputs: [MergeInput], context: MergeContext) throws -> MergeResult {
    let generator = Generator(seed: seed)
    return try mergingLayers(of: inputs, context) { layer in
      let deltas = layer.factors.map { thinned($0.delta().flattened(from: 1), generator: generator) }
      let delta = combined(deltas, weights: layer.weights)
      return MergedLayer(delta, rank: rank ?? layer.largestRank, weightShape: layer.factors[0].weightShape)
    }
  }
}
