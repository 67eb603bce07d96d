import LoRA
import Merging
import OrderedCollections
import Testing
import Torch

@Suite struct DiagnosticsTests {
  @Test("column cosines from the factors are those of the matrices", arguments: [ToyModel.query, ToyModel.convolution])
  func columns(path: String) throws {
    let model = ToyModel()
    let factors = model.pair.map { $0.adapter.factors[path]! }
    let vectors = randomCoefficients(model).vectors[path]!
    // ΔW [out, in, ...] as columns [in][numbers].
    func columns(_ index: Int, weighed: Bool) -> [[Double]] {
      let delta = factors[index].delta(dtype: .float64)
      let matrix = weighed ? denselyWeighed(delta, vectors[index]) : delta
      return (0..<matrix.dim(1)).map { matrix.select(1, $0).contiguous().doubles() }
    }
    func product(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
    for weighed in [false, true] {
      let (a, b) = (columns(0, weighed: weighed), columns(1, weighed: weighed))
      let products = zip(a, b).map { abs(product($0, $1)) }
      let sizes = zip(a, b).map { (product($0, $0) * product($1, $1)).squareRoot() }
      let found = ColumnSimilarity(factors, coefficients: weighed ? vectors : nil)
      let cosine = zip(products, sizes).reduce(0) { $0 + $1.0 / $1.1 } / Double(a.count)
      #expect(abs(found.meanCosine - cosine) < 1e-10)
      #expect(abs(found.overlap - products.reduce(0, +) / sizes.reduce(0, +)) < 1e-10)
    }
  }

  @Test("equal columns overlap wholly, columns of different outputs not at all")
  func extremes() {
    let down = Tensor([1, 2, 3] as [Float], shape: [1, 3])
    let upper = LowRankFactors(down: down, up: Tensor([1, 0] as [Float], shape: [2, 1]), alpha: 1)
    let lower = LowRankFactors(down: down, up: Tensor([0, 5] as [Float], shape: [2, 1]), alpha: 1)
    #expect(ColumnSimilarity([upper, upper]).overlap == 1 && ColumnSimilarity([upper, upper]).meanCosine == 1)
    #expect(ColumnSimilarity([upper, lower]).overlap == 0)
    // Coefficients that leave no column to both remove the overlap, though the cosine of the columns stays.
    let apart = ColumnSimilarity([upper, upper], coefficients: [Tensor([1, 0, 0] as [Float]), Tensor([0, 1, 1] as [Float])])
    #expect(apart.overlap == 0 && apart.meanCosine == 1)
    let nothing = LowRankFactors(down: down, up: .zeros([2, 1]), alpha: 1)
    #expect(ColumnSimilarity([upper, nothing]) == ColumnSimilarity([nothing, nothing]))
  }

  @Test func comparison() {
    let model = ToyModel()
    let table = ColumnSimilarity.compare(model.adapter(1), model.adapter(2, paths: [ToyModel.key]))
    #expect(table.keys == [ToyModel.key])
  }
}

@Suite struct MergeMethodTests {
  let model = ToyModel()

  @Test("every method: one weight on one LoRA, disjoint layers, unequal ranks", arguments: MergeMethods.all.map(\.name))
  func contract(name: String) throws {
    let method = try #require(MergeMethods.named(name))
    #expect(!method.summary.isEmpty && method.reference.hasPrefix("https://"))
    let context = MergeContext(probe: model) { $0.record.step < 3 }
    let subject = model.adapter(1, paths: [ToyModel.query, ToyModel.key])
    let style = model.adapter(2, rank: 5, paths: [ToyModel.key, ToyModel.convolution])
    let result = try method.merge([MergeInput("c", subject), MergeInput("s", style)], context: context)
    #expect(Set(result.adapter.factors.keys) == Set(model.projections.keys))
    expectClose(result.adapter.delta(ToyModel.query)!, subject.delta(ToyModel.query)!, within: 1e-7)
    expectClose(result.adapter.delta(ToyModel.convolution)!, style.delta(ToyModel.convolution)!, within: 1e-7)
    #expect(result.report.method == name && result.report.layers.map(\.path) == [ToyModel.key])
    #expect(throws: MergeError.self) { try method.merge([MergeInput("c", subject)], context: context) }
    if method.needsProbe {
      let error = try #require(throws: MergeError.self) {
        try method.merge([MergeInput("c", subject), MergeInput("s", style)], context: MergeContext())
      }
      #expect(error.description.contains("needs the base model's predictions"))
    }
  }

  @Test("LoRAs without a common layer are put together by direct merge")
  func disjoint() throws {
    let inputs = [
      MergeInput("c", model.adapter(1, paths: [ToyModel.query])), MergeInput("s", model.adapter(2, paths: [ToyModel.key])),
    ]
    let result = try DirectMerge().merge(inputs, context: MergeContext())
    #expect(result.adapter.factors.keys == [ToyModel.query, ToyModel.key])
    #expect(result.report.layers.isEmpty && result.report.alone.map(\.input) == ["c", "s"])
  }

  @Test("direct merge is the sum, and half a LoRA twice is the LoRA")
  func direct() throws {
    let inputs = [MergeInput("c", model.adapter(1), weight: 0.7), MergeInput("s", model.adapter(2, rank: 2), weight: -1.2)]
    let merged = try DirectMerge().merge(inputs, context: MergeContext()).adapter
    for (path, factors) in merged.factors {
      let sum = inputs[0].adapter.delta(path, dtype: .float64)! * 0.7 - inputs[1].adapter.delta(path, dtype: .float64)! * 1.2
      expectClose(factors.delta(dtype: .float64), sum, within: 3e-7, path)
    }
    let halves = [MergeInput("a", model.adapter(1), weight: 0.5), MergeInput("a", model.adapter(1), weight: 0.5)]
    let whole = try DirectMerge().merge(halves, context: MergeContext()).adapter
    for (path, factors) in whole.factors { expectClose(factors.delta(), model.adapter(1).delta(path)!, within: 3e-7, path) }
  }
}
