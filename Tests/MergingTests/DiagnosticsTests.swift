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
    let vectors = Array(randomCoefficients(model).vectors[path]!.values)
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

  @Test("the smallest elements of each layer become zero, the others stay", arguments: [0, 0.25, 0.9])
  func sparsity(share: Double) {
    let model = ToyModel()
    let adapter = model.pair[0].adapter
    for (path, factors) in adapter.keepingLargest(density: 1 - share).factors {
      let (whole, thinned) = (adapter.delta(path)!.floats(), factors.delta().floats())
      #expect(factors.weightShape == adapter.factors[path]!.weightShape)
      let kept = thinned.indices.filter { thinned[$0] != 0 }
      #expect(kept.count == Int((1 - share) * Double(whole.count)), "\(path)")
      #expect(kept.allSatisfy { abs(thinned[$0] - whole[$0]) <= 1e-6 * abs(whole[$0]) })
      let largestDropped = thinned.indices.filter { thinned[$0] == 0 }.map { abs(whole[$0]) }.max() ?? 0
      #expect(kept.allSatisfy { abs(whole[$0]) >= largestDropped })
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
