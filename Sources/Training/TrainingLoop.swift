internal import Foundation
internal import Merging
public import OrderedCollections
internal import SafeTensors
public import Torch

/// Steps of AdamW over named parameters, with everything that a resume needs to continue bit for bit: parameters,
/// moments, averages, the step and the state of the random numbers.
///
/// Several processes add up their gradients before each step, so that all have the same parameters; the first one saves.
public final class TrainingLoop {
  public struct Options: Sendable, Codable, Equatable {
    public var steps: Int
    public var learningRate: LearningRate
    public var weightDecay: Double
    public var beta2: Double
    /// Batches whose gradients are added up for one step.
    public var accumulation: Int
    /// Largest norm of all gradients together; nil for no limit.
    public var gradientLimit: Double?
    /// Decay of the moving average; nil for none.
    public var averageDecay: Double?
    public var seed: UInt64

    public init(
      steps: Int, learningRate: LearningRate, weightDecay: Double = 0.01, beta2: Double = 0.999, accumulation: Int = 1,
      gradientLimit: Double? = 1, averageDecay: Double? = nil, seed: UInt64 = 0
    ) {
      self.steps = steps
      self.learningRate = learningRate
      self.weightDecay = weightDecay
      self.beta2 = beta2
      self.accumulation = accumulation
      self.gradientLimit = gradientLimit
      self.averageDecay = averageDecay
      self.seed = seed
    }
  }

  public let phase: String
  public let options: Options
  public let parameters: OrderedDictionary<String, Tensor>
  /// The only source of random numbers of a step.
  public let generator: Generator
  public private(set) var step = 0
  public private(set) var average: MovingAverage?
  /// Losses of all steps, for plots.
  public private(set) var losses: [Float] = []

  private let optimizer: AdamW
  private let settings: OrderedDictionary<String, String>
  private let processes: ProcessGroup

  /// - Parameters:
  ///   - rateFactors: what the learning rate is multiplied by for the parameters that are named; 1 for others.
  ///   - settings: what decides what a step does, by the names that a user knows; a state of other ones is refused, and they are named.
  ///   - processes: those whose losses are averaged, each of its own part of a batch.
  public init(
    phase: String, parameters: OrderedDictionary<String, Tensor>, options: Options,
    rateFactors: [String: Double] = [:], settings: OrderedDictionary<String, String> = [:],
    processes: ProcessGroup = ProcessGroup()
  ) {
    self.phase = phase
    self.settings = settings
    self.processes = processes
    self.options = options
    self.parameters = parameters
    let tensors = parameters.values.map { $0.requiringGrad() }
    optimizer = AdamW(
      tensors,
      .init(learningRate: options.learningRate.peak, beta2: options.beta2, weightDecay: options.weightDecay),
      rateFactors: parameters.keys.map { rateFactors[$0] ?? 1 })
    average = options.averageDecay.map { MovingAverage(tensors, decay: $0) }
    generator = Generator(seed: options.seed)
  }

