internal import Torch

/// TIES: trim, elect sign, merge what agrees (arXiv 2306.01708), layer by layer as in PEFT and mergekit:
///
///     x_k = top(ΔW_k)        γ = sign Σ_k w_k x_k        ΔW = Σ_k w_k x_k [agrees with γ] / Σ_k |w_k| [agrees with γ]
///
/// The paper has no weights. With them, the mean is weighted as in mergekit (generalized_task_arithmetic.py), so that a
/// LoRA merged with itself stays itself, whatever the weights. PEFT divides by the number of those that agree, which with
/// equal weights of one is the same.
public struct TIESMerge: ElementwiseMerge {
  /// The paper keeps the top 20 %.
  public var density: Double
  public var rank: Int?

  public init(density: Double = 0.2, rank: Int? = nil) { (self.density, self.rank) = (density, rank) }

  public var name: String { "ties" }
  public var summary: String { "the mean of the largest elements that agree in sign" }
  public var reference: String { "https://arxiv.org/abs/2306.01708" }
  public static var options: [MergeOption<Self>] { [.density(\.density), .rank(\.rank)] }

  func thinned(_ delta: Tensor, generator: Generator) -> Tensor {
    Sparsification.keepingLargest(delta, density: density)
  }

  func combined(_ deltas: [Tensor], weights: [Double]) -> Tensor {
    Sparsification.electedMean(deltas, weights: weights)
  }
}
