import Diffusion
import Foundation
import LoRA
import Merging
import OrderedCollections
import TestFiles
import Testing
import Torch
import Training

/// On the tiny random SDXL pipeline of the goldens.
@Suite struct SampledLatentsTests {
  private let model: DiffusionModel
  private let adapter: Adapter
  private let options = SampledLatents.Options(count: 2, steps: 3, guidance: 2, seed: 5)

  init() throws {
    model = try DiffusionModel(folder: "\(goldens)/pipelines/sdxl")
    adapter = try Self.adapter(seed: 1, of: model)
  }

  private static func adapter(seed: UInt64, of model: DiffusionModel) throws -> Adapter {
    let generator = Generator(seed: seed)
    let paths = try Targets.attention.paths(in: model.moduleNames)
    let untrained = try Adapter.trainable(at: paths, of: model.projections, rank: 2, alpha: 2, generator: generator)
    return Adapter(
      factors: untrained.factors.mapValues {
        LowRankFactors(
          down: $0.down.requiringGrad(false), up: Tensor.randn($0.up.shape, generator: generator) * 0.5, alpha: $0.alpha)
      })
  }

  private func drawn(_ adapter: Adapter) throws -> SampledLatents {
    try SampledLatents(of: adapter, prompts: ["a sbu cat", "a cat"], model: model, options: options)
  }

  /// Every reference that there is: by picture and timestep.
  private func all(_ references: SampledLatents) -> [[Float]: (picture: Int, timestep: Int)] {
    var found: [[Float]: (Int, Int)] = [:]
    for level in [0.01, 0.4, 0.99] {
      let (latents, timesteps) = references.noisy(
        [0, 1, 2, 3], levels: Array(repeating: level, count: 4), model: model, generator: Generator(seed: 0))
      for picture in 0..<4 { found[latents[picture].floats()] = (picture, timesteps.ints()[picture]) }
    }
    return found
  }

  @Test func areTheStatesOfTheSamplerWithTheAdapter() throws {
    let references = try drawn(adapter)
    #expect(references.prompts == ["a sbu cat", "a sbu cat", "a cat", "a cat"])
    let found = all(references)
    #expect(found.count == 4 * 3, "each picture at each step, \(found.count)")
    let plan = try Sampler.ddim.plan(model.schedule, steps: 3)
    let request = TextToImage(prompts: ["a cat"], sampler: .ddim, steps: 3, guidance: 2, seed: 8)
    let attachment = try Attachment(adapter, to: model.projections)
    _ = try attachment.whileAttached {
      try request.latents(with: model) { state in
        guard state.step < state.total else { return }
        let reference = found[state.sample[0].floats()]
        #expect(reference?.picture == 3)
        #expect(reference?.timestep == Int(plan.steps[state.step].from.timestep))
      }
    }
    #expect(model.projections.values.allSatisfy { $0.branches.isEmpty }, "nothing stays attached")
    #expect(Set(all(try drawn(adapter)).keys) == Set(found.keys), "drawn again, they are the same")
    #expect(Set(all(try drawn(adapter.scaled(by: 0))).keys).intersection(found.keys).count == 4, "only the noise is the same")
  }

  @Test func areKept() throws {
    let folder = try TemporaryFolder()
    let path = folder("references.safetensors")
    let references = try drawn(adapter)
    try references.write(to: path, identity: "this")
    let read = try #require(try SampledLatents(path: path, identity: "this", device: .cpu))
    #expect(read.prompts == references.prompts)
    #expect(Set(all(read).keys) == Set(all(references).keys))
    #expect(read.conditioning([1], model: model).states.equals(references.conditioning([1], model: model).states))
    let lines = try SampledLatents(of: adapter, prompts: ["a sbu cat\non grass", "a dog"], model: model, options: options)
    try lines.write(to: path, identity: "this")
    #expect(try SampledLatents(path: path, identity: "this", device: .cpu)?.prompts == lines.prompts)
    #expect(try SampledLatents(path: path, identity: "that", device: .cpu) == nil)
  }

  @Test("joined with others, each keeps its own noise and text")
  func areJoined() throws {
    let first = try SampledLatents(of: adapter, prompts: ["a sbu cat"], model: model, options: options)
    let second = try SampledLatents(of: adapter, prompts: ["a dog"], model: model, options: options)
    let joined = JoinedReferences([first, second])
    #expect(joined.prompts == ["a sbu cat", "a sbu cat", "a dog", "a dog"])
    let (latents, timesteps) = joined.noisy([3, 0], levels: [0.9, 0], model: model, generator: Generator(seed: 3))
    for (row, (part, picture, level)) in [(second, 1, 0.9), (first, 0, 0)].enumerated() {
      let alone = part.noisy([picture], levels: [level], model: model, generator: Generator(seed: 3))
      #expect(latents[row].equals(alone.latents[0]) && timesteps[row].equals(alone.timesteps[0]))
    }
    let states = joined.conditioning([3, 0], model: model).states
    #expect(states[0].equals(second.conditioning([1], model: model).states[0]))
    #expect(states[1].equals(first.conditioning([0], model: model).states[0]))
  }

  @Test func zippingWithThemReproducesTheLoRAsBetterThanDirectMerge() throws {
    let other = try Self.adapter(seed: 2, of: model)
    let inputs = [MergeInput("subject", adapter), MergeInput("style", other)]
    let references = try [adapter, other].map { try drawn($0) }
    let probe = try DiffusionProbe(references, model: model, adaptsText: false, batch: 4)
    let zip = try ZipLoRA(inputs, probe: probe, options: .init(steps: 20, learningRate: 0.02))
    /// On noise that the optimisation has not seen.
    func error() throws -> Double {
      try Reproduction(of: [zip.zipped()], loras: [adapter, other], probe: probe, draws: 8, seed: 6).errors.reduce(0, +)
    }
    let before = try error()
    try zip.optimize()
    let after = try error()
    #expect(after < 0.7 * before, "\(before) → \(after)")
  }

  @Test func canBeInterrupted() throws {
    #expect(throws: Interrupted.self) {
      try SampledLatents(of: adapter, prompts: ["a"], model: model, options: options) { $0.step < 2 }
    }
  }
}
