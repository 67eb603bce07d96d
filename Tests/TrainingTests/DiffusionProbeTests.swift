import Diffusion
import Foundation
import TestFiles
import Merging
import Testing
import Torch
import Training

/// Remembers what it was asked for.
private final class Witness: ReferenceLatents {
  let prompts: [String]
  let sizes: [SizeConditioning]
  private(set) var asked: [(pictures: [Int], levels: [Double])] = []

  init(_ count: Int, side: Int = 16) {
    prompts = (0..<count).map { "picture \($0)" }
    sizes = prompts.map { _ in SizeConditioning(height: side, width: side) }
  }

  func noisy(
    _ indices: [Int], levels: [Double], model: DiffusionModel, generator: Generator
  ) -> (latents: Tensor, timesteps: Tensor) {
    asked.append((indices, levels))
    return (Tensor.zeros([indices.count, 4, 8, 8]), Tensor(levels.map { Int($0 * 1000) }))
  }
}

@Suite struct DiffusionProbeTests {
  private let model: DiffusionModel

  init() throws { model = try DiffusionModel(folder: "\(goldens)/pipelines/sdxl") }

  private func asked(_ seeds: Range<UInt64>, draws: Int, batch: Int) throws -> [(pictures: [Int], levels: [Double])] {
    let witness = Witness(5)
    let probe = try DiffusionProbe([witness], model: model, adaptsText: false, batch: batch)
    for seed in seeds { _ = try probe.draws(draws, of: .lora(0), generator: Generator(seed: seed)) }
    return witness.asked
  }

  @Test("several draws have each picture about as often, and levels that lie evenly")
  func even() throws {
    let draws = try asked(3..<4, draws: 8, batch: 2)
    #expect(draws.count == 8 && draws.allSatisfy { $0.pictures.count == 2 && $0.levels.count == 2 })
    let pictures = draws.flatMap(\.pictures)
    for round in 0..<3 { #expect(Set(pictures[round * 5..<(round + 1) * 5]) == Set(0..<5)) }
    let levels = draws.flatMap(\.levels)
    // Of 16 independent ones the widest gap is 3.4 sixteenths on average; of these it is golden.
    let sorted = levels.sorted()
    let gaps = zip(sorted, sorted.dropFirst() + [sorted[0] + 1]).map { $1 - $0 }
    #expect(gaps.max()! < 1.75 / 16 && gaps.min()! > 0.5 / 16, "\(gaps)")
    #expect(levels.prefix(2).reduce(0) { abs($0 - $1) } > 0.3, "two that follow each other are far apart")
  }

  @Test("joint prompts are asked about everybody's pictures, each about each")
  func joint() throws {
    let witnesses = [Witness(2), Witness(1, side: 32)]
    let probe = try DiffusionProbe(witnesses, jointPrompts: ["both", "the two"], model: model, adaptsText: false)
    #expect(probe.hasJointInputs)
    let inputs = try probe.draws(6, of: .joint, generator: Generator(seed: 5))
    #expect(witnesses.map { $0.asked.flatMap(\.pictures).sorted() } == [[0, 0, 1, 1], [0, 0]])
    let timesteps = witnesses.flatMap(\.asked).map { Int($0.levels[0] * 1000) }
    // Each input's prediction is that of one of these.
    var expected: [[Float]] = []
    for (prompt, side) in [("both", 16), ("the two", 16), ("both", 32), ("the two", 32)] {
      let text = model.conditioning([prompt], sizes: SizeConditioning(height: side, width: side))
      for timestep in timesteps {
        let prediction = withoutGrad {
          model.unet(
            sample: Tensor.zeros([1, 4, 8, 8]), timestep: Tensor([timestep]), encoderHiddenStates: text.states,
            addedConditions: text.added)
        }
        expected.append(prediction.floats())
      }
    }
    let found = try inputs.map { input in try withoutGrad { try probe.prediction(of: input).floats() } }
    #expect(found.allSatisfy(expected.contains) && Set(found).count == 6)
  }

  @Test("one draw is at a uniform level, of a uniform picture")
  func uniform() throws {
    let draws = try asked(0..<400, draws: 1, batch: 1)
    let levels = draws.map { $0.levels[0] }.sorted()
    #expect(levels.allSatisfy { (0..<1).contains($0) })
    // Kolmogorov and Smirnov: beyond 1.63/√n in one of a hundred.
    let distance = levels.enumerated().map { abs($1 - (Double($0) + 0.5) / 400) }.max()!
    #expect(distance < 0.08, "\(distance)")
    for picture in 0..<5 {
      let share = draws.filter { $0.pictures == [picture] }.count
      #expect((50...110).contains(share), "picture \(picture): \(share) of 400")
    }
  }
}
