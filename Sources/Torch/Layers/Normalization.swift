/// Normalises each of `groups` groups of channels of x [N, C, ...].
public final class GroupNorm {
  let groups: Int
  let epsilon: Double
  let weight: Tensor
  let bias: Tensor

  public init(_ weights: Weights, groups: Int, channels: Int, epsilon: Double = 1e-5) {
    self.groups = groups
    self.epsilon = epsilon
    weight = weights.parameter("weight", [channels], .ones)
    bias = weights.parameter("bias", [channels], .zeros)
  }

  public func callAsFunction(_ x: Tensor) -> Tensor { x.groupNorm(groups, weight: weight, bias: bias, epsilon: epsilon) }
}

/// Normalises the last axis.
public final class LayerNorm {
  let epsilon: Double
  let weight: Tensor
  let bias: Tensor

  public init(_ weights: Weights, width: Int, epsilon: Double = 1e-5) {
    self.epsilon = epsilon
    weight = weights.parameter("weight", [width], .ones)
    bias = weights.parameter("bias", [width], .zeros)
  }

  public func callAsFunction(_ x: Tensor) -> Tensor { x.layerNorm(weight: weight, bias: bias, epsilon: epsilon) }
}

/// A table of vectors, one an id.
public final class Embedding {
  /// [count, width]
  public let weight: Tensor

  public init(_ weights: Weights, count: Int, width: Int, deviation: Double = 0.02) {
    weight = weights.parameter("weight", [count, width], .normal(deviation: deviation))
  }

  /// ids [...] → [..., width]
  public func callAsFunction(_ ids: Tensor) -> Tensor { weight.embedding(ids) }
}
