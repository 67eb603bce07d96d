import Diffusion
import Images
import LoRA
import TestFiles
import Testing
import Torch
import Training

/// What takes long on a large model says how far it is, and can be stopped.
@Suite struct LongPhaseTests {
  private let model: DiffusionModel

  init() throws { model = try DiffusionModel(folder: "\(goldens)/pipelines/sdxl") }

  private func cache(_ count: Int, progress: ProgressHandler = { _ in true }) throws -> LatentCache {
    let pictures = (0..<count).map { Image(width: 20, height: 12, color: Color(red: UInt8(40 * $0), green: 90, blue: 9)) }
    return try LatentCache(pictures, prompts: pictures.map { _ in "a cat" }, model: model, progress: progress)
  }

  @Test func encodingPictures() throws {
    var reports: [ProgressReport] = []
    _ = try cache(3) { report in
      reports.append(report)
      return true
    }
    #expect(reports.map(\.step) == [1, 2, 3])
    #expect(reports.allSatisfy { $0.phase == "encoding pictures" && $0.total == 3 })
    #expect(reports[2].secondsPerStep != nil)
    let stop = #expect(throws: Interrupted.self) { _ = try cache(3) { $0.step < 2 } }
    #expect(stop?.phase == "encoding pictures" && stop?.step == 2)
  }

  @Test("a plan that was stopped leaves nothing behind")
  func planningMemory() throws {
    func training() throws -> DreamBooth {
      try DreamBooth(cache(1), model: model, options: .init(rank: 2, steps: 2, learningRate: LearningRate(peak: 1e-2)))
    }
    let planned = try training()
    let stop = #expect(throws: Interrupted.self) { _ = try planned.memoryPlan(budget: .max) { $0.step < 3 } }
    #expect(stop?.phase == "planning memory" && stop?.step == 3)
    var reports: [ProgressReport] = []
    _ = try planned.memoryPlan(budget: .max) { report in
      reports.append(report)
      return true
    }
    #expect(reports.map(\.step) == Array(0..<MemoryPlan.passes))
    #expect(reports.allSatisfy { $0.phase == MemoryPlan.phase && $0.total == MemoryPlan.passes })
    #expect(reports.last?.secondsPerStep != nil)
    func values(_ adapter: Adapter) -> [Float] { adapter.parameters.flatMap { $0.floats() } }
    #expect(try values(planned.run()) == values(training().run()))
  }

  /// Pictures that nobody looks at.
  private struct Captions: ReferenceLatents {
    let prompts: [String]
    let sizes: [SizeConditioning]

    init(_ captions: [(prompt: String, side: Int)]) {
      prompts = captions.map(\.prompt)
      sizes = captions.map { SizeConditioning(height: $0.side, width: $0.side) }
    }

    func noisy(
      _ indices: [Int], levels: [Double], model: DiffusionModel, generator: Generator
    ) -> (latents: Tensor, timesteps: Tensor) {
      preconditionFailure("nothing is drawn")
    }
  }

  @Test("pictures of one prompt and one size have its encoding in common")
  func encodingPrompts() throws {
    func bytes(_ captions: (prompt: String, side: Int)...) throws -> Int {
      try MemoryMeter.watching { meter in
        let probe = try DiffusionProbe([Captions(captions)], model: model, adaptsText: false)
        return withExtendedLifetime(probe) { meter.held }
      }
    }
    // What the model sets up when it is first asked does not count.
    _ = try bytes(("a cat", 16))
    let one = try bytes(("a cat", 16))
    #expect(one > 0)
    #expect(try bytes(("a cat", 16), ("a cat", 16), ("a cat", 16)) == one)
    #expect(try bytes(("a cat", 16), ("a dog", 16), ("a cat", 16)) == 2 * one)
    #expect(try bytes(("a cat", 16), ("a cat", 32)) == 2 * one)
  }
}
