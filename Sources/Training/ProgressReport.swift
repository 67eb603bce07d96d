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

  /// - Parameter state: where the work can go on from; nil where nothing is kept.
  /// - Throws: where the handler answers false.
  package func send(to progress: ProgressHandler, state: String? = nil) throws(Interrupted) {
    guard progress(self) else { throw Interrupted(phase: phase, step: step, state: state) }
  }
}

/// Hears of progress; false asks the work to save its state and stop.
public typealias ProgressHandler = (ProgressReport) -> Bool
