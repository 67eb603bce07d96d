public import LoRA
public import Torch

/// How to zip. The defaults are the paper's way, and this project's measurements where the paper says nothing.
public struct ZipOptions: Codable, Sendable, Equatable {
  public var objective: ZipObjective
  /// The largest number of updates.
  public var steps: Int
  /// How an update follows from the gradient.
  public var optimizer: ZipOptimizer
  /// A coefficient moves by about this much a step, whatever the size of the gradient.
  public var learningRate: Double
  /// How the rate moves over the steps.
  public var schedule: LearningRate.Shape
  /// Which of the layers that the LoRAs share are zipped. The others are added up as they are.
  public var scope: Targets
  /// The value that every coefficient starts at; 1 is direct merge, and what the closed form needs.
  public var initialValue: Double
  /// Starts from the closed form instead, when not nil. It needs fixed draws.
  public var closedForm: ClosedForm?
  /// Batches of noisy pictures of each LoRA that are drawn once and taken in turn, so that each LoRA alone is asked only once
  /// for each; nil for new ones in every step.
  public var draws: Int?
  /// Stop when the mean |cos(m_c, m_s)| over layers is this small, the paper's "until the similarity reaches zero".
  public var similarityTolerance: Double
  /// Stop when the mean objective of this many steps is not 1 % below that of as many steps before; never when nil.
  public var patience: Int?
  /// The seed of all noise and timesteps.
  public var seed: UInt64

  public init(
    objective: ZipObjective = ZipObjective(), steps: Int = 100, optimizer: ZipOptimizer = .adam, learningRate: Double = 0.01,
    schedule: LearningRate.Shape = .constant, scope: Targets = .attention,
    initialValue: Double = 1, closedForm: ClosedForm? = nil, draws: Int? = nil, similarityTolerance: Double = 1e-3,
    patience: Int? = nil,
    seed: UInt64 = 0
  ) {
    self.objective = objective
    self.steps = steps
    self.optimizer = optimizer
    self.learningRate = learningRate
    self.schedule = schedule
    self.scope = scope
    self.initialValue = initialValue
    self.closedForm = closedForm
    self.draws = draws
    self.similarityTolerance = similarityTolerance
    self.patience = patience
    self.seed = seed
  }

  /// - Throws: `MergeError.option` with the first one that makes no sense.
  public func validate() throws(MergeError) {
    func demand(_ holds: Bool, _ option: String, _ found: some CustomStringConvertible, _ expected: String) throws(MergeError) {
      guard holds else { throw .option(option, found: "\(found)", expected: expected) }
    }
    try demand(steps >= 0, "steps", steps, "0 or more")
    try demand(learningRate > 0 && learningRate.isFinite, "learning-rate", learningRate, "a number above 0")
    try demand(objective.lambda >= 0 && objective.lambda.isFinite, "lambda", objective.lambda, "0 or more")
    try demand(patience ?? 1 >= 1, "patience", patience ?? 1, "1 or more")
    try demand(abs(initialValue) <= 1000, "start", initialValue, "a number from -1000 to 1000")
    try demand(draws ?? 1 >= 1, "draws", draws ?? 1, "1 or more")
    // Beyond these there is no machine, only overflow.
    try demand(draws ?? 1 <= 65_536, "draws", draws ?? 1, "65536 or less")
    try demand(steps <= 10_000_000, "steps", steps, "10000000 or less")
    if let closedForm {
      try demand(draws != nil, "closed-form", "without draws", "a number of draws to solve it for")
      try demand(initialValue == 1, "start", initialValue, "1, as the closed form gives the start")
      try demand(closedForm.passes >= 1, "closed-form", closedForm.passes, "1 pass or more")
      try demand(closedForm.pull >= 0 && closedForm.pull.isFinite, "pull", closedForm.pull, "0 or more")
    }
  }
}

