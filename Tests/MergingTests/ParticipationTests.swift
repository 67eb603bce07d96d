import LoRA
import Merging
import OrderedCollections
import TestSupport
import Testing
import Torch

/// Which LoRAs and layers take part in a merge, and what is heard while it goes on.
@Suite struct ParticipationTests {
  let model = ToyModel()

  private var inputs: [MergeInput] {
    [
      MergeInput("a", model.adapter(1, paths: [ToyModel.query, ToyModel.key])),
      MergeInput("b", model.adapter(2, rank: 5, paths: [ToyModel.query, ToyModel.convolution]), weight: 0),
      MergeInput("c", model.adapter(3, rank: 2, paths: [ToyModel.query]), weight: 0.5),
    ]
  }

  @Test("direct merge has no ranks and no layers of a LoRA of weight 0", arguments: [2, 3])
  func weightZero(count: Int) throws {
    let inputs = Array(inputs.prefix(count))
    let (merged, report) = try { ($0.adapter, $0.report) }(DirectMerge().merge(inputs, context: MergeContext()))
    #expect(merged.factors.mapValues(\.rank) == [ToyModel.query: count == 2 ? 3 : 5, ToyModel.key: 3])
    let sum = inputs[0].adapter.delta(ToyModel.query, dtype: .float64)!
    let third = count == 2 ? nil : inputs[2].adapter.delta(ToyModel.query, dtype: .float64)! * 0.5
    #expect(difference(merged.delta(ToyModel.query, dtype: .float64), third.map { sum + $0 } ?? sum) <= 3e-7)
    #expect(report.layers.map(\.inputs) == (count == 2 ? [] : [["a", "c"]]))
    #expect(report.alone.map(\.path) == (count == 2 ? [ToyModel.query, ToyModel.key] : [ToyModel.key]))
    #expect(report.dropped == [ToyModel.convolution] && report.inputs.map(\.layers) == Array([2, 2, 1].prefix(count)))

    // The file says so, and the others can be weighed anew.
    let shares = try MergeShares(metadata: merged.metadata)
    #expect(shares.inputs.map(\.weight) == Array([1, 0, 0.5].prefix(count)))
    let weighed = try merged.reweighted([0.25] + Array(repeating: nil, count: count - 1))
    #expect(weighed.factors.mapValues(\.rank) == merged.factors.mapValues(\.rank))
    #expect(difference(weighed.delta(ToyModel.key), inputs[0].adapter.delta(ToyModel.key)! * 0.25) <= 1e-6)
    let gone = try #require(throws: MergeError.self) {
      try merged.reweighted([nil, 1] + Array(repeating: nil, count: count - 2))
    }
    #expect(gone.description.hasPrefix("b has weight 0 in this file"))
  }

  @Test("zipping leaves out a LoRA whose weight or strength is 0")
  func strengthZero() throws {
    let coefficients = randomCoefficients(model)
    let pair = model.pair
    for zipped in [
      coefficients.zipped(pair, strengths: [1, 0]),
      coefficients.zipped([pair[0], MergeInput("style", pair[1].adapter, weight: 0)]),
    ] {
      #expect(zipped.factors.values.allSatisfy { $0.rank == 3 } && zipped.factors.count == 3)
      for (path, factors) in zipped.factors {
        let expected = denselyWeighed(pair[0].adapter.delta(path, dtype: .float64)!, coefficients.vectors[path]![0]!)
        #expect(difference(factors.delta(dtype: .float64), expected) <= 3e-7, "\(path)")
      }
      #expect(try MergeShares(metadata: zipped.metadata).ranks == [3, 0])
    }
  }

  @Test("LoRAs of weight 0 must still go together")
  func shapes() throws {
    var other = model.adapter(2, paths: [ToyModel.query])
    other.factors[ToyModel.query] = LowRankFactors(down: .ones([1, 3]), up: .ones([4, 1]), alpha: 1)
    let error = try #require(throws: MergeError.self) {
      try DirectMerge().merge([inputs[0], MergeInput("other", other, weight: 0)], context: MergeContext())
    }
    #expect(error.description.contains("the LoRAs are for different base models"))
  }

  @Test("direct and k-lora say how far they are, and can be stopped", arguments: ["direct", "k-lora"])
  func progress(name: String) throws {
    struct Stop: Error {}
    let method = try #require(MergeMethods.named(name))
    var heard: [[Int]] = []
    _ = try method.merge(model.pair, context: MergeContext(layers: { heard.append([$0, $1]) }))
    #expect(heard == [[0, 3], [1, 3], [2, 3], [3, 3]])
    #expect(throws: Stop.self) {
      try method.merge(model.pair, context: MergeContext(layers: { done, _ in if done == 1 { throw Stop() } }))
    }
  }
}
