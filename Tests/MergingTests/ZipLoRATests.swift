import Foundation
import LoRA
import Merging
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

@Suite struct ZipLoRATests {
  let model = ToyModel()

  func options(
    _ objective: ZipObjective = ZipObjective(), steps: Int = 60, learningRate: Double = 0.03
  ) -> ZipOptions {
    ZipOptions(objective: objective, steps: steps, learningRate: learningRate, scope: .everything, seed: 3)
  }

  /// The fidelity terms on inputs that the optimisation has not seen.
  private func heldOut(_ adapter: Adapter, _ inputs: [MergeInput]) throws -> Double {
    let generator = Generator(seed: 77)
    let merged = try Attachment(adapter, to: model.projections)
    var total = 0.0
    for index in inputs.indices {
      let teacher = try Attachment(inputs[index].adapter, to: model.projections)
      for _ in 0..<8 {
        let input = model.draw(of: .lora(index), generator: generator)
        let wanted = teacher.whileAttached { model.prediction(of: input) }
        let found = merged.whileAttached { model.prediction(of: input) }
        total += ZipObjective().fidelity(of: found, to: wanted).item()
      }
    }
    return total
  }

  @Test("zipping reproduces both LoRAs better than adding them up, also on new noise")
  func objectiveFalls() throws {
    let zip = try ZipLoRA(model.pair, probe: model, options: options())
    #expect(try zip.optimize() == .finished)
    #expect(zip.records.map(\.step) == Array(1...60))
    let (first, last) = (zip.records[0], zip.records[59])
    #expect(last.objective < 0.7 * first.objective, "\(first.objective) → \(last.objective)")
    #expect(first.fidelity.count == 2 && first.means.count == 2)
    #expect(first.cosine > 0.99 && last.changed > 0.5 && last.farthest > 0.1)
    let direct = try DirectMerge().merge(model.pair, context: MergeContext()).adapter
    let held = (zip: try heldOut(zip.zipped(), model.pair), direct: try heldOut(direct, model.pair))
    #expect(held.zip < 0.7 * held.direct, "\(held)")
    #expect(model.projections.values.allSatisfy { $0.branches.isEmpty }, "the model is as before")
  }

  @Test("the term of all LoRAs together asks for what they change one by one", arguments: [nil, 2])
  func jointTerm(draws: Int?) throws {
    let model = ToyModel(hasJointInputs: true)
    var asked = options(steps: 60)
    asked.draws = draws
    let zip = try ZipLoRA(model.pair, probe: model, options: asked)
    try zip.optimize()
    let (first, last) = (zip.records[0], zip.records[59])
    #expect(first.fidelity.count == 3 && first.means.count == 2)
    // The inputs of the first update: of a new seed they are drawn LoRA by LoRA, of fixed draws each LoRA's one after the other.
    let generator = Generator(seed: asked.seed)
    for index in 0..<2 { for _ in 0..<(draws ?? 1) { _ = model.draw(of: .lora(index), generator: generator) } }
    let input = model.draw(of: .joint, generator: generator)
    func predicted(_ adapters: [Adapter]) throws -> Tensor {
      let attachments = try adapters.map { try Attachment($0, to: model.projections) }
      return Attachment(attachments.flatMap(\.places)).whileAttached { model.prediction(of: input) }
    }
    let loras = model.pair.map(\.adapter)
    let (base, direct) = try (predicted([]), predicted(loras))
    let wanted = try loras.reduce(base) { try $0 + predicted([$1]) - base }
    let distance = (direct - wanted).square().sum([1]).sqrt().mean().item()
    #expect(abs(first.fidelity[2] - distance) < 1e-4 * distance, "\(first.fidelity[2]), \(distance)")
    #expect(last.fidelity[2] < first.fidelity[2], "\(first.fidelity) → \(last.fidelity)")
    let without = try ZipLoRA(model.pair, probe: self.model, options: options())
    try without.optimize()
    let merged = try predicted([zip.zipped()])
    let distances = try [merged, predicted([without.zipped()])].map { ($0 - wanted).square().sum().item() }
    #expect(distances[0] < distances[1], "without the term it is farther: \(distances)")
  }

  @Test("coefficients begin where they are told to")
  func initialValue() throws {
    var asked = options(steps: 0)
    asked.initialValue = 0.25
    let zip = try ZipLoRA(model.pair, probe: model, options: asked)
    #expect(zip.coefficients.tensors.allSatisfy { $0.equals(Tensor.full($0.shape, 0.25, dtype: $0.dtype)) })
    asked.initialValue = .nan
    #expect(throws: MergeError.self) { try ZipLoRA(model.pair, probe: model, options: asked) }
  }

