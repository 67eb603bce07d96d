import Foundation
import Merging
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch
import Training

@Suite struct TrainingLoopTests {
  /// Fits y = w x + b to noisy points of a line; all randomness from the loop's generator.
  private struct Line {
    let loop: TrainingLoop
    let w = Tensor([0.0] as [Float])
    let b = Tensor([0.0] as [Float])
    private let processes: ProcessGroup

    init(
      steps: Int, learningRate: Double = 0.05, shape: LearningRate.Shape = .constant, seed: UInt64 = 1, accumulation: Int = 1,
      settings: OrderedDictionary<String, String> = [:], processes: ProcessGroup = ProcessGroup()
    ) {
      self.processes = processes
      loop = TrainingLoop(
        phase: "fitting a line", parameters: ["w": w, "b": b],
        options: .init(
          steps: steps, learningRate: LearningRate(peak: learningRate, shape: shape, warmup: 2), weightDecay: 0,
          accumulation: accumulation, averageDecay: 0.9, seed: seed), settings: settings, processes: processes)
    }

    func run(state: String? = nil, stopAfter: Int = .max) throws {
      try loop.run(state: state, progress: { $0.step < stopAfter }) {
        let x = Tensor.randn([8], generator: loop.generator)[processes.part(of: 8)]
        return (w * x + b).meanSquaredError(3 * x - 1)
      }
    }

    var values: [Float] { [w, b].flatMap { $0.floats() } + (loop.average?.averages.flatMap { $0.floats() } ?? []) }
  }

  private let folder: TemporaryFolder
  private var file: String { folder("line.safetensors") }

  init() throws { folder = try TemporaryFolder() }

  @Test func learnsTheLine() throws {
    let line = Line(steps: 400)
    try line.run()
    #expect(abs(line.w.item() - 3) < 0.05)
    #expect(abs(line.b.item() + 1) < 0.05)
  }

  @Test("a resumed run ends with the same bits", arguments: [1, 3])
  func resume(accumulation: Int) throws {
    let whole = Line(steps: 12, accumulation: accumulation)
    try whole.run()

    let first = Line(steps: 12, accumulation: accumulation)
    let stop = #expect(throws: Interrupted.self) { try first.run(state: file, stopAfter: 5) }
    #expect(stop?.step == 5)
    #expect(stop?.description.contains(file) == true)
    #expect(first.values != whole.values, "the first part alone must not be the whole")

    let second = Line(steps: 12, accumulation: accumulation)
    try second.run(state: file)
    #expect(second.values == whole.values)
    #expect(second.loop.losses == whole.loop.losses)
  }

  @Test("two processes with half of each batch do what one does, also after one of them has been stopped")
  func processes() throws {
    let whole = Line(steps: 12, accumulation: 2)
    try whole.run()
    func half(stop: Int, in stopping: Int) throws -> [(step: Int, losses: [Float], values: [Float])] {
      try inGroup(of: 2) { processes in
        let line = Line(steps: 12, accumulation: 2, processes: processes)
        // The others' start is the first one's.
        if !processes.isFirst { line.w.detached().addInPlace(5) }
        do {
          try line.run(state: file, stopAfter: processes.rank == stopping ? stop : .max)
        } catch is Interrupted {}
        return (line.loop.step, line.loop.losses, line.values)
      }
    }
    #expect(try half(stop: 5, in: 1).map(\.step) == [5, 5])
    let found = try half(stop: 100, in: 0)
    #expect(found[0].values.prefix(2) == found[1].values.prefix(2))
    for (name, values, expected) in [
      ("values", found[0].values, whole.values), ("losses", found[1].losses, whole.loop.losses),
    ] {
      let error = difference(Tensor(values), Tensor(expected))
      #expect(error <= 1e-5, "\(name): \(error)")
    }
  }

