internal import LoRA
internal import OrderedCollections
internal import Torch

/// K-LoRA: at each step of sampling, each layer has either the subject or the style (arXiv 2502.18461):
///
///     S_x = Σ of the K = r_c r_s largest |ΔW_x|        γ = Σ |ΔW_c| / Σ |ΔW_s| over all shared layers
///     subject where S_c / γ > S_s · (α t + β), else style            t from 0 at the first step to 1 at the last
///
/// S_c, S_s and γ are constants, so the rule is a table: each layer changes once, from the subject to the style, at
///
///     t* = (S_c / (γ S_s) − β) / α            within 0 … 1
///
/// The report has t* of every layer (`MergeReport.Merged.switchPoint`). A file cannot change while a picture is drawn: the
/// adapter has in each layer the LoRA that is there for longer. The public code recounts all this in every call of every
/// layer and takes for γ the mean of the layers' ratios; this is the paper's.
public struct KLoRAMerge: MergeMethod {
  public var alpha: Double
  public var beta: Double

  public init(alpha: Double = 1.5, beta: Double = 0.5) { (self.alpha, self.beta) = (alpha, beta) }

  public var name: String { "k-lora" }
  public var summary: String { "in each layer the subject or the style, whichever K-LoRA has there for longer" }
  public var reference: String { "https://arxiv.org/abs/2502.18461" }
  public var roles: [String] { ["subject", "style"] }
  public static var options: [MergeOption<Self>] {
    [
      .real("alpha", \.alpha, expected: "a number above 0") { $0 > 0 && $0.isFinite },
      .real("beta", \.beta, expected: "0 or more") { $0 >= 0 && $0.isFinite },
    ]
  }

  public func merge(_ inputs: [MergeInput], context: MergeContext) throws -> MergeResult {
    try checkLayers(of: inputs)
    let points = try withoutGrad { try switchPoints(of: SharedLayer.all(of: inputs), context) }
    // What is left to do is copying, of which the handler need not hear.
    return try mergingLayers(of: inputs, MergeContext()) { layer in
      let point = points[layer.path]!
      return MergedLayer(factors: layer.weighted[point > 0.5 ? 0 : 1], switchPoint: point)
    }
  }

  /// t* of each layer by its path.
  private func switchPoints(
    of layers: [SharedLayer], _ context: MergeContext
  ) throws -> OrderedDictionary<String, Double> {
    let sums = try layers.enumerated().map { done, layer in
      try context.layers(done, layers.count)
      return try withTorchErrors {
        let magnitudes = layer.weighted.map { $0.delta().abs() }
        let count = min(layer.factors[0].rank * layer.factors[1].rank, magnitudes[0].count)
        return (all: magnitudes.map { $0.sum().item() }, largest: magnitudes.map { $0.largest(count).sum().item() })
      }
    }
    try context.layers(layers.count, layers.count)
    func total(_ index: Int) -> Double { sums.reduce(0) { $0 + $1.all[index] } }
    // A subject that changes nothing leaves every layer to the style.
    let balance = total(0) > 0 ? total(1) / total(0) : 0
    return zip(layers, sums).reduce(into: [:]) { table, entry in
      let (subject, style) = (entry.1.largest[0] * balance, entry.1.largest[1])
      // A style that changes nothing leaves the layer to the subject.
      let point = style > 0 ? (subject / style - beta) / alpha : 1
      table[entry.0.path] = min(max(point, 0), 1)
    }
  }
}
