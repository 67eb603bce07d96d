public import LoRA
internal import OrderedCollections
internal import Torch

/// What a merge did, layer by layer, for people and, as JSON, for programs.
public struct MergeReport: Codable, Sendable, Equatable {
  public struct Input: Codable, Sendable, Equatable {
    public let name: String
    public let weight: Double
    public let layers: Int
    public let norm: Double

    init(_ input: MergeInput) {
      (name, weight) = (input.name, input.weight)
      (layers, norm) = (input.adapter.factors.count, input.adapter.norm)
    }
  }

  /// The coefficients of one LoRA at one layer.
  public struct Statistics: Codable, Sendable, Equatable {
    public let mean: Double
    public let min: Double
    public let max: Double
    /// How many coefficients lie below the first of `histogramEdges`, between two of them, and above the last.
    public let histogram: [Int]
  }

  /// A zipped layer.
  public struct Layer: Codable, Sendable, Equatable {
    public let path: String
    public let kind: ModuleKind
    /// The LoRAs that change it.
    public let inputs: [String]
    /// Theirs; the result has the sum.
    public let ranks: [Int]
    /// The columns of the LoRAs as they came.
    public let before: ColumnSimilarity
    /// The overlap of what the coefficients leave of them.
    public let overlapAfter: Double
    /// cos(m_c, m_s), the mean over pairs.
    public let coefficientCosine: Double
    /// One for each of `inputs`.
    public let coefficients: [Statistics]

    /// Those of the LoRA of that name; nil where it does not change this layer.
    public func coefficients(of input: String) -> Statistics? { inputs.firstIndex(of: input).map { coefficients[$0] } }
  }

  /// A shared layer, merged on weights alone.
  public struct Merged: Codable, Sendable, Equatable {
    public let path: String
    public let kind: ModuleKind
    /// Of each LoRA that changes it.
    public let ranks: [Int]
    /// Of the result.
    public let rank: Int
    /// The share of ‖ΔW‖² that going back to this rank has cost.
    public let discardedEnergy: Double
    /// Where in the sampling, from 0 to 1, K-LoRA changes from the subject to the style.
    public let switchPoint: Double?

    init(_ layer: SharedLayer, _ result: MergedLayer) {
      (path, kind, ranks) = (layer.path, ModuleKind(of: layer.path), layer.factors.map(\.rank))
      (rank, discardedEnergy, switchPoint) = (result.factors.rank, result.discardedEnergy, result.switchPoint)
    }
  }

  /// A layer that only one LoRA changes.
  public struct Alone: Codable, Sendable, Equatable {
    public let path: String
    public let input: String
  }

  public let method: String
  /// What was set, by the options' names; nil for ZipLoRA, which has `options`.
  public let settings: [String: Double]?
  public let inputs: [Input]
  /// Layers with coefficients.
  public let layers: [Layer]
  /// Layers that were merged on weights alone.
  public let merged: [Merged]
  /// Layers that were added up as they are.
  public let summed: [String]
  /// Layers that were taken over.
  public let alone: [Alone]
  /// Layers that the method leaves out.
  public let dropped: [String]
  public let histogramEdges: [Double]
  public let options: ZipOptions?
  public let records: [ZipRecord]
  /// The fidelity terms after the last update, of what the first record saw before it; nil where there are no fixed draws.
  public let fidelityAfter: [Double]?
  public let stop: ZipStop?
  public let warnings: [String]

  /// - Parameter layers: one for each that the plan zips.
  init(
    method: String, inputs: [MergeInput], plan: MergePlan, layers: [Layer], dropped: [String] = [],
    options: ZipOptions? = nil, records: [ZipRecord] = [], fidelityAfter: [Double]? = nil, stop: ZipStop? = nil
  ) {
    self.method = method
    settings = nil
    self.inputs = inputs.map(Input.init)
    merged = []
    (self.layers, self.dropped) = (layers, dropped)
    summed = plan.summed
    alone = plan.alone.map { Alone(path: $0.path, input: inputs[$0.index].name) }
    histogramEdges = Statistics.edges
    self.options = options
    self.records = records
    self.fidelityAfter = fidelityAfter
    self.stop = stop
    let during = records.indices.flatMap { options?.warnings(after: Array(records[...$0])) ?? [] }
    warnings = (options?.warnings ?? []) + during + ZipOptions.warnings(of: records, after: fidelityAfter)
  }

  /// Of a method that merges each layer for itself.
  init(
    _ method: any MergeMethod, inputs: [MergeInput], merged: [Merged], alone: [Alone], dropped: [String]
  ) {
    (self.method, settings, self.inputs) = (method.name, method.settings, inputs.map(Input.init))
    (layers, self.merged, summed, self.alone, self.dropped) = ([], merged, [], alone, dropped)
    (histogramEdges, options, records, fidelityAfter, stop) = (Statistics.edges, nil, [], nil, nil)
    let discarded = merged.isEmpty ? 0 : merged.map(\.discardedEnergy).reduce(0, +) / Double(merged.count)
    warnings =
      discarded < 0.1
      ? []
      : [
        """
        what \(method.name) makes is not of low rank: going back to a LoRA discards \((100 * discarded).formatted) % of it; \
        a larger rank keeps more
        """
      ]
  }
}

extension MergeReport.Layer {
  init(_ path: String, _ all: [MergeInput], _ vectors: MergerCoefficients.Vectors) {
    self.path = path
    kind = ModuleKind(of: path)
    inputs = vectors.keys.map { all[$0].name }
    let factors = vectors.keys.map { all[$0].factors(path) }
    let coefficients = Array(vectors.values)
    ranks = factors.map(\.rank)
    let columns = ColumnProducts(factors)
    before = ColumnSimilarity(columns)
    overlapAfter = ColumnSimilarity(columns, coefficients: coefficients).overlap
    let cosines = pairs(of: coefficients).map { ZipObjective.cosine($0, $1).item() }
    coefficientCosine = cosines.reduce(0, +) / Double(cosines.count)
    self.coefficients = coefficients.map { MergeReport.Statistics($0.doubles()) }
  }
}

extension MergeReport.Statistics {
  static let edges = [0, 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4]

  init(_ numbers: [Double]) {
    mean = numbers.reduce(0, +) / Double(numbers.count)
    min = numbers.min() ?? 0
    max = numbers.max() ?? 0
    var histogram = Array(repeating: 0, count: Self.edges.count + 1)
    for number in numbers { histogram[Self.edges.firstIndex { number < $0 } ?? Self.edges.count] += 1 }
    self.histogram = histogram
  }
}

extension ZipLoRA {
  /// What the run has done so far.
  ///
  /// - Parameter stop: why it ended, if it has.
  public func report(stop: ZipStop? = nil) -> MergeReport {
    let layers = withoutGrad { plan.zipped.map { MergeReport.Layer($0, inputs, coefficients.vectors[$0]!) } }
    return MergeReport(
      method: "ziplora", inputs: inputs, plan: plan, layers: layers, options: options, records: records,
      fidelityAfter: fidelityAfter, stop: stop)
  }
}