  @Test("what is written computes what was optimised")
  func branchesAndFileAgree() throws {
    let zip = try ZipLoRA(model.pair, probe: model, options: options(steps: 5))
    try zip.optimize()
    let input = model.draw(of: .lora(0), generator: Generator(seed: 5))
    let written = try Attachment(zip.zipped(), to: model.projections).whileAttached { model.prediction(of: input) }
    let optimised = try zip.whileMerged { model.prediction(of: input).detached() }
    let error = difference(written, optimised)
    #expect(error <= 5e-6, "\(error)")
    let alone = try Attachment(model.pair[0].adapter, to: model.projections).whileAttached { model.prediction(of: input) }
    #expect(difference(written, alone) > 1e-3)
    let deltas = model.projections.keys.map { path in
      zip.coefficients.vectors[path]!.map { index, vector in
        denselyWeighed(model.pair[index].adapter.delta(path)!, vector.detached())
      }
    }
    for (path, delta) in Swift.zip(model.projections.keys, deltas) {
      #expect(difference(zip.zipped().delta(path)!, delta[0] + delta[1]) <= 5e-7, "\(path)")
    }
  }

  @Test("the same seed gives the same coefficients, another seed others")
  func determinism() throws {
    func coefficients(_ seed: UInt64) throws -> [[Float]] {
      var options = options(steps: 6)
      options.seed = seed
      let zip = try ZipLoRA(ToyModel().pair, probe: ToyModel(), options: options)
      try zip.optimize()
      return zip.coefficients.tensors.map { $0.floats() }
    }
    let first = try coefficients(3)
    #expect(try coefficients(3) == first)
    #expect(try coefficients(4) != first)
  }

  @Test("a resumed run continues bit for bit", arguments: [nil, ClosedForm()], [nil, 3])
  func resume(closedForm: ClosedForm?, draws: Int?) throws {
    var options = options(steps: 12)
    options.closedForm = draws == nil ? nil : closedForm
    options.draws = draws
    options.schedule = .cosine
    let whole = try ZipLoRA(model.pair, probe: model, options: options)
    try whole.optimize()

    let folder = try TemporaryFolder()
    let path = folder("state.safetensors")
    let first = try ZipLoRA(model.pair, probe: model, options: options)
    let stop = try first.optimize { progress in
      #expect(progress.steps == 12 && progress.secondsLeft >= 0)
      return progress.record.step < 5
    }
    #expect(stop == .asked)
    try first.saveState(to: path)
    let second = try ZipLoRA(resuming: path, model.pair, probe: model, options: options)
    #expect(second.records == first.records)
    try second.optimize()
    for (found, expected) in zip(second.coefficients.tensors, whole.coefficients.tensors) {
      #expect(found.equals(expected))
    }
    #expect(second.records.map(\.objective) == whole.records.map(\.objective))
    #expect(second.records.map(\.changed) == whole.records.map(\.changed))
  }

  @Test("with fixed draws each LoRA alone is asked once for each, and the steps take them in turn")
  func fixedDraws() throws {
    var options = options(steps: 12)
    options.draws = 3
    options.learningRate = 1e-9
    let before = model.predictions
    let zip = try ZipLoRA(model.pair, probe: model, options: options)
    try zip.optimize()
    // In the end the first draws are asked about once more.
    #expect(model.predictions - before == 2 * 3 + 2 * 12 + 2)
    let seen = zip.records.map(\.fidelity)
    for step in 3..<12 {
      #expect(Swift.zip(seen[step], seen[step - 3]).allSatisfy { abs($0 - $1) < 1e-6 }, "step \(step)")
    }
    #expect(seen[0] != seen[1] && seen[1] != seen[2])
  }

