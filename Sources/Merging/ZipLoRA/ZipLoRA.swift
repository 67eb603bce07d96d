public import LoRA
internal import Torch

/// ZipLoRA: a subject LoRA and a style LoRA become one LoRA that draws the subject in the style (arXiv 2311.13600).
///
/// D is a base model with frozen weights W. Each LoRA k adds ΔW_k = s_k B_k A_k to some layers. Adding both as they are
/// lets columns that point the same way disturb each other. ZipLoRA gives every input column of every layer one number for
/// each LoRA, a merger coefficient, all ones at first (Eq 2 of the paper):
///
///     ΔW_m = ΔW_c · diag(m_c) + ΔW_s · diag(m_s)                 m_c, m_s ∈ R^in
///
/// and searches the numbers with which the merged model predicts what each LoRA alone predicts for its own pictures and
/// prompt, while the two vectors of a layer stay apart (Eq 3):
///
///     L = ‖(D ⊕ L_m)(x_c, p_c) − (D ⊕ L_c)(x_c, p_c)‖ + ‖(D ⊕ L_m)(x_s, p_s) − (D ⊕ L_s)(x_s, p_s)‖
///         + λ Σ_layers |m_c · m_s|
///
/// Only the coefficients are trained. ΔW_m is exactly [B_c B_s] · [s_c A_c diag(m_c); s_s A_s diag(m_s)], so the merged
/// model runs in this low-rank form (`ZipBranch`), and the result is an ordinary LoRA file of rank r_c + r_s
/// (`MergerCoefficients.zipped`).
///
/// The paper leaves open what "‖·‖" and "|m_c · m_s|" mean in code and how noise is drawn: see `ZipObjective`; noise and
/// timesteps here are independent for each LoRA. Any number of LoRAs can be zipped, each with its own vector, with the
/// last term summed over pairs.
///
/// Nothing in Eq 3 says what the merged model should draw of a prompt that calls both LoRAs up. Where the probe has inputs of
/// such prompts (`FidelityProbe.hasJointInputs`), another term does, not in the paper: what the LoRAs change in the prediction
/// one by one, added up,
///
///     ‖(D ⊕ L_m)(x, p) − [D(x, p) + Σ_k ((D ⊕ L_k)(x, p) − D(x, p))]‖
///
/// which shows both better than what they change in the weights, added up (Docs/RESULTS.md).
///
/// Several processes split each batch (`FidelityProbe.processes`). Gradients and terms are added up before each update, so
/// that all of them have the same coefficients, and the first one decides when it is over.
public final class ZipLoRA {
  public let inputs: [MergeInput]
  public let options: ZipOptions
  public let plan: MergePlan
  /// The vectors m_k, being optimised in place.
  public let coefficients: MergerCoefficients
  /// What each update saw.
  public internal(set) var records: [ZipRecord] = []
  /// The fidelity terms of the first fixed draws when `optimize` was done, to be compared with those of the first record, which
  /// are of the same draws; those of two records are not. nil without fixed draws and without updates.
  public private(set) var fidelityAfter: [Double]?

  let probe: any FidelityProbe
  private let processes: ProcessGroup
  /// Where the optimisation began; the closed form puts its solution here.
  private(set) var start: MergerCoefficients
  let adam: AdamW
  let generator: Generator
  /// D ⊕ L_k for each LoRA, and D ⊕ L_m.
  private let teachers: [Attachment]
  private let merged: Attachment
  /// The fixed draws of each term; empty until `prepare`, and without `options.draws`.
  private var comparisons: [FidelityTerm: [Comparison]] = [:]

  init(
    _ inputs: [MergeInput], probe: any FidelityProbe, options: ZipOptions, plan: MergePlan, start: MergerCoefficients,
    generator: Generator
  ) throws {
    (self.inputs, self.probe, self.options, self.plan, self.start) = (inputs, probe, options, plan, start)
    self.generator = generator
    processes = probe.processes
    coefficients = start.trainable()
    teachers = try inputs.map { try Attachment($0.weighted, to: probe.projections) }
    merged = try plan.attachment(of: inputs, coefficients, to: probe.projections)
    let betas = options.optimizer.betas
    adam = AdamW(
      coefficients.tensors,
      .init(learningRate: options.learningRate, beta1: betas.first, beta2: betas.second, weightDecay: 0))
  }

