internal import Torch

/// DARE: drop elements at random and rescale what is left (arXiv 2311.03099):
///
///     x_k = ΔW_k ∘ M_k / density,   M_k ~ Bernoulli(density)          ΔW = Σ_k w_k x_k
///
/// or, as `dare-ties`, the elected mean of TIES over the x_k. The draws of all LoRAs and layers come from one seed, one
/// after the other. What is dropped at random is no low-rank matrix: going back to one undoes part of it, and the report
/// says how much.
public struct DAREMerge: ElementwiseMerge {
  /// The public code drops 10 % (yule-BUAA/MergeLM: weight_mask_rate 0.1).
  public var density: Double
  public var rank: Int?
  public var seed: UInt64
  /// Whether signs are elected.
  public let elects: Bool

  public init(density: Double = 0.9, rank: Int? = nil, seed: UInt64 = 0, elects: Bool = false) {
    (self.density, self.rank, self.seed, self.elects) = (density, rank, seed, elects)
  }

  public var name: String { elects ? "dare-ties" : "dare" }
  public var summary: String {
    elects ? "TIES over elements kept at random" : "adds up elements kept at random, enlarged to make up for the others"
  }
  public var reference: String { "https://arxiv.org/abs/2311.03099" }
  public static var options: [MergeOption<Self>] { [.density(\.density), .rank(\.rank), .seed(\.seed)] }

  var isRandom: Bool { true }

  func thinned(_ delta: Tensor, generator: Generator) -> Tensor {
    guard density < 1 else { return delta }
    return Sparsification.keptAtRandom(
      delta, probabilities: Tensor.full([], density, dtype: delta.dtype), generator: generator)
  }

  func combined(_ deltas: [Tensor], weights: [Double]) -> Tensor {
    elects ? Sparsification.electedMean(deltas, weights: weights) : Sparsification.sum(deltas, weights: weights)
  }
}
