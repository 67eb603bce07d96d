import Foundation
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch
import Training

/// What follows a step of a training may fail or be stopped, and the step is kept.
@Suite struct AfterStepTests {
  private struct Broken: Error {}

  private let folder: TemporaryFolder
  private var file: String { folder("a.state.safetensors") }

  init() throws { folder = try TemporaryFolder() }

  /// - Returns: where three steps lead to.
  @discardableResult
  private func train(state: String? = nil, _ afterStep: (Int) throws -> Void = { _ in }) throws -> [Float] {
    let parameter = Tensor([0.0, 2.0] as [Float])
    let loop = TrainingLoop(
      phase: "fitting", parameters: ["x": parameter], options: .init(steps: 3, learningRate: LearningRate(peak: 0.1)))
    try loop.run(state: state, progress: { _ in true }, afterStep: afterStep) {
      (parameter - Tensor.randn([2], generator: loop.generator)).square().sum()
    }
    return parameter.detached().floats()
  }

  @Test func failure() throws {
    #expect(throws: Broken.self) { try train(state: file) { if $0 == 2 { throw Broken() } } }
    var steps: [Int] = []
    let resumed = try train(state: file) { steps.append($0) }
    #expect(steps == [2, 3], "what failed is tried again, and no step is made twice")
    #expect(resumed == (try train()))
  }

  @Test("a wish to stop is one of the training, after its last step, too", arguments: [2, 3])
  func stop(step: Int) throws {
    let wish = Interrupted(phase: "drawing samples", step: 17, state: nil)
    let stop = #expect(throws: Interrupted.self) { try train(state: file) { if $0 == step { throw wish } } }
    #expect(stop?.phase == "fitting" && stop?.step == step && stop?.state == file)
    var steps: [Int] = []
    #expect(try train(state: file) { steps.append($0) } == train())
    #expect(steps == Array(step...3))
  }

  @Test("all processes stop after the same step when one of them is asked to")
  func processes() throws {
    let file = file
    let steps = try inGroup(of: 2) { processes in
      let parameter = Tensor([0.0] as [Float])
      let loop = TrainingLoop(
        phase: "fitting", parameters: ["x": parameter], options: .init(steps: 3, learningRate: LearningRate(peak: 0.1)),
        processes: processes)
      do {
        try loop.run(
          state: file, progress: { _ in true },
          afterStep: { step in
            guard processes.isFirst, step == 3 else { return }
            throw Interrupted(phase: "drawing samples", step: 0, state: nil)
          }
        ) { (parameter - 1).square().sum() }
        return 0
      } catch let stop as Interrupted {
        return stop.step
      }
    }
    #expect(steps == [3, 3])
  }
}
