internal import Torch

/// Each LoRA's largest elements, added up (PEFT: utils/merge_utils.py magnitude_prune):
///
///     ΔW = Σ_k w_k · top(ΔW_k)          top keeps the elements of largest magnitude, `density` of all
///
/// PEFT leaves the density to the user; the default here is that of TIES.
public struct MagnitudePrune: ElementwiseMerge {
  public var density: Double
  public var rank: Int?

  public init(density: Double = 0.2, rank: Int? = nil) { (self.density, self.rank) = (density, rank) }

  public var name: String { "prune" }
  public var summary: String { "adds up the largest elements of each LoRA" }
  public var reference: String { "https://github.com/huggingface/peft" }
  public static var options: [MergeOption<Self>] { [.density(\.density), .rank(\.rank)] }

  func thinned(_ delta: Tensor, generator: Generator) -> Tensor {
    Sparsification.keepingLargest(delta, density: density)
  }

  func combined(_ deltas: [Tensor], weights: [Double]) -> Tensor { Sparsification.sum(deltas, weights: weights) }
}
