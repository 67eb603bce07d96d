internal import CTorch

/// AdamW with decoupled weight decay (PyTorch: torch.optim.AdamW; arXiv 1711.05101), and Adam at weight decay 0.
///
/// One fused call a step over all parameters of one learning rate.
public final class AdamW {
  public struct Options: Sendable, Codable, Equatable {
    public var learningRate: Double
    public var beta1: Double
    public var beta2: Double
    public var epsilon: Double
    public var weightDecay: Double

    public init(
      learningRate: Double, beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8, weightDecay: Double = 0.01
    ) {
      self.learningRate = learningRate
      self.beta1 = beta1
      self.beta2 = beta2
      self.epsilon = epsilon
      self.weightDecay = weightDecay
    }
  }

  public var options: Options
  public let parameters: [Tensor]
  /// What the learning rate is multiplied by, for each parameter.
  public let rateFactors: [Double]
  /// Moments and step counts in the order of the parameters, for resuming a run.
  public let firstMoments: [Tensor]
  public let secondMoments: [Tensor]
  public let steps: [Tensor]

  private static let fused = Operator("aten::_fused_adamw_")
  private static let foreachNorm = Operator("aten::_foreach_norm", "Scalar")
  private static let foreachScale = Operator("aten::_foreach_mul_", "Tensor")

  /// - Parameter rateFactors: one for each parameter; 1 for all when nil.
  public init(_ parameters: [Tensor], _ options: Options, rateFactors: [Double]? = nil) {
    precondition(rateFactors?.count ?? parameters.count == parameters.count, "rates of other parameters")
    self.options = options
    self.parameters = parameters
    self.rateFactors = rateFactors ?? parameters.map { _ in 1 }
    firstMoments = parameters.map { Tensor.zeros(like: $0).detached() }
    secondMoments = parameters.map { Tensor.zeros(like: $0).detached() }
    steps = parameters.map { Tensor.zeros([], device: $0.device) }
  }

  /// Puts back what a saved run had, on whichever device it was kept.
  public func restore(firstMoments: [Tensor], secondMoments: [Tensor], steps: [Tensor]) {
    let (own, saved) = (self.firstMoments + self.secondMoments + self.steps, firstMoments + secondMoments + steps)
    precondition(own.map(\.shape) == saved.map(\.shape), "an optimizer state for other parameters")
    withoutGrad { for (live, kept) in zip(own, saved) { live.copyInPlace(kept) } }
  }

  /// Scales all gradients so that their common norm is at most `limit`, and gives the norm before. One that is not finite cannot
  /// be mended: the step would make parameters NaN.
  @discardableResult
  public func clipGradients(to limit: Double) -> Double {
    withoutGrad {
      let grads = parameters.compactMap(\.grad)
      guard !grads.isEmpty else { return 0 }
      let norms = callMany(Self.foreachNorm, .tensors(grads), .double(2), capacity: grads.count)
      let norm = Tensor.stacked(norms.map { $0.to(dtype: .float32) }).norm().item()
      if norm > limit {
        let scale = Tensor(limit / (norm + 1e-6)).to(device: grads[0].device)
        callInPlace(Self.foreachScale, .tensors(grads), .tensor(scale))
      }
      return norm
    }
  }

  /// One update from the gradients; parameters without one stay.
  public func step() {
    withoutGrad {
      var rest = parameters.indices.filter { parameters[$0].grad != nil }
      while let first = rest.first {
        let factor = rateFactors[first]
        update(rest.filter { rateFactors[$0] == factor }, learningRate: options.learningRate * factor)
        rest.removeAll { rateFactors[$0] == factor }
      }
    }
  }

  private func update(_ chosen: [Int], learningRate: Double) {
    for index in chosen { steps[index].addInPlace(1) }
    callInPlace(
      Self.fused, .tensors(chosen.map { parameters[$0] }), .tensors(chosen.map { parameters[$0].grad! }),
      .tensors(chosen.map { firstMoments[$0] }), .tensors(chosen.map { secondMoments[$0] }), .tensors([]),
      .tensors(chosen.map { steps[$0] }), .double(learningRate), .double(options.beta1), .double(options.beta2),
      .double(options.weightDecay), .double(options.epsilon), .bool(false), .bool(false))
  }

  public func zeroGrad() { for parameter in parameters { parameter.setGrad(nil) } }
}