  /// Runs the steps that are left.
  ///
  /// - Parameters:
  ///   - state: file that the state is saved in, and continued from when it is there.
  ///   - identity: of everything else that the result depends on, such as pictures; a state of another one is refused.
  ///   - saveEvery: seconds between saves.
  ///   - loss: the loss of one batch, a scalar; all its random numbers come from `generator`.
  ///   - afterStep: called after each step, for samples and logs, and again after the one that a saved state ends with, as it may have
  ///     been stopped there. The state is saved before what it throws goes on; `Interrupted` is a wish to stop.
  /// - Throws: `Interrupted` when a handler asks to stop, in whichever process; `Diverged` when a loss or a gradient is not finite;
  ///   `ProcessGroupError`.
  public func run(
    state: String?, identity: String = "", saveEvery: Double = 120, progress: ProgressHandler,
    afterStep: (Int) throws -> Void = { _ in }, loss: () throws -> Tensor
  ) throws {
    if let state, try processes.first(FileManager.default.fileExists(atPath: state)) {
      try withTorchErrors { try restore(from: state, identity: identity) }
      // Until all have read it, nobody replaces it.
      try processes.barrier()
      guard try processes.all(goesOn(afterStep, state: state, identity: identity)) else {
        throw Interrupted(phase: phase, step: step, state: state)
      }
    } else {
      try processes.broadcast(Array(parameters.values))
    }
    let clock = ContinuousClock()
    var saved = clock.now
    var timer = StepTimer()
    var smooth: Double?
    while step < options.steps {
      // Whatever fails in a step must end the run before the step is counted and saved.
      let value = try withTorchErrors { try update(loss) }
      smooth = smooth.map { $0 * 0.98 + value * 0.02 } ?? value
      losses.append(Float(value))
      step += 1
      timer.tick()
      let goesOn = try goesOn(afterStep, state: state, identity: identity)
      if let state, clock.now - saved > .seconds(saveEvery) || step == options.steps {
        try save(to: state, identity: identity)
        saved = clock.now
      }
      let report = ProgressReport(
        phase: phase, step: step, total: options.steps, secondsPerStep: timer.secondsPerStep,
        figures: [("loss", smooth ?? value)])
      // After the last step only what follows it can be stopped.
      let isToGoOn = progress(report) || step == options.steps
      guard try processes.all(isToGoOn && goesOn) else {
        if let state { try save(to: state, identity: identity) }
        throw Interrupted(phase: phase, step: step, state: state)
      }
    }
  }

  /// Keeps the average of the parameters, where there is one; from here on none is trained.
  public func finish() {
    average?.writeToParameters()
    for parameter in parameters.values { parameter.requiringGrad(false) }
  }

  /// What follows a step.
  ///
  /// - Returns: false where it was asked to stop.
  private func goesOn(_ afterStep: (Int) throws -> Void, state: String?, identity: String) throws -> Bool {
    guard step > 0 else { return true }
    do {
      try withTorchErrors { try afterStep(step) }
    } catch is Interrupted {
      return false
    } catch {
      // The step itself is done. Of two things that go wrong the first one is told.
      if let state { try? save(to: state, identity: identity) }
      throw error
    }
    return true
  }

  /// Forgets gradients that no step has used.
  func discardGradients() { optimizer.zeroGrad() }

  private func update(_ loss: () throws -> Tensor) throws -> Double {
    optimizer.options.learningRate = options.learningRate.rate(step: step, total: options.steps)
    var total = 0.0
    for _ in 0..<options.accumulation {
      let value = try loss()
      // This process's share of the mean over all of them and over all batches of the step.
      let share = Double(options.accumulation * processes.size)
      total += value.item() / share
      (share == 1 ? value : value / share).backward()
    }
    total = try processes.sum([total])[0]
    try processes.sum(parameters.values.compactMap(\.grad))
    // A parameter that is no longer a number would be saved, and no run could go on from that.
    guard total.isFinite, optimizer.clipGradients(to: options.gradientLimit ?? .infinity).isFinite else {
      throw Diverged(phase: phase, step: step + 1, learningRate: optimizer.options.learningRate)
    }
    optimizer.step()
    optimizer.zeroGrad()
    average?.update(step: step)
    return total
  }

  // MARK: state

  private func save(to path: String, identity: String) throws {
    guard processes.isFirst else { return }
    var tensors: OrderedDictionary<String, Tensor> = [:]
    for (index, (name, parameter)) in parameters.enumerated() {
      tensors["parameter/\(name)"] = parameter.detached()
      tensors["moment1/\(name)"] = optimizer.firstMoments[index]
      tensors["moment2/\(name)"] = optimizer.secondMoments[index]
      tensors["steps/\(name)"] = optimizer.steps[index]
      if let average { tensors["average/\(name)"] = average.averages[index] }
    }
    tensors["generator"] = generator.state
    tensors["losses"] = Tensor(losses)
    let metadata: OrderedDictionary = [
      "phase": phase, "step": "\(step)", "options": try JSONText.compact(options),
      "settings": settings.isEmpty ? "" : try JSONText.compact(settings), "identity": identity,
    ]
    try saveSafeTensors(tensors, metadata: metadata, to: path, overwrite: true)
  }