/// How an update of the coefficients follows from the gradient.
public enum ZipOptimizer: String, Codable, CaseIterable, Sendable {
  /// Adam (arXiv 1412.6980); the paper names no optimizer.
  case adam
  /// Every coefficient moves by the learning rate against the sign of its gradient (arXiv 1802.04434). In a handful of updates
  /// Adam's means are mostly the first gradient; five of these do what eight of Adam's do (Docs/SPEED.md).
  case sign

  /// The decay rates of Adam's two means; where nothing of them stays, an update is the gradient over its own size.
  var betas: (first: Double, second: Double) {
    switch self {
    case .adam: (0.9, 0.999)
    case .sign: (0, 0)
    }
  }
}

extension ZipOptions {
  /// Where the coefficients come from.
  public enum Method: String, Codable, CaseIterable, Sendable {
    /// Least squares, layer by layer, and a few updates on the same draws (`ClosedForm`).
    case closedForm = "closed-form"
    /// Updates by gradient on fixed draws, from direct merge on: for joint prompts, of which direct merge shows more than the closed
    /// form does.
    case joint
    /// Updates by gradient alone, from direct merge and with new noise in every one, as in the paper.
    case paper

    /// What `ziplora zip` takes where nothing else is asked for.
    public static func standard(withJointPrompts isJoint: Bool) -> Self { isJoint ? .joint : .closedForm }
  }

  /// The defaults of a method.
  ///
  /// Those of the closed form reach the objective of the paper's 100 updates in a fourteenth of their time (Docs/SPEED.md). With
  /// joint prompts, `joint` draws better, and with 30 updates better than with 8 (Docs/RESULTS.md).
  public init(method: Method) {
    switch method {
    case .closedForm:
      self.init(
        steps: 5, optimizer: .sign, learningRate: 0.1, schedule: .cosine, closedForm: ClosedForm(), draws: 8)
    case .joint: self.init(steps: 30, learningRate: 0.1, schedule: .cosine, draws: 16)
    case .paper: self.init()
    }
  }
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
  /// The learning rate of a step, counted from 0.
  func rate(_ step: Int) -> Double { LearningRate(peak: learningRate, shape: schedule).rate(step: step, total: steps) }

  /// The farthest that any coefficient can get from where it starts.
  public var reach: Double { learningRate * Double(steps) }

  /// What is worth a warning before the first step.
  public var warnings: [String] {
    // From the closed form on, few and small steps are no mistake.
    guard steps > 0, reach < 0.1, closedForm == nil else { return [] }
    let start = initialValue == 1 ? "the direct merge" : "LoRAs at \(initialValue.formatted) of their strength"
    return [
      """
      standstill: with learning rate \(learningRate) and \(steps) steps no coefficient can move by more than about \
      \(reach.formatted), so the result will be \(start); use a learning rate of about \((1 / Double(steps)).formatted)
      """
    ]
  }

  /// What is worth a warning after the last of these steps and was not after the one before.
  func warnings(after records: [ZipRecord]) -> [String] {
    guard let first = records.first, let last = records.last else { return [] }
    // Both vectors of a cosine can become shorter, and it stays as it is.
    let canFade = objective.similarity == .dot || objective.similarity == .meanDot
    func hasFaded(_ record: ZipRecord) -> Bool {
      canFade && record.means.allSatisfy { $0 < 0.6 } && record.similarity < first.similarity
    }
    var warnings: [String] = []
    if closedForm == nil, last.step == min(10, steps), last.farthest < 0.01 {
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

  /// What is worth a warning in the end.
  ///
  /// - Parameter after: the fidelity terms on the draws of the first record, evaluated after the last update.
  package static func warnings(of records: [ZipRecord], after: [Double]?) -> [String] {
    guard let first = records.first?.fidelity.reduce(0, +), let last = after?.reduce(0, +), last > first else { return [] }
    return [
      """
      the updates have made the differences to the LoRAs alone larger, \(last.formatted) in place of \(first.formatted) on the same noisy \
      pictures; use a smaller learning rate, or no updates
      """
    ]
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