  @Test func stateOfOtherSettingsIsRefused() throws {
    try Line(steps: 3).run(state: file)
    let error = #expect(throws: StateError.self) { try Line(steps: 5, learningRate: 0.1).run(state: file) }
    #expect(
      error?.description == """
        \(file) cannot be continued: --learning-rate is 0.1, the state was made with 0.05. Use the settings it was made with, or delete \
        it to start again
        """)
    let batch = #expect(throws: StateError.self) { try Line(steps: 5, settings: ["--batch": "4"]).run(state: file) }
    #expect(batch?.reason == "it was made with other settings", "of which it names none")
  }

  @Test("a state goes on to more steps where they do not change the rate of those that are done, never to fewer")
  func otherNumbersOfSteps() throws {
    try Line(steps: 3).run(state: file)
    let longer = Line(steps: 5)
    try longer.run(state: file)
    let whole = Line(steps: 5)
    try whole.run()
    #expect(longer.values == whole.values)
    let fewer = #expect(throws: StateError.self) { try Line(steps: 4).run(state: file) }
    #expect(fewer?.description.contains("it is at step 5, beyond the 4 asked for") == true)

    try FileManager.default.removeItem(atPath: file)
    #expect(throws: Interrupted.self) { try Line(steps: 9, shape: .cosine).run(state: file, stopAfter: 3) }
    let error = #expect(throws: StateError.self) { try Line(steps: 12, shape: .cosine).run(state: file) }
    #expect(error?.reason == "--steps is 12, the state was made with 9")
  }

  @Test("a state of other shapes is refused, not broadcast")
  func stateOfOtherShapes() throws {
    func loop(_ width: Int) -> (TrainingLoop, Tensor) {
      let parameter = Tensor.zeros([width])
      return (
        TrainingLoop(phase: "fitting", parameters: ["x": parameter], options: .init(steps: 2, learningRate: .init(peak: 1))),
        parameter
      )
    }
    let (narrow, one) = loop(1)
    try narrow.run(state: file, progress: { _ in true }) { (one - 1).square().sum() }
    let (wide, three) = loop(3)
    let error = #expect(throws: StateError.self) {
      try wide.run(state: file, progress: { _ in true }) { (three - 1).square().sum() }
    }
    #expect(error?.description.contains("parameter/x is [1], not [3]") == true)
  }

  @Test("an operation that fails in a step ends the run before the step is counted or saved")
  func failingStep() throws {
    let parameter = Tensor.ones([2, 3])
    let loop = TrainingLoop(
      phase: "failing", parameters: ["x": parameter], options: .init(steps: 3, learningRate: LearningRate(peak: 0.1)))
    #expect(throws: TorchError.self) {
      try loop.run(state: file, saveEvery: 0, progress: { _ in true }) { parameter.matmul(parameter).sum() }
    }
    #expect(loop.step == 0 && !FileManager.default.fileExists(atPath: file))
    #expect(parameter.detached().equals(.ones([2, 3])))
  }

  @Test func divergenceStops() throws {
    let parameter = Tensor([1.0] as [Float])
    let loop = TrainingLoop(
      phase: "diverging", parameters: ["x": parameter], options: .init(steps: 9, learningRate: LearningRate(peak: 0.1)))
    let error = #expect(throws: Diverged.self) {
      try loop.run(state: nil, progress: { _ in true }) { (parameter * Double.infinity).sum() }
    }
    #expect(error?.description.contains("step 1") == true)
  }

  @Test("a gradient that is not finite ends a run before it reaches the parameter and the state", arguments: [nil, 1.0])
  func infiniteGradient(limit: Double?) throws {
    let parameter = Tensor([0.0, 1.0] as [Float])
    let loop = TrainingLoop(
      phase: "diverging", parameters: ["x": parameter],
      options: .init(steps: 1, learningRate: LearningRate(peak: 0.1), gradientLimit: limit))
    // √x is 0 at 0, and its slope is infinite.
    let error = #expect(throws: Diverged.self) {
      try loop.run(state: folder("a.state"), progress: { _ in true }) { parameter.sqrt().sum() }
    }
    #expect(error?.description.contains("the loss or its gradient is not finite at step 1") == true)
    #expect(parameter.detached().floats() == [0, 1])
    #expect(try folder.names.isEmpty)
  }

  @Test func learningRateShapes() {
    let rate = LearningRate(peak: 2, shape: .cosine, warmup: 4)
    #expect((0..<4).map { rate.rate(step: $0, total: 14) } == [0.5, 1, 1.5, 2])
    #expect(rate.rate(step: 4, total: 14) == 2)
    #expect(abs(rate.rate(step: 9, total: 14) - 2 * (0.01 + 0.99 * 0.5)) < 1e-12)
    #expect(abs(rate.rate(step: 14, total: 14) - 0.02) < 1e-12)
    #expect(LearningRate(peak: 3).rate(step: 1000, total: 10) == 3)
    let linear = LearningRate(peak: 2, shape: .linear, warmup: 4)
    #expect((3...14).map { linear.rate(step: $0, total: 12) } == [2, 2, 1.75, 1.5, 1.25, 1, 0.75, 0.5, 0.25, 0, 0, 0])
  }
}