  @Test("a state of another run is refused")
  func foreignState() throws {
    let folder = try TemporaryFolder()
    let path = folder("state.safetensors")
    let run = try ZipLoRA(model.pair, probe: model, options: options(steps: 3))
    try run.step()
    try run.saveState(to: path)
    // More steps are welcome, unless they change the rate of those that are done.
    #expect(try ZipLoRA(resuming: path, model.pair, probe: model, options: options(steps: 9)).records.count == 1)
    let fewer = try #require(throws: StateError.self) {
      try ZipLoRA(resuming: path, model.pair, probe: model, options: options(steps: 0))
    }
    #expect(fewer.description.contains("it is at step 1, beyond the 0 asked for"))
    var cosine = options(steps: 3)
    cosine.schedule = .cosine
    let falling = try ZipLoRA(model.pair, probe: model, options: cosine)
    try falling.step()
    try falling.saveState(to: path)
    cosine.steps = 9
    let longer = try #require(throws: StateError.self) {
      try ZipLoRA(resuming: path, model.pair, probe: model, options: cosine)
    }
    #expect(longer.description.contains("--steps is 9, the state was made with 3"))
    try run.saveState(to: path)
    let rate = try #require(throws: StateError.self) {
      try ZipLoRA(resuming: path, model.pair, probe: model, options: options(learningRate: 0.1))
    }
    #expect(rate.reason == "--learning-rate is 0.1, the state was made with 0.03")
    let base = try #require(throws: StateError.self) {
      try ZipLoRA(resuming: path, identity: "other pictures", model.pair, probe: model, options: options())
    }
    #expect(base.description.contains("its pictures, prompts or base model differ"))
    let lora = try #require(throws: StateError.self) {
      let other = [model.pair[0], MergeInput("other", model.adapter(9, rank: 2, alpha: 3))]
      return try ZipLoRA(resuming: path, other, probe: model, options: options())
    }
    #expect(lora.description.contains("it has another LoRA style where other is given"))
    try saveSafeTensors(["x": .ones([1])], to: path, overwrite: true)
    let stranger = try #require(throws: StateError.self) {
      try ZipLoRA(resuming: path, model.pair, probe: model, options: options())
    }
    #expect(stranger.description.contains("it is not the saved state of a zip run") && stranger.remedy == .anotherFile)
  }

  @Test("the dot forms make both LoRAs weaker, and the run says so; the cosine does not")
  func collapse() throws {
    func run(_ similarity: ZipObjective.Similarity) throws -> (means: [Double], warnings: [String]) {
      var warnings: [String] = []
      let zip = try ZipLoRA(
        model.pair, probe: model, options: options(.init(similarity: similarity, lambda: 1), steps: 40))
      try zip.optimize {
        warnings += $0.warnings
        return true
      }
      #expect(zip.report().warnings == warnings)
      return (try #require(zip.records.last).means, warnings)
    }
    let dot = try run(.dot)
    #expect(dot.means.allSatisfy { $0 < 0.6 }, "\(dot.means)")
    #expect(dot.warnings.count == 1 && dot.warnings[0].hasPrefix("collapse: at step "), "\(dot.warnings)")
    #expect(dot.warnings[0].contains("the dot term makes the LoRAs weaker"))
    let cosine = try run(.cosine)
    #expect(cosine.warnings.isEmpty && cosine.means.contains { $0 > 0.6 }, "\(cosine)")
  }

  @Test("by sign, every coefficient moves by the learning rate against its gradient, whatever the updates before were")
  func signs() throws {
    let asked = ZipOptions(steps: 3, optimizer: .sign, learningRate: 0.1, scope: .everything, draws: 2, seed: 3)
    let zip = try ZipLoRA(model.pair, probe: model, options: asked)
    try zip.prepare()
    for _ in 0..<asked.steps {
      // The draws are fixed, so that asking for the gradient changes nothing about the update.
      _ = try zip.addGradients()
      let expected = try zip.coefficients.tensors.map { live in
        let gradient = try #require(live.grad)
        return live.detached() - gradient / (gradient.abs() + 1e-8) * 0.1
      }
      zip.discardGradients()
      try zip.step()
      let error = Swift.zip(zip.coefficients.tensors, expected).map { difference($0.detached(), $1) }.max() ?? .infinity
      #expect(error <= 1e-6, "\(error)")
    }
    #expect(zip.coefficients.tensors.contains { ($0.detached() - 1).abs().max().item() > 0.25 }, "three updates of one direction")
  }

  @Test("a learning rate that cannot move anything is warned about before and while it runs")
  func standstill() throws {
    let options = options(steps: 12, learningRate: 5e-5)
    #expect(options.warnings.count == 1)
    #expect(
      options.warnings[0].contains("with learning rate 5e-05 and 12 steps no coefficient can move by more than about 0.0006"))
    #expect(self.options(steps: 60).warnings.isEmpty)
    var half = options
    half.initialValue = 0.5
    #expect(half.warnings[0].contains("so the result will be LoRAs at 0.5 of their strength"))
    #expect(ZipOptions(steps: 1, learningRate: 0.05, closedForm: ClosedForm(), draws: 8).warnings.isEmpty)
    var warnings: [String] = []
    let zip = try ZipLoRA(model.pair, probe: model, options: options)
    try zip.optimize {
      warnings += $0.warnings
      return true
    }
    #expect(
      warnings.count == 1 && warnings[0].hasPrefix("standstill: after 10 steps no coefficient has moved by more than 0.000"))
  }

  @Test("ends when the vectors are orthogonal, or when nothing improves")
  func earlyStop() throws {
    var options = options(.init(similarity: .cosine, lambda: 20), steps: 400)
    options.similarityTolerance = 0.3
    let zip = try ZipLoRA(model.pair, probe: model, options: options)
    #expect(try zip.optimize() == .similarityGone)
    #expect(try #require(zip.records.last).cosine <= 0.3 && zip.records.count < 400)

    options = self.options(.init(similarity: .none), steps: 400, learningRate: 1e-9)
    options.patience = 10
    let idle = try ZipLoRA(model.pair, probe: model, options: options)
    #expect(try idle.optimize() == .stalled)
    #expect(idle.records.count < 200)
  }

  @Test("layers outside the scope are added up, those of one LoRA pass; the report has every layer once")
  func scope() throws {
    let subject = model.adapter(1, paths: [ToyModel.query, ToyModel.convolution])
    let style = model.adapter(2, rank: 1)
    let inputs = [MergeInput("c", subject), MergeInput("s", style, weight: 0.8)]
    let zip = try ZipLoRA(inputs, probe: model, options: ZipOptions(steps: 8, learningRate: 0.05))
    try zip.optimize()
    let report = zip.report(stop: .finished)
    #expect(report.layers.map(\.path) == [ToyModel.query])
    #expect(report.summed == [ToyModel.convolution])
    #expect(report.alone.map(\.path) == [ToyModel.key] && report.alone.map(\.input) == ["s"])
    let layer = report.layers[0]
    #expect(layer.ranks == [3, 1] && layer.kind == .attention)
    #expect(layer.coefficients.map { $0.histogram.reduce(0, +) } == [ToyModel.width, ToyModel.width])
    #expect(layer.coefficients.allSatisfy { $0.min <= $0.mean && $0.mean <= $0.max && $0.min < 1 })
    #expect(report.records.count == 8 && report.stop == .finished && report.options == zip.options)
    let text = try JSONEncoder().encode(report)
    #expect(try JSONDecoder().decode(MergeReport.self, from: text) == report)

    let zipped = zip.zipped()
    #expect(
      difference(
        zipped.delta(ToyModel.convolution)!, subject.delta(ToyModel.convolution)! + style.delta(ToyModel.convolution)! * 0.8)
        <= 3e-7)
    #expect(difference(zipped.delta(ToyModel.key)!, style.delta(ToyModel.key)! * 0.8) <= 1e-7)
  }

  @Test func errors() throws {
    func error(_ inputs: [MergeInput], _ options: ZipOptions = .init()) -> String {
      do {
        _ = try ZipLoRA(inputs, probe: model, options: options)
        return "no error"
      } catch {
        return "\(error)"
      }
    }
    let pair = model.pair
    #expect(error([pair[0]]) == "1 LoRAs to merge, expected at least 2")
    let apart = [
      MergeInput("c", model.adapter(1, paths: [ToyModel.query])), MergeInput("s", model.adapter(2, paths: [ToyModel.key])),
    ]
    #expect(error(apart).contains("the LoRAs have no layer in common; they change layers such as \(ToyModel.query) and"))
    let outside = [1, 2].map { MergeInput("\($0)", model.adapter($0, paths: [ToyModel.convolution])) }
    #expect(error(outside).contains("none of the 1 layers that the LoRAs share is in the scope attention"))
    let wide = Adapter(factors: [ToyModel.query: LowRankFactors(down: .ones([1, 99]), up: .ones([10, 1]), alpha: 1)])
    #expect(
      error([pair[0], MergeInput("wide", wide)]).contains(
        "\(ToyModel.query): the LoRAs are for different base models: subject changes a weight [10, 12], wide changes"))
    #expect(error([MergeInput("a", wide), MergeInput("b", wide)]).contains("was it made for another base model?"))
    #expect(error(pair, ZipOptions(steps: -1)) == "steps -1: expected 0 or more")
    #expect(error(pair, ZipOptions(learningRate: 0)) == "learning-rate 0.0: expected a number above 0")
    #expect(error(pair, ZipOptions(objective: .init(lambda: -1))) == "lambda -1.0: expected 0 or more")
    #expect(error(pair, ZipOptions(draws: 0)) == "draws 0: expected 1 or more")
    #expect(
      error(pair, ZipOptions(closedForm: ClosedForm())) == "closed-form without draws: expected a number of draws to solve it for"
    )

    let broken = model.pair.map { input in
      MergeInput(
        input.name,
        Adapter(factors: input.adapter.factors.mapValues { LowRankFactors(down: $0.down * 1e30, up: $0.up * 1e30, alpha: 1) }))
    }
    let infinite = try ZipLoRA(broken, probe: model, options: options())
    let notFinite = #expect(throws: MergeError.self) { try infinite.step() }
    #expect(notFinite?.description.hasPrefix("step 1: the objective is infinite or NaN") == true)
    #expect(model.projections.values.allSatisfy { $0.branches.isEmpty })
  }
}