  /// - Throws: `StateError` for a file that is no state of such work.
  static func openState(at path: String, phase: String) throws -> (file: SafeTensorsCollection, step: Int) {
    let file = try StateError.opening(path)
    let metadata = file.file.metadata
    guard metadata["phase"] == phase, let step = metadata["step"].flatMap(Int.init) else {
      let found = metadata["phase"].map { "the saved state of \"\($0)\"" } ?? "no saved state"
      throw StateError(path: path, reason: "it is \(found); expected one of \"\(phase)\"", remedy: .anotherFile)
    }
    return (file, step)
  }

  private func restore(from path: String, identity: String) throws {
    let (file, saved) = try Self.openState(at: path, phase: phase)
    let metadata = file.file.metadata
    // First, as a seed that nobody has given follows from them.
    guard metadata["identity"] ?? "" == identity else {
      throw StateError(
        path: path,
        reason:
          "it was made with other pictures, prompts or sizes, another base, --dtype or --clip-skip, another --flip or --start-from"
      )
    }
    let differences = try differences(from: metadata, of: path)
    guard differences.isEmpty else { throw StateError(path: path, reason: differences.joined(separator: "; ")) }
    guard saved >= 0 else { throw StateError(path: path, reason: "it is at step \(saved), which is none") }
    guard saved <= options.steps else {
      throw StateError(path: path, reason: "it is at step \(saved), beyond the \(options.steps) asked for")
    }
    func list(_ kind: String, shape: [Int]? = nil) throws -> [Tensor] {
      try parameters.map { name, parameter in
        let saved = try file.tensor("\(kind)/\(name)")
        let expected = shape ?? parameter.shape
        guard saved.shape == expected else {
          throw StateError(path: path, reason: "\(kind)/\(name) is \(saved.shape), not \(expected)")
        }
        return saved
      }
    }
    let values = try list("parameter")
    withoutGrad { for (parameter, value) in zip(parameters.values, values) { parameter.detached().copyInPlace(value) } }
    optimizer.restore(
      firstMoments: try list("moment1"), secondMoments: try list("moment2"),
      steps: try list("steps", shape: []))
    try average?.restore(list("average"))
    generator.state = try file.tensor("generator").cloned()
    losses = try file.tensor("losses").floats()
    step = saved
  }

  /// Which settings are others than those that a state was made with.
  private func differences(from metadata: OrderedDictionary<String, String>, of path: String) throws -> [String] {
    var former = try decoded(Options.self, metadata["options"] ?? "", path)
    // The steps that are done are those of a longer run, too, unless the rate of each depends on how many there are.
    if options.learningRate.shape == .constant { former.steps = options.steps }
    let text = metadata["settings"] ?? ""
    let formerSettings = text.isEmpty ? [:] : try decoded(OrderedDictionary<String, String>.self, text, path)
    guard former != options || formerSettings != settings else { return [] }
    let found = settings.merging(options.settings) { own, _ in own }
      .differences(from: formerSettings.merging(former.settings) { own, _ in own })
    return found.isEmpty ? ["it was made with other settings"] : found
  }
}

extension TrainingLoop.Options {
  /// As `ziplora train` calls them.
  fileprivate var settings: OrderedDictionary<String, String> {
    func text(_ number: Double?) -> String { number.map { "\($0)" } ?? "none" }
    return [
      "--steps": "\(steps)", "--learning-rate": "\(learningRate.peak)", "--schedule": learningRate.shape.rawValue,
      "--warmup": "\(learningRate.warmup)", "--weight-decay": "\(weightDecay)", "beta2": "\(beta2)",
      "--accumulation": "\(accumulation)", "gradient limit": text(gradientLimit), "average decay": text(averageDecay),
      "--seed": "\(seed)",
    ]
  }
}

private func decoded<Content: Decodable>(_ type: Content.Type, _ text: String, _ path: String) throws -> Content {
  do {
    return try JSONDecoder().decode(type, from: Data(text.utf8))
  } catch {
    throw StateError(path: path, reason: "its settings cannot be read; another version of ziplora may have written it")
  }
}
