import LoRA
import Merging
import OrderedCollections
import Testing
import Torch

@Suite struct ReproductionTests {
  let model = ToyModel(dtype: .float64)

  private func errors(_ merged: [Adapter], seed: UInt64 = 0) throws -> [Double] {
    try Reproduction(of: merged, loras: model.pair.map(\.adapter), probe: model, draws: 3, seed: seed).errors
  }

  @Test("a LoRA reproduces itself, and no LoRA is as far off as no LoRA")
  func bounds() throws {
    let (subject, style) = (model.pair[0].adapter, model.pair[1].adapter)
    #expect(try errors([subject])[0] == 0 && errors([style])[1] == 0)
    #expect(try errors([]) == [1, 1])
    #expect(try errors([subject])[1] > 0.5)
    #expect(model.projections.values.allSatisfy { $0.branches.isEmpty }, "nothing stays attached")
  }

  @Test("the definition, and that adapters act together")
  func definition() throws {
    let loras = model.pair.map(\.adapter)
    let merged = try DirectMerge().merge(model.pair, context: MergeContext()).adapter
    #expect(zip(try errors(loras), try errors([merged])).allSatisfy { abs($0 - $1) < 1e-5 })
    let generator = Generator(seed: 2)
    for (index, found) in try errors(loras, seed: 2).enumerated() {
      var (apart, changed) = (0.0, 0.0)
      for _ in 0..<3 {
        let input = model.draw(of: .lora(index), generator: generator)
        let base = model.prediction(of: input)
        let alone = try Attachment(loras[index], to: model.projections).whileAttached { model.prediction(of: input) }
        let both = try Attachment(merged, to: model.projections).whileAttached { model.prediction(of: input) }
        apart += (both - alone).square().sum().item()
        changed += (alone - base).square().sum().item()
      }
      #expect(abs(found - apart / changed) < 1e-6, "\(found), \(apart / changed)")
    }
  }

  @Test("adapters that act one by one, by their shares")
  func shares() throws {
    let loras = model.pair.map(\.adapter)
    func errors(_ shares: [Double]) throws -> [Double] {
      try Reproduction(of: loras, shares: (shares, 1 - shares.reduce(0, +)), loras: loras, probe: model, draws: 3).errors
    }
    #expect(try errors([1, 0]) == self.errors([loras[0]]) && errors([0, 1]) == self.errors([loras[1]]))
    // Three quarters of the way from the other LoRA, the distance is a quarter.
    let (far, near) = (try errors([0, 1])[0], try errors([0.75, 0.25])[0])
    #expect(abs(near - far / 16) < 1e-9 * far)
    // Half of the way from the base, the distance is a half of the base's, which is 1.
    #expect(abs(try errors([0.5, 0])[0] - 0.25) < 1e-9)
    // With both changes added up, what is missing of one is what the other changes: nothing of a LoRA without effect.
    #expect(try errors([1, 1]).allSatisfy { $0 > 0.01 })
  }

  @Test func zippingBringsItDown() throws {
    let zip = try ZipLoRA(model.pair, probe: model, options: ZipOptions(steps: 60, learningRate: 0.03, scope: .everything))
    try zip.optimize()
    let (before, after) = (try errors(model.pair.map(\.adapter)), try errors([zip.zipped()]))
    #expect(after.reduce(0, +) < 0.6 * before.reduce(0, +), "\(before) → \(after)")
  }
}
