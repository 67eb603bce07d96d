internal import LoRA
internal import Torch

/// The factors added up, each with the root of its weight (PEFT: tuners/lora/model.py, linear):
///
///     A = Σ_k ±√|w_k s_k| A_k        B = Σ_k √|w_k s_k| B_k        ΔW = B A, the sign being that of w_k s_k
///
/// This is not the sum of the ΔW_k: it has cross terms B_1 A_2, and a LoRA merged with itself at 0.5 + 0.5 is twice
/// itself. It is here because files made this way exist; `direct` is exact and `svd` has the same size.
public struct LinearMerge: MergeMethod {
  public init() {}

  public var name: String { "linear" }
  public var summary: String { "adds the factors up, as PEFT's linear does; not the sum of the LoRAs" }
  public var reference: String { "https://github.com/huggingface/peft" }

  /// - Throws: `MergeError.ranks` for layers of several ranks.
  public func merge(_ inputs: [MergeInput], context: MergeContext) throws -> MergeResult {
    try mergingLayers(of: inputs, context) { layer in
      let ranks = layer.factors.map(\.rank)
      guard ranks.allSatisfy({ $0 == ranks[0] }) else {
        throw MergeError.ranks(layer.path, layer.names, ranks, method: name)
      }
      let scales = layer.weighted.map(\.scale)
      func sum(_ halves: [Tensor], _ factors: [Double]) -> Tensor {
        Sparsification.sum(halves.map { $0.to(dtype: .float64) }, weights: factors)
      }
      let down = sum(layer.factors.map(\.down), scales.map { abs($0).squareRoot() * ($0 < 0 ? -1 : 1) })
      let up = sum(layer.factors.map(\.up), scales.map { abs($0).squareRoot() })
      return MergedLayer(factors: LowRankFactors(down: down, up: up, alpha: Double(ranks[0])))
    }
  }
}