  /// Gets ready to zip LoRAs; nothing of the model is run yet.
  ///
  /// - Throws: `MergeError` for adapters that cannot be zipped and options that make no sense, `AttachmentError` for another base
  ///   model's adapters.
  public convenience init(_ inputs: [MergeInput], probe: any FidelityProbe, options: ZipOptions = .init()) throws {
    try options.validate()
    let plan = try MergePlan(inputs, scope: options.scope)
    let start = plan.coefficients(options.initialValue, for: inputs, on: probe.projections)
    try self.init(
      inputs, probe: probe, options: options, plan: plan, start: start, generator: Generator(seed: options.seed))
  }

  /// Asks each LoRA alone for its predictions on the fixed draws, and solves the closed form on the inputs that its layers
  /// see meanwhile. `optimize` and `step` do it where it has not been done; without fixed draws there is nothing to do.
  ///
  /// - Parameter progress: hears how many passes of the model are done, and of how many; false, in whichever process, stops.
  /// - Returns: false when it was stopped.
  /// - Throws: `ProcessGroupError`, and what the probe throws.
  @discardableResult
  public func prepare(progress: (_ done: Int, _ total: Int) -> Bool = { _, _ in true }) throws -> Bool {
    guard let draws = options.draws, comparisons.isEmpty else { return true }
    let closedForm = records.isEmpty ? options.closedForm : nil
    let calibration = closedForm.map { Calibration($0, inputs, draws: draws, plan: plan, probe: probe) }
    let passes = closedForm?.passes ?? 1
    let total = draws * (terms.count + inputs.count * (passes - 1))
    var done = 0
    func goesOn() throws -> Bool {
      done += 1
      return try processes.all(progress(done, total))
    }
    return try withTorchErrors {
      // Of its own, so that a resumed run makes the same draws again.
      let generator = Generator(seed: options.seed)
      var found: [FidelityTerm: [Comparison]] = [:]
      for term in terms {
        for compare in try probe.comparisons(draws, of: term, teachers: teachers, generator: generator) {
          // The closed form knows a LoRA's own inputs alone.
          let comparison =
            if let calibration, case .lora(let index) = term { try calibration.recording(index, compare) } else { try compare() }
          found[term, default: []].append(comparison)
          guard try goesOn() else { return false }
        }
        if case .lora(let index) = term { calibration?.finish(index) }
      }
      if let calibration { try begin(at: calibration.solve(coefficients)) }
      for _ in 1..<passes {
        for index in inputs.indices {
          for comparison in found[.lora(index)]! {
            _ = try calibration?.recording(index) { try withoutGrad { try merged.whileAttached(comparison.prediction) } }
            guard try goesOn() else { return false }
          }
          calibration?.finish(index)
        }
        if let calibration { try begin(at: calibration.solve(coefficients)) }
      }
      comparisons = found
      return true
    }
  }

  private func begin(at start: MergerCoefficients) throws {
    try processes.broadcast(start.tensors)
    self.start = start
    withoutGrad { for (live, value) in zip(coefficients.tensors, start.tensors) { live.copyInPlace(value) } }
  }

  /// Updates the coefficients until the steps are done, the similarity is gone, nothing improves any more or the progress
  /// handler answers false, be it in one of several processes.
  ///
  /// - Throws: `MergeError.notFinite`, `ProcessGroupError`, and what the probe throws.
  @discardableResult
  public func optimize(progress: (ZipProgress) -> Bool = { _ in true }) throws -> ZipStop {
    try prepare()
    while records.count < options.steps {
      // First, so that a resumed run ends where one run would have ended.
      if let reason = try stopReason() {
        try measureFidelityAfter()
        return reason
      }
      let record = try step()
      let goesOn = progress(ZipProgress(record, of: options.steps, warnings: options.warnings(after: records)))
      guard try processes.all(goesOn) else { return .asked }
    }
    let reason = try stopReason() ?? .finished
    try measureFidelityAfter()
    return reason
  }

  private func measureFidelityAfter() throws {
    guard !comparisons.isEmpty, !records.isEmpty else { return }
    let own = try withTorchErrors {
      try withoutGrad { try terms.map { try withFidelityTerm(of: comparisons[$0]![0]) { $0.item() } } }
    }
    let all = try processes.sum(own)
    guard all.allSatisfy(\.isFinite) else { throw notFinite(step: records.count) }
    fidelityAfter = all
  }

  /// Why it is over, if it is: as the first process finds, as the others' figures may differ in the last bits.
  private func stopReason() throws -> ZipStop? {
    let reasons: [ZipStop] = [.similarityGone, .stalled]
    let own = options.stop(after: records).flatMap(reasons.firstIndex)
    return try processes.first(own.map { [$0] } ?? []).first.map { reasons[$0] }
  }

