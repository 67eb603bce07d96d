public import LoRA
internal import OrderedCollections
internal import Torch

/// Ways of dropping elements of a matrix, and of bringing what is left together.
enum Sparsification {
  /// The ⌊density · count⌋ elements of largest magnitude; the others become zero.
  static func keepingLargest(_ x: Tensor, density: Double) -> Tensor {
    let kept = Int(density * Double(x.count))
    guard kept > 0 else { return Tensor.zeros(like: x) }
    let magnitudes = x.abs()
    return x * (magnitudes .>= magnitudes.largest(kept).min()).to(dtype: x.dtype)
  }

  /// Each element kept with its probability p and divided by it, so that its mean stays.
  static func keptAtRandom(_ x: Tensor, probabilities p: Tensor, generator: Generator) -> Tensor {
    let draws = Tensor.rand(x.shape, generator: generator, dtype: x.dtype)
    return x * (draws .< p).to(dtype: x.dtype) / p
  }

  /// Σ_k w_k x_k
  static func sum(_ xs: [Tensor], weights: [Double]) -> Tensor {
    zip(xs, weights).map { $0 * $1 }.reduce(Tensor.zeros(like: xs[0]), +)
  }

  /// The weighted mean of those that agree with the elected sign:
  ///
  ///     γ = sign Σ_k w_k x_k  (+1 where that is 0)        Σ_k w_k x_k [sign w_k x_k = γ] / Σ_k |w_k| [sign w_k x_k = γ]
  static func electedMean(_ xs: [Tensor], weights: [Double]) -> Tensor {
    let weighted = zip(xs, weights).map { $0 * $1 }
    let isPositive = weighted.reduce(Tensor.zeros(like: xs[0]), +) .>= 0
    var (total, count) = (Tensor.zeros(like: xs[0]), Tensor.zeros(like: xs[0]))
    for (x, weight) in zip(weighted, weights) {
      let agrees = isPositive.choose(x .> 0, x .< 0).to(dtype: x.dtype)
      total = total + x * agrees
      count = count + agrees * abs(weight)
    }
    return total / (count .== 0).choose(Tensor.ones(like: count), count)
  }
}

extension Adapter {
  /// Every layer with its smallest elements zero, of full rank: what the paper's second observation, that most of a LoRA can go,
  /// is seen with.
  ///
  /// - Parameter density: the share of elements that stay, 0 ... 1.
  public func keepingLargest(density: Double) -> Adapter {
    Adapter(
      factors: factors.mapValues {
        LowRankFactors(ofFullRank: Sparsification.keepingLargest($0.delta(), density: density))
      }, metadata: metadata)
  }
}
