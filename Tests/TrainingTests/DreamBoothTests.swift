import Diffusion
import Foundation
import Images
import LoRA
import Merging
import OrderedCollections
import TestFiles
import Testing
import Torch
import Training

/// On the tiny random SDXL pipeline of the goldens.
@Suite struct DreamBoothTests {
  private func base() throws -> DiffusionModel {
    try DiffusionModel(folder: "\(goldens)/pipelines/sdxl")
  }

  private func pictures(_ model: DiffusionModel, prompt: String = "a sbu cat") throws -> LatentCache {
    let colors = [Color(red: 200, green: 40, blue: 40), Color(red: 30, green: 160, blue: 220)]
    return try LatentCache(
      colors.map { Image(width: 20, height: 12, color: $0) }, prompts: [prompt, prompt], model: model)
  }

  private func options(steps: Int, targets: Targets = .attention) -> DreamBooth.Options {
    DreamBooth.Options(
      rank: 2, targets: targets, steps: steps, learningRate: LearningRate(peak: 1e-2), batch: 2, seed: 4)
  }

  private func values(_ adapter: Adapter) -> [Float] { adapter.parameters.flatMap { $0.floats() } }

  @Test func onlyTheAdapterChanges() throws {
    let model = try base()
    let before = model.stores["unet"]!.parameters.values.map { $0.cloned() }
    let training = try DreamBooth(pictures(model), model: model, options: options(steps: 3))
    #expect(training.adapter.factors.values.allSatisfy { $0.up.floats().allSatisfy { $0 == 0 } })
    let adapter = try training.run()
    #expect(adapter.factors.values.allSatisfy { $0.up.floats().contains { $0 != 0 } })
    for (old, new) in zip(before, model.stores["unet"]!.parameters.values) { #expect(old.equals(new)) }
    #expect(model.projections.values.allSatisfy { $0.branches.isEmpty }, "nothing stays attached")
  }

  @Test("a resumed training ends with the same bits, also of text encoders", arguments: ["attention", "attention+text-encoders"])
  func resume(targets: String) throws {
    let folder = try TemporaryFolder()
    let file = folder("lora.state.safetensors")
    let model = try base()
    let cache = try pictures(model)
    let settings = options(steps: 4, targets: try Targets(targets))
    let whole = values(try DreamBooth(cache, model: model, options: settings).run())
    #expect(throws: Interrupted.self) {
      try DreamBooth(cache, model: model, options: settings).run(state: file, progress: { $0.step < 2 })
    }
    #expect(values(try DreamBooth(cache, model: model, options: settings).run(state: file)) == whole)
  }

  @Test("text encoders have a rate of their own, and states know it")
  func textEncoderRate() throws {
    let folder = try TemporaryFolder()
    let file = folder("lora.state.safetensors")
    let model = try base()
    let cache = try pictures(model)
    func training(_ rate: Double?) throws -> DreamBooth {
      var settings = options(steps: 2, targets: try Targets("attention+text-encoders"))
      settings.textEncoderLearningRate = rate
      return try DreamBooth(cache, model: model, options: settings)
    }
    // The first step of Adam is the rate itself, whatever the gradient, and up begins at 0.
    func firstSteps(_ rate: Double?) throws -> (unet: Float, text: Float) {
      let training = try training(rate)
      #expect(throws: Interrupted.self) { try training.run(progress: { _ in false }) }
      func largest(_ isOfUNet: Bool) -> Float {
        let chosen = training.adapter.factors.filter { (Component(of: $0.key) == .unet) == isOfUNet }
        return chosen.values.flatMap { $0.up.detached().floats() }.map(abs).max()!
      }
      return (largest(true), largest(false))
    }
    for (rate, expected) in [(nil, 1e-2), (2.5e-3, 2.5e-3)] as [(Double?, Float)] {
      let found = try firstSteps(rate)
      #expect(abs(found.unet - 1e-2) < 1e-5 && abs(found.text - expected) < 1e-5, "\(found)")
    }
    #expect(throws: Interrupted.self) { try training(2.5e-3).run(state: file, progress: { _ in false }) }
    let error = #expect(throws: StateError.self) { try training(nil).run(state: file) }
    #expect(
      error?.reason == "--text-encoder-learning-rate is the learning rate, the state was made with 0.0025",
      "\(error?.reason ?? "")")
    let whole = values(try training(2.5e-3).run())
    #expect(try values(training(2.5e-3).run(state: file)) == whole)
  }

  @Test func priorPicturesMatter() throws {
    let model = try base()
    let cache = try pictures(model)
    let prior = try pictures(model, prompt: "a cat")
    let without = values(try DreamBooth(cache, model: model, options: options(steps: 2)).run())
    let with = values(try DreamBooth(cache, prior: prior, model: model, options: options(steps: 2)).run())
    #expect(without != with)
  }

  @Test func rankZeroIsRefused() throws {
    let model = try base()
    var settings = options(steps: 1)
    settings.rank = 0
    let cache = try pictures(model)
    #expect(throws: RankError.self) { try DreamBooth(cache, model: model, options: settings) }
  }

  @Test func probeIsReproducibleAndZipsOnTheModel() throws {
    let model = try base()
    let cache = try pictures(model)
    let style = try pictures(model, prompt: "a house in szn style")
    func train(_ cache: LatentCache, _ seed: UInt64) throws -> Adapter {
      var settings = options(steps: 5)
      settings.seed = seed
      return try DreamBooth(cache, model: model, options: settings).run()
    }
    let inputs = [MergeInput("subject", try train(cache, 1)), MergeInput("style", try train(style, 2))]
    func zip() throws -> ZipLoRA {
      let probe = try DiffusionProbe([cache, style], model: model, adaptsText: false)
      let zip = try ZipLoRA(inputs, probe: probe, options: .init(steps: 3))
      try zip.optimize()
      return zip
    }
    let first = try zip()
    #expect(first.records.count == 3)
    #expect(first.records[0].fidelity.allSatisfy { $0 > 0 })
    let vectors = first.coefficients.tensors.flatMap { $0.floats() }
    #expect(vectors.contains { abs($0 - 1) > 1e-3 }, "coefficients move")
    #expect(try zip().coefficients.tensors.flatMap { $0.floats() } == vectors)
  }

  @Test func pixelsSurviveTheWayToATensorAndBack() {
    let image = Image(width: 3, height: 2, pixels: Array(0..<18))
    #expect(Image(image.tensor) == image)
  }
}
