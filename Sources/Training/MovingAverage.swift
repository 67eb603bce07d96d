public import Torch

/// An exponential moving average of parameters: what is kept of a training whose steps are noisy.
public final class MovingAverage {
  public let decay: Double
  public let averages: [Tensor]
  private let parameters: [Tensor]

  private static let lerp = Operator("aten::_foreach_lerp_", "Scalar")
  private static let copy = Operator("aten::_foreach_copy_")

  public init(_ parameters: [Tensor], decay: Double) {
    self.parameters = parameters
    self.decay = decay
    averages = parameters.map { $0.detached().cloned() }
  }

  /// - Parameter step: of the update, counted from 0; the average is shorter at the start, so that it forgets where training began.
  public func update(step: Int) {
    let now = min(decay, Double(1 + step) / Double(10 + step))
    withoutGrad { callInPlace(Self.lerp, .tensors(averages), .tensors(parameters.map { $0.detached() }), .double(1 - now)) }
  }

  /// Puts back what a saved run had, on whichever device it was kept.
  public func restore(_ saved: [Tensor]) {
    precondition(saved.map(\.shape) == averages.map(\.shape), "an average of other parameters")
    write(saved, to: averages)
  }

  /// Runs `body` with the averages in place of the parameters.
  public func whileApplied<Result>(_ body: () throws -> Result) rethrows -> Result {
    let kept = parameters.map { $0.detached().cloned() }
    write(averages, to: parameters)
    defer { write(kept, to: parameters) }
    return try body()
  }

  /// Puts the averages in place of the parameters for good.
  public func writeToParameters() { write(averages, to: parameters) }

  private func write(_ values: [Tensor], to places: [Tensor]) {
    withoutGrad { callInPlace(Self.copy, .tensors(places.map { $0.detached() }), .tensors(values)) }
  }
}
