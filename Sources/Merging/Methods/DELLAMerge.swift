internal import Torch

/// DELLA: as DARE, but an element is the likelier to stay the larger it is in its row (arXiv 2406.11617), then the elected
/// mean of TIES:
///
///     p = density − ε + 2 ε · rank / (n − 1)       rank of |ΔW_ij| in row i, 0 … n − 1
///     x_k = ΔW_k ∘ M_k / p,   M_k ~ Bernoulli(p)
///
/// mergekit (sparsify.py) rescales the whole matrix to its old sum of magnitudes instead of each element by 1 / p.
public struct DELLAMerge: ElementwiseMerge {
  /// The example of the public code drops 30 % (declare-lab/della).
  public var density: Double
  /// Half the range of p; mergekit's default.
  public var epsilon: Double
  public var rank: Int?
  public var seed: UInt64

  public init(density: Double = 0.7, epsilon: Double = 0.15, rank: Int? = nil, seed: UInt64 = 0) {
    (self.density, self.epsilon, self.rank, self.seed) = (density, epsilon, rank, seed)
  }

  public var name: String { "della" }
  public var summary: String { "TIES over elements kept at random, large ones more often" }
  public var reference: String { "https://arxiv.org/abs/2406.11617" }
  public static var options: [MergeOption<Self>] {
    let epsilon = MergeOption<Self>.real("epsilon", \.epsilon, expected: "a number of 0 to 0.5") { 0 <= $0 && $0 <= 0.5 }
    return [.density(\.density), epsilon, .rank(\.rank), .seed(\.seed)]
  }

  /// With a density of 1 nothing is dropped, whatever ε.
  public func validate() throws(MergeError) {
    guard density == 1 || density - epsilon > 0 && density + epsilon <= 1 else {
      throw .option(
        "epsilon", found: "\(epsilon)", expected: "less than the density \(density), and no more than 1 − \(density)")
    }
  }

  var isRandom: Bool { true }

  func thinned(_ delta: Tensor, generator: Generator) -> Tensor {
    guard density < 1 else { return delta }
    let ranks = delta.abs().sorted(1).indices.sorted(1).indices.to(dtype: delta.dtype)
    let probabilities = ranks * (2 * epsilon / Double(max(delta.dim(1) - 1, 1))) + (density - epsilon)
    return Sparsification.keptAtRandom(delta, probabilities: probabilities, generator: generator)
  }

  func combined(_ deltas: [Tensor], weights: [Double]) -> Tensor {
    Sparsification.electedMean(deltas, weights: weights)
  }
}
