internal import LoRA
internal import OrderedCollections
internal import Torch

/// Gathers what the closed form needs while the model runs, and solves it.
final class Calibration {
  let closedForm: ClosedForm
  private let inputs: [MergeInput]
  private let projections: Projections
  private let processes: ProcessGroup
  /// The layers that it can be solved for.
  private let paths: [String]
  private let draws: Int
  /// Of each LoRA.
  private var recorders: [InputRecorder] = []

  /// - Parameter draws: that will be recorded of each LoRA before each solution.
  init(_ closedForm: ClosedForm, _ inputs: [MergeInput], draws: Int, plan: MergePlan, probe: any FidelityProbe) {
    let projections = probe.projections
    self.closedForm = closedForm
    self.inputs = inputs
    self.draws = draws
    self.projections = projections
    processes = probe.processes
    paths = plan.zipped.filter { projections[$0]?.weightShape.dropFirst(2).allSatisfy { $0 == 1 } ?? false }
    startRecording()
  }

  private func startRecording() { recorders = inputs.map { _ in InputRecorder(draws: draws, processes) } }

  /// Runs `body`, a pass of the model on an input of LoRA `index`.
  func recording<Result>(_ index: Int, _ body: () throws -> Result) throws -> Result {
    let places = paths.map { path in
      (projection: projections[path]!, branch: RecordingBranch(path, recorders[index]) as any Branch)
    }
    let result = try Attachment(places).whileAttached(body)
    recorders[index].endPass()
    return result
  }

  /// All draws of LoRA `index` were recorded.
  func finish(_ index: Int) { recorders[index].finish() }

  /// Bytes that will have been recorded of all LoRAs when the last one's passes are over, as foreseen from one pass on a picture so
  /// many times smaller.
  func foreseenBytes(growth: Double) -> Int {
    let (rows, finished) = recorders[0].foreseenBytes(growth: growth)
    return rows + (inputs.count - 1) * finished
  }

  /// The least-squares solution for what was recorded since the last one; other layers keep the coefficients that they have.
  func solve(_ coefficients: MergerCoefficients) throws -> MergerCoefficients {
    var solution = MergerCoefficients(coefficients.vectors.mapValues { $0.mapValues { $0.detached().cloned() } })
    for path in paths {
      let vectors = solution.vectors[path]!
      let owners = Array(vectors.keys)
      let others = inputs.indices.filter { !owners.contains($0) }
      let moments = try (owners + others).compactMap { try recorders[$0].moment(at: path) }
      guard moments.count == inputs.count else { continue }
      let solved = withoutGrad {
        ClosedForm.solve(owners.map { inputs[$0].factors(path) }, moments: moments, pull: closedForm.pull)
      }
      for ((index, old), vector) in zip(vectors, solved) {
        solution.vectors[path]?[index] = vector.to(dtype: old.dtype, device: old.device)
      }
    }
    startRecording()
    return solution
  }
}
