/// Where a long piece of work stands.
public struct ProgressReport: Sendable {
  /// What is being done, such as "training the style LoRA".
  public var phase: String
  public var step: Int
  public var total: Int
  /// Time per step as measured in this run; nil before the first one.
  public var secondsPerStep: Double?
  /// What is being done within the step, for long ones.
  public var detail: String
  /// Figures worth showing, in this order.
  public var figures: [(name: String, value: Double)]
  /// What has become worth a warning at this step.
  public var warnings: [String]

  public init(
    phase: String, step: Int, total: Int, secondsPerStep: Double? = nil, detail: String = "",
    figures: [(name: String, value: Double)] = [], warnings: [String] = []
  ) {
    self.phase = phase
    self.step = step
    self.total = total
    self.secondsPerStep = secondsPerStep
    self.detail = detail
    self.figures = figures
    self.warnings = warnings
  }

  public var secondsLeft: Double? { secondsPerStep.map { $0 * Double(total - step) } }
}

/// Hears of progress; false asks the work to save its state and stop.
public typealias ProgressHandler = (ProgressReport) -> Bool

/// The work was asked to stop; what was done is saved.
public struct Interrupted: Error, CustomStringConvertible {
  public let phase: String
  public let step: Int
  /// Where the work can go on from; nil when nothing was kept.
  public let state: String?

  public init(phase: String, step: Int, state: String?) {
    self.phase = phase
    self.step = step
    self.state = state
  }

  public var description: String {
    let saved = state.map { "; the state is in \($0), the same command continues from it" } ?? ""
    return "interrupted while \(phase), after step \(step)\(saved)"
  }
}

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
