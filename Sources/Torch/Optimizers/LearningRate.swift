internal import Foundation

/// How the learning rate moves over a run.
public struct LearningRate: Sendable, Codable, Equatable {
  public enum Shape: String, Sendable, Codable, CaseIterable {
    case constant
    /// Falls evenly to nothing after the last step.
    case linear
    /// Falls to a hundredth along half a cosine.
    case cosine
  }

  /// The largest rate.
  public var peak: Double
  public var shape: Shape
  /// Steps of linear rise at the start.
  public var warmup: Int

  public init(peak: Double, shape: Shape = .constant, warmup: Int = 0) {
    self.peak = peak
    self.shape = shape
    self.warmup = warmup
  }

  /// The rate of a step, counted from 0.
  public func rate(step: Int, total: Int) -> Double {
    if step < warmup { return peak * Double(step + 1) / Double(warmup) }
    let share = min(Double(step - warmup) / Double(max(total - warmup, 1)), 1)
    return switch shape {
    case .constant: peak
    case .linear: peak * (1 - share)
    case .cosine: peak * (0.01 + 0.99 * 0.5 * (1 + cos(.pi * share)))
    }
  }
}
