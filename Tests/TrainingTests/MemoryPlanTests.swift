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

/// Plans from small passes beside what larger ones then hold, on the bases of the toy world, whose layers are large enough for
/// what grows with a picture to matter.
@Suite(.serialized) struct MemoryPlanTests {
  private func base(_ name: String) throws -> DiffusionModel {
    try DiffusionModel(folder: "\(repository)/Models/\(name)")
  }

  private func pictures(_ model: DiffusionModel, width: Int, height: Int) throws -> LatentCache {
    let colors = [Color(red: 200, green: 40, blue: 40), Color(red: 30, green: 160, blue: 220)]
    return try LatentCache(
      colors.map { Image(width: width, height: height, color: $0) }, prompts: ["a sbu cat", "a cat"], model: model)
  }

  private func zipper(_ model: DiffusionModel, _ probe: DiffusionProbe) throws -> ZipLoRA {
    let generator = Generator(seed: 3)
    let paths = try Targets.attention.paths(in: model.moduleNames)
    let inputs = (0..<2).map { index in
      let factors = paths.map { path in
        let weight = model.projections[path]!.weight
        return (
          path,
          LowRankFactors(
            down: Tensor.randn([2, weight.dim(1)], generator: generator),
            up: Tensor.randn([weight.dim(0), 2], generator: generator) * 0.1, alpha: 2)
        )
      }
      return MergeInput("LoRA \(index)", Adapter(factors: OrderedDictionary(uniqueKeysWithValues: factors)))
    }
    return try ZipLoRA(inputs, probe: probe, options: ZipOptions(method: .paper))
  }

  /// From 8 % below to 12 % above what a step holds, with nothing, some and all pieces computed again.
  ///
  /// - Parameter step: prepares one.
  private func check(
    _ model: DiffusionModel, plan: (_ budget: Int) throws -> MemoryPlan, step: () throws -> () throws -> Void,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    // The reordered weights of convolutions, which stay, are no part of what a pass holds.
    try step()()
    let plans = try [Int.max, 0].map(plan)
    #expect(plans[0].again == 0 && plans[1].again > plans[1].pieces / 2, sourceLocation: sourceLocation)
    // What a test process holds beside the step is large and changes while other tests run, so the budget for a few pieces is
    // searched above what the plan before needs at least, and anew where the process has changed too much meanwhile.
    let whole = (low: 0, high: 2 * (plans[0].tensors - plans[1].tensors))
    var (range, between) = (whole, plans[1])
    for _ in 0..<60 where !(1...3).contains(between.again) {
      let above = (range.low + range.high) / 2
      between = try plan(between.least + above)
      if between.again == 0 { range.high = above } else { range.low = above }
      if range.high - range.low < 1 << 14 { range = whole }
    }
    #expect((1...3).contains(between.again), sourceLocation: sourceLocation)
    var held: [Int] = []
    for plan in [plans[0], plans[1], between] {
      model.unet.checkpointing = plan.checkpointing
      let run = try step()
      let peak = try MemoryMeter.watching { meter in
        try run()
        return meter.peak
      }
      held.append(peak)
      let ratio = Double(plan.tensors) / Double(peak)
      #expect(0.92...1.12 ~= ratio, "\(plan) held \(peak)", sourceLocation: sourceLocation)
    }
    #expect(Double(held[1]) < 0.7 * Double(held[0]), "\(held)", sourceLocation: sourceLocation)
  }

  @Test("training", arguments: ["toybox", "toybox-sd1"])
  func training(name: String) throws {
    let model = try base(name)
    let cache = try pictures(model, width: 160, height: 128)
    let options = DreamBooth.Options(rank: 2, steps: 1, batch: 2, seed: 4)
    let training = try DreamBooth(cache, prior: cache, model: model, options: options)
    try check(model, plan: { try training.memoryPlan(budget: $0) }) {
      let training = try DreamBooth(cache, prior: cache, model: model, options: options)
      return { _ = try training.run() }
    }
  }

  @Test("zipping", arguments: ["toybox", "toybox-sd1"])
  func zipping(name: String) throws {
    let model = try base(name)
    let cache = try pictures(model, width: 160, height: 128)
    let probe = try DiffusionProbe([cache, cache], model: model, adaptsText: false, batch: 2)
    let zipper = try zipper(model, probe)
    let before = zipper.coefficients.tensors.map { $0.detached().cloned() }
    _ = try probe.memoryPlan(of: zipper, budget: .max)
    #expect(zip(before, zipper.coefficients.tensors).allSatisfy { $0.equals($1.detached()) && $1.grad == nil })
    try check(model, plan: { try probe.memoryPlan(of: zipper, budget: $0) }) { { try zipper.step() } }
  }

  @Test func countsTensors() {
    let megabyte = 1 << 20
    let kept = MemoryMeter.watching { meter in
      var tensors = [Tensor.zeros([256, 1024])]
      #expect(meter.held == megabyte && meter.peak == megabyte)
      tensors.append(tensors[0] + tensors[0])
      tensors.removeFirst()
      #expect(meter.held == megabyte && meter.peak == 2 * megabyte)
      let inner = MemoryMeter.watching { inner in
        tensors.append(Tensor.zeros([256, 1024]))
        return inner
      }
      #expect(inner.held == megabyte && meter.held == megabyte, "the inner one counts alone, and can be read after its end")
      return meter
    }
    #expect(kept.peak == 2 * megabyte)
  }
}
