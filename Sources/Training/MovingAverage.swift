public import Torch

/// An exponential moving average of parameters: what is kept of a training whose steps are noisy.
public final class MovingAverage {
  public let decay: Double
  public private(set) var averages: [Tensor]
  private let parameters: [Tensor]

  private static let lerp = Operator("aten::_foreach_lerp_", "Scalar")
  private static let copy = Operator("aten::_foreach_copy_")

  public init(_ parameters: [Tensor], decay: Double) {
    self.parameters = parameters
    self.decay = decay
    averages = parameters.map { $0.detached().cloned() }
  }

  /// - Parameter step: steps done; the average is shorter at the start, so that it forgets where training began.
  public func update(step: Int) {
    let now = min(decay, Double(1 + step) / Double(10 + step))
    withoutGrad { callInPlace(Self.lerp, .tensors(averages), .tensors(parameters.map { $0.detached() }), .double(1 - now)) }
  }

  public func restore(_ saved: [Tensor]) {
    precondition(saved.count == averages.count, "an average of other parameters")
    averages = saved.map { $0.cloned() }
  }

  /// Runs `body` with the averages in place of the parameters.
  public func whileApplied<Result>(_ body: () throws -> Result) rethrows -> Result {
    let kept = parameters.map { $0.detached().cloned() }
    write(averages)
    defer { write(kept) }
    return try body()
  }

  /// Puts the averages in place of the parameters for good.
  public func writeToParameters() { write(averages) }

  private func write(_ values: [Tensor]) {
    withoutGrad { callInPlace(Self.copy, .tensors(parameters.map { $0.detached() }), .tensors(values)) }
  }
}
