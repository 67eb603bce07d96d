/// Measures how long a step takes, without the first ones of a run (memory is still being set up then).
public struct StepTimer {
  private let clock = ContinuousClock()
  private var start: ContinuousClock.Instant?
  private var steps = 0

  public init() {}

  /// Counts one finished step.
  public mutating func tick() {
    if start == nil { start = clock.now } else { steps += 1 }
  }

  public var secondsPerStep: Double? {
    guard let start, steps > 0 else { return nil }
    return (clock.now - start) / .seconds(1) / Double(steps)
  }
}