  /// One update by the gradient of Eq 3.
  ///
  /// - Throws: `MergeError.notFinite`, `ProcessGroupError`, `TorchError` for an operation that failed, and what the probe throws.
  @discardableResult
  public func step() throws -> ZipRecord { try withTorchErrors(update) }

  private func update() throws -> ZipRecord {
    let clock = ContinuousClock()
    let began = clock.now
    try prepare()
    adam.options.learningRate = options.rate(records.count)
    let (fidelity, similarity) = try addGradients()
    guard (fidelity + [similarity, adam.clipGradients(to: .infinity)]).allSatisfy(\.isFinite) else {
      throw notFinite(step: records.count + 1)
    }
    adam.step()
    adam.zeroGrad()
    let record = ZipRecord(
      step: records.count + 1, loras: inputs.count, fidelity: fidelity, similarity: similarity, lambda: options.objective.lambda,
      coefficients: coefficients, start: start, seconds: (clock.now - began) / .seconds(1))
    guard record.isFinite else { throw notFinite(step: record.step) }
    records.append(record)
    return record
  }

  private func notFinite(step: Int) -> MergeError { .notFinite(step: step, learningRate: adam.options.learningRate) }

  /// Draws inputs and passes the terms of Eq 3 back to the coefficients, one after the other, so that only one graph of the
  /// model exists at a time.
  package func addGradients() throws -> (fidelity: [Double], similarity: Double) {
    let own = try terms.map(addGradientOfFidelity)
    try processes.sum(coefficients.tensors.compactMap(\.grad))
    let fidelity = try processes.sum(own)
    // Of the coefficients alone, which are the same in all processes.
    return (fidelity, addGradientOfSimilarity())
  }

  /// The fidelity terms: of each LoRA, and of all together where the probe has inputs for that.
  private var terms: [FidelityTerm] { inputs.indices.map { .lora($0) } + (probe.hasJointInputs ? [.joint] : []) }

  /// Passes ‖(D ⊕ L_m)(x_k, p_k) − (D ⊕ L_k)(x_k, p_k)‖, for noisy pictures x_k and the prompt p_k of LoRA k, or the joint term
  /// back to the coefficients.
  ///
  /// - Returns: this process's share of the term's mean.
  private func addGradientOfFidelity(_ term: FidelityTerm) throws -> Double {
    let comparison =
      if let drawn = comparisons[term] {
        drawn[records.count % drawn.count]
      } else {
        try probe.comparisons(1, of: term, teachers: teachers, generator: generator)[0]()
      }
    return try withFidelityTerm(of: comparison) { term in
      term.backward()
      return term.item()
    }
  }

  /// Gives `body` the term of one comparison while the merged branches are still attached, as its backward pass needs them.
  private func withFidelityTerm(of comparison: Comparison, _ body: (Tensor) -> Double) throws -> Double {
    try merged.whileAttached {
      body(options.objective.fidelity(of: try comparison.prediction(), to: comparison.teacher) / Double(processes.size))
    }
  }

  /// Runs `body` with the merged model as it now stands; what its backward pass leaves is for `discardGradients`.
  package func whileMerged<Result>(_ body: () throws -> Result) throws -> Result { try merged.whileAttached(body) }

  /// Forgets gradients that no update has used.
  package func discardGradients() { adam.zeroGrad() }

  /// Bytes of the layers' inputs that `prepare` will keep for the closed form; 0 without it.
  ///
  /// - Parameters:
  ///   - growth: how many times more latents its pictures will have than that of the pass.
  ///   - pass: a pass of the model on a small picture.
  /// - Throws: what `pass` throws.
  package func bytesOfInputs(growth: Double, _ pass: () throws -> Void) throws -> Int {
    guard records.isEmpty, let draws = options.draws, let closedForm = options.closedForm else {
      try withoutGrad(pass)
      return 0
    }
    let calibration = Calibration(closedForm, inputs, draws: draws, plan: plan, probe: probe)
    try calibration.recording(0) { try withoutGrad(pass) }
    return calibration.foreseenBytes(growth: growth)
  }

  /// Passes λ Σ_layers |m_c · m_s| back to the coefficients, and returns the sum.
  private func addGradientOfSimilarity() -> Double {
    let term = options.objective.similarity(of: coefficients)
    if term.requiresGrad { (term * options.objective.lambda).backward() }
    return term.item()
  }

  /// The merged LoRA as it now stands, exactly.
  ///
  /// - Parameter strengths: of each LoRA in the merged one; all 1 as optimised.
  public func zipped(strengths: [Double]? = nil) -> Adapter { coefficients.zipped(inputs, strengths: strengths) }
}
