public import LoRA

/// How to zip. The defaults are the paper's where it says something and this project's measurements where it does not.
public struct ZipOptions: Codable, Sendable, Equatable {
  public var objective: ZipObjective
  /// The largest number of updates.
  public var steps: Int
  /// Adam moves a coefficient by about this much a step, whatever the size of the gradient.
  public var learningRate: Double
  /// Which of the layers that the LoRAs share are zipped. The others are added up as they are.
  public var scope: Targets
  /// Of every coefficient at the start; 1 is direct merge.
  public var initialValue: Double
  /// Starts from the closed form instead, when not nil.
  public var closedForm: ClosedForm?
  /// Stop when the mean |cos(m_c, m_s)| over layers is this small, the paper's "until the similarity reaches zero".
  public var similarityTolerance: Double
  /// Stop when the mean objective of this many steps is not 1 % below that of as many steps before; never when nil.
  public var patience: Int?
  /// Of all noise and timesteps.
  public var seed: UInt64

  public init(
    objective: ZipObjective = .cosine, steps: Int = 100, learningRate: Double = 0.01, scope: Targets = .attention,
    initialValue: Double = 1, closedForm: ClosedForm? = nil, similarityTolerance: Double = 1e-3, patience: Int? = nil,
    seed: UInt64 = 0
  ) {
    self.objective = objective
    self.steps = steps
    self.learningRate = learningRate
    self.scope = scope
    self.initialValue = initialValue
    self.closedForm = closedForm
    self.similarityTolerance = similarityTolerance
    self.patience = patience
    self.seed = seed
  }

  /// - Throws: `ZipOptionsError` with the first option that makes no sense.
  public func validate() throws(ZipOptionsError) {
    func demand(_ holds: Bool, _ option: String, _ found: some CustomStringConvertible, _ expected: String)
      throws(ZipOptionsError)
    {
      guard holds else { throw ZipOptionsError(option: option, found: "\(found)", expected: expected) }
    }
    try demand(steps >= 0, "steps", steps, "0 or more")
    try demand(learningRate > 0 && learningRate.isFinite, "learning rate", learningRate, "a number above 0")
    try demand(objective.lambda >= 0 && objective.lambda.isFinite, "lambda", objective.lambda, "0 or more")
    try demand(patience ?? 1 >= 1, "patience", patience ?? 1, "1 or more")
    try demand(initialValue.isFinite, "initial value", initialValue, "a number")
    if let closedForm {
      try demand(closedForm.draws >= 1, "calibration draws", closedForm.draws, "1 or more")
      try demand(closedForm.passes >= 1, "calibration passes", closedForm.passes, "1 or more")
      try demand(closedForm.pull >= 0 && closedForm.pull.isFinite, "pull", closedForm.pull, "0 or more")
    }
  }
}

/// An option that makes no sense.
public struct ZipOptionsError: Error, CustomStringConvertible, Equatable {
  public let option: String
  public let found: String
  public let expected: String

  public var description: String { "\(option) \(found): expected \(expected)" }
}

/// Why an optimisation ended.
public enum ZipStop: String, Codable, Sendable {
  /// All steps done.
  case finished
  /// The vectors of the LoRAs have become orthogonal.
  case similarityGone = "similarity-gone"
  /// `patience` steps brought nothing.
  case stalled
  /// The progress handler answered false.
  case asked
}

extension ZipOptions {
  /// The farthest that any coefficient can get from where it starts.
  public var reach: Double { learningRate * Double(steps) }

  /// What is worth a warning before the first step.
  public var warnings: [String] {
    guard steps > 0, reach < 0.1 else { return [] }
    return [
      """
      standstill: with learning rate \(learningRate) and \(steps) steps no coefficient can move by more than about \
      \(reach.formatted), so the result will be the direct merge; use a learning rate of about \((1 / Double(steps)).formatted)
      """
    ]
  }

  /// What is worth a warning after the last of these steps and was not after the one before.
  func warnings(after records: [ZipRecord]) -> [String] {
    guard let first = records.first, let last = records.last else { return [] }
    func hasFaded(_ record: ZipRecord) -> Bool {
      record.means.allSatisfy { $0 < 0.6 } && record.similarity < first.similarity
    }
    var warnings: [String] = []
    if last.step == min(10, steps), last.farthest < 0.01 {
      warnings.append(
        "standstill: after \(last.step) steps no coefficient has moved by more than \(last.farthest.formatted); "
          + "raise the learning rate")
    }
    if hasFaded(last), records.count < 2 || !hasFaded(records[records.count - 2]) {
      let means = last.means.map(\.formatted).joined(separator: " and ")
      warnings.append(
        "collapse: at step \(last.step) the mean coefficients are \(means): the \(objective.similarity.rawValue) term makes "
          + "the LoRAs weaker instead of separating them; use the cosine or a smaller lambda")
    }
    return warnings
  }

  /// Whether the optimisation is over after these steps.
  func stop(after records: [ZipRecord]) -> ZipStop? {
    guard let last = records.last else { return nil }
    if last.cosine <= similarityTolerance { return .similarityGone }
    if let patience, records.count >= 2 * patience {
      let objectives = records.suffix(2 * patience).map(\.objective)
      if objectives.suffix(patience).reduce(0, +) > 0.99 * objectives.prefix(patience).reduce(0, +) { return .stalled }
    }
    return nil
  }
}
