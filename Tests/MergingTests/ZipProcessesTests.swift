import LoRA
import Merging
import TestSupport
import Testing
import Torch

/// Zipping in several processes, in 64 bits.
@Suite struct ZipProcessesTests {
  /// The toy model, with each batch of two split.
  private struct SplitModel: FidelityProbe {
    let model = ToyModel(dtype: .float64)
    let processes: ProcessGroup

    var projections: Projections { model.projections }

    func draw(of term: FidelityTerm, generator: Generator) -> ToyModel.Input {
      let whole = model.draw(of: term, generator: generator)
      let part = processes.part(of: 2)
      return ToyModel.Input(tokens: whole.tokens[part], picture: whole.picture[part])
    }

    func prediction(of input: ToyModel.Input) -> Tensor { model.prediction(of: input) }
  }

  private struct Found: Sendable {
    let coefficients: [Double]
    let terms: [Double]
    let stop: ZipStop
  }

  private func zip(_ options: ZipOptions, _ processes: ProcessGroup, stopAfter: Int = .max) throws -> Found {
    let probe = SplitModel(processes: processes)
    let zipper = try ZipLoRA(probe.model.pair, probe: probe, options: options)
    let stop = try zipper.optimize { $0.record.step < stopAfter }
    return Found(
      coefficients: zipper.coefficients.tensors.flatMap { $0.doubles() },
      terms: zipper.records.flatMap { $0.fidelity + [$0.similarity] }, stop: stop)
  }

  @Test(
    "two processes give the coefficients and the terms of one",
    arguments: [
      (ZipOptions(steps: 6, learningRate: 0.05, scope: .everything, seed: 3), 1e-11, ZipStop.finished),
      // The moments are summed in 32 bits.
      (ZipOptions(steps: 2, learningRate: 0.05, closedForm: ClosedForm(), draws: 4, seed: 3), 1e-5, .finished),
      (ZipOptions(objective: .publicCode, steps: 60, learningRate: 1e-4, patience: 3, seed: 3), 1e-11, .stalled),
    ])
  func same(options: ZipOptions, tolerance: Double, stop: ZipStop) throws {
    let alone = try zip(options, ProcessGroup())
    #expect(alone.stop == stop)
    let found = try inGroup(of: 2) { try zip(options, $0) }
    #expect(found[0].coefficients == found[1].coefficients)
    for found in found {
      #expect(found.stop == stop && found.terms.count == alone.terms.count)
      let errors = [(found.coefficients, alone.coefficients), (found.terms, alone.terms)]
        .map { difference(Tensor($0), Tensor($1)) }
      #expect(errors.allSatisfy { $0 <= tolerance }, "\(errors)")
    }
  }

  @Test func oneThatIsAskedToStopStopsAll() throws {
    let options = ZipOptions(steps: 9, learningRate: 0.05, seed: 3)
    let found = try inGroup(of: 2) { try zip(options, $0, stopAfter: $0.rank == 1 ? 4 : .max) }
    #expect(found.allSatisfy { $0.stop == .asked && $0.terms.count == 12 })
  }
}
