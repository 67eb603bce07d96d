public import LoRA
internal import OrderedCollections
internal import Torch

/// What happens to each layer that any of the adapters changes. Every layer is in exactly one of the three lists.
public struct MergePlan: Sendable {
  /// Changed by several adapters and in scope: these get coefficients.
  public let zipped: [String]
  /// Changed by several but not in scope: added up as they are.
  public let summed: [String]
  /// Changed by one adapter only: taken over. The number is the adapter's.
  public let alone: [(path: String, index: Int)]

  /// - Parameter scope: which of the shared layers to zip; all there are, even none, when nil.
  /// - Throws: `MergeError` for fewer than two adapters, no layer in the scope, or a layer of several shapes.
  public init(_ inputs: [MergeInput], scope: Targets?) throws(MergeError) {
    guard inputs.count >= 2 else { throw .tooFew(inputs.count) }
    var zipped: [String] = []
    var summed: [String] = []
    var alone: [(String, Int)] = []
    for path in SharedLayer.paths(of: inputs) {
      let owners = inputs.indices.filter { inputs[$0].adapter.factors[path] != nil }
      let shapes = owners.map { inputs[$0].adapter.factors[path]!.weightShape }
      guard OrderedSet(shapes).count == 1 else { throw .shapes(path, owners.map { inputs[$0].name }, shapes) }
      if owners.count == 1 {
        alone.append((path, owners[0]))
      } else if scope?.contains(path) ?? true {
        zipped.append(path)
      } else {
        summed.append(path)
      }
    }
    if zipped.isEmpty, let scope {
      let examples = summed.isEmpty ? inputs.compactMap { $0.adapter.factors.keys.first } : Array(summed.prefix(2))
      throw .nothingShared(scope: scope.description, shared: summed.count, examples: examples)
    }
    (self.zipped, self.summed, self.alone) = (zipped, summed, alone)
  }

  /// Merger coefficients of one value, beside the layers they are for; those of direct merge unless another is given.
  func coefficients(
    _ value: Double = 1, for inputs: [MergeInput], on projections: Projections? = nil
  ) -> MergerCoefficients {
    var vectors: OrderedDictionary<String, MergerCoefficients.Vectors> = [:]
    for path in zipped {
      let projection = projections?[path]
      let dtype: DType = projection?.dtype == .float64 ? .float64 : .float32
      for (index, input) in inputs.enumerated() {
        guard let factors = input.adapter.factors[path] else { continue }
        vectors[path, default: [:]][index] = Tensor.full(
          [factors.inputs], value, dtype: dtype, device: projection?.device ?? .cpu)
      }
    }
    return MergerCoefficients(vectors)
  }

  /// The branches of the merged model.
  func attachment(
    of inputs: [MergeInput], _ coefficients: MergerCoefficients, to projections: Projections
  ) throws -> Attachment {
    let zippedPlaces: [Attachment.Place] = try zipped.map { path in
      guard let projection = projections[path] else { throw AttachmentError.noSuchLayer(path) }
      let vectors = coefficients.vectors[path]!
      return (projection, ZipBranch(vectors.keys.map { inputs[$0].factors(path) }, Array(vectors.values), for: projection))
    }
    let others = try inputs.map { input in
      let rest = input.weighted.factors.filter { coefficients.vectors[$0.key] == nil }
      return try Attachment(Adapter(factors: rest), to: projections).places
    }
    return Attachment(zippedPlaces + others.flatMap { $0 })
  }
}
