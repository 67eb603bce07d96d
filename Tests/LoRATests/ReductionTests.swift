import LoRA
import OrderedCollections
import TestSupport
import Testing
import Torch

/// Making factors thinner.
@Suite struct ReductionTests {
  let generator = Generator(seed: 2)

  /// Factors of rank 6 whose change has only rank 3.
  private func redundant(_ shape: [Int]) -> LowRankFactors {
    let flat = shape.dropFirst().reduce(1, *)
    let (up, down) = (
      Tensor.randn([shape[0], 3], generator: generator), Tensor.randn([3, flat], generator: generator)
    )
    let mix = Tensor.randn([3, 6], generator: generator)
    return LowRankFactors(
      down: Tensor.concatenated([down, down * 0.5]).reshaped([6] + shape.dropFirst()),
      up: up.matmul(mix).reshaped([shape[0], 6] + shape.dropFirst(2).map { _ in 1 }), alpha: 3)
  }

  @Test("a rank that is not needed goes without loss", arguments: [[12, 9], [12, 3, 3, 3]])
  func exact(shape: [Int]) {
    let factors = redundant(shape)
    for limit in [RankLimit.rank(3), .energy(1 - 1e-9)] {
      let reduced = factors.reduced(to: limit)
      #expect(reduced.factors.rank == 3 && reduced.originalRank == 6 && reduced.discardedEnergy < 1e-10)
      #expect(difference(reduced.factors.delta(dtype: .float64), factors.delta(dtype: .float64)) <= 1e-5)
      #expect(reduced.factors.alpha == 3, "alpha is the rank")
    }
  }

  @Test("the closest of that rank, by the singular values of the dense matrix", arguments: [1, 2, 4])
  func closest(rank: Int) {
    let factors = LowRankFactors(
      down: .randn([5, 8], generator: generator), up: .randn([10, 5], generator: generator), alpha: -2)
    let (u, s, vh) = factors.delta(dtype: .float64).svd()
    let expected = (u.narrow(1, from: 0, count: rank) * s[0..<rank]).matmul(vh[0..<rank])
    let reduced = factors.reduced(to: .rank(rank))
    #expect(difference(reduced.factors.delta(dtype: .float64), expected) <= 1e-5)
    let energies = s.square().doubles()
    let share = energies[..<rank].reduce(0, +) / energies.reduce(0, +)
    #expect(abs(reduced.discardedEnergy - (1 - share)) < 1e-6)
    // Asking for that share, or a little less, gives that rank.
    #expect(factors.reduced(to: .energy(share - 1e-6)).factors.rank == rank)
    #expect(factors.reduced(to: .energy(share + 1e-6)).factors.rank == rank + 1)
  }

  @Test("sides of very different sizes lose nothing", arguments: [1e-4, 1e-6, 1e-8])
  func unevenSides(size: Double) {
    let parts = [1, size].map { size in
      LowRankFactors(
        down: Tensor.randn([4, 20], generator: generator, dtype: .float64) / size,
        up: Tensor.randn([24, 4], generator: generator, dtype: .float64) * size, alpha: 4)
    }
    let both = LowRankFactors(
      down: .concatenated(parts.map(\.down)), up: .concatenated(parts.map(\.up), along: 1), alpha: 8)
    let (u, s, vh) = both.delta(dtype: .float64).svd()
    let expected = (u.narrow(1, from: 0, count: 4) * s[0..<4]).matmul(vh[0..<4])
    let reduced = both.reduced(to: .rank(4))
    #expect(difference(reduced.factors.delta(dtype: .float64), expected) <= 1e-5)
    let energies = s.square().doubles()
    #expect(abs(reduced.discardedEnergy - energies[4...].reduce(0, +) / energies.reduce(0, +)) < 1e-9)
  }

  @Test("columns of zeros and columns that are there twice do no harm", arguments: [false, true])
  func dependentColumns(repeated: Bool) {
    let down = Tensor.randn([8, 20], generator: generator, dtype: .float64)
    let columns = Tensor.randn([24, 7], generator: generator, dtype: .float64)
    let eighth = repeated ? columns.narrow(1, from: 0, count: 1) : .zeros([24, 1], dtype: .float64)
    let factors = LowRankFactors(down: down, up: .concatenated([columns, eighth], along: 1), alpha: 8)
    let (u, s, vh) = factors.delta(dtype: .float64).svd()
    let expected = (u.narrow(1, from: 0, count: 4) * s[0..<4]).matmul(vh[0..<4])
    #expect(difference(factors.reduced(to: .rank(4)).factors.delta(dtype: .float64), expected) <= 1e-6)
    #expect(factors.reduced(to: .energy(1 - 1e-12)).factors.rank == 7)
  }

  @Test("columns that are next to nothing do no harm", arguments: [0, 1e-20, 1e-38, 1e-45, 1e-60, 1e-120])
  func smallColumns(size: Double) {
    let down = Tensor.randn([8, 20], generator: generator, dtype: .float64)
    let columns = (0..<8).map { number in
      Tensor.randn([24, 1], generator: generator, dtype: .float64) * (number == 3 || number == 6 ? size : 1)
    }
    let factors = LowRankFactors(down: down, up: .concatenated(columns, along: 1), alpha: 8)
    let (u, s, vh) = factors.delta(dtype: .float64).svd()
    let expected = (u.narrow(1, from: 0, count: 4) * s[0..<4]).matmul(vh[0..<4])
    #expect(difference(factors.reduced(to: .rank(4)).factors.delta(dtype: .float64), expected) <= 1e-6)
  }

  /// Small singular values of large factors: rows and columns of the result are sums in which nearly all cancels out.
  @Test("LoRAs that nearly cancel out lose what 32 bits of their factors lose", arguments: [1e-2, 1e-4, 1e-6])
  func cancelling(share: Double) {
    let down = Tensor.randn([4, 20], generator: generator, dtype: .float64)
    let up = Tensor.randn([24, 4], generator: generator, dtype: .float64)
    let rest = Tensor.randn([24, 4], generator: generator, dtype: .float64) * share
    let both = LowRankFactors(
      down: .concatenated([down, down]), up: .concatenated([up, rest - up], along: 1), alpha: 8)
    let (u, s, vh) = both.delta(dtype: .float64).svd()
    let expected = (u.narrow(1, from: 0, count: 3) * s[0..<3]).matmul(vh[0..<3])
    let found = both.reduced(to: .rank(3)).factors.delta(dtype: .float64)
    // In relation to what cancels out.
    #expect((found - expected).norm().item() / (up.norm() * down.norm()).item() < 1e-7)
  }

  /// What cancels out is a thousand times as large as what is left, and in 32 bits leaves more than a millionth of that behind.
  @Test("directions that cancel out are none where the rank is not below the smaller side")
  func directions() {
    let shape = [6, 40]
    let down = Tensor.randn([5, shape[1]], generator: generator)
    let up = Tensor.randn([shape[0], 5], generator: generator) * 1000
    let (left, right) = (Tensor.randn([shape[0], 2], generator: generator), Tensor.randn([2, shape[1]], generator: generator))
    let factors = LowRankFactors(
      down: .concatenated([down, down, right]), up: .concatenated([up, up * -1, left], along: 1), alpha: 12)
    let rows = factors.inputDirections()
    #expect(rows.shape == [2, shape[1]])
    let (q, _) = right.to(dtype: .float64).transposed().qr()
    #expect(difference(rows.matmul(q).square().sum([1]), .ones([2], dtype: .float64)) < 1e-9)
  }

  @Test("layers at once are the same as one after the other")
  func atOnce() throws {
    var adapter = Adapter(factors: [:])
    for number in 0..<5 {
      adapter.factors["unet.\(number)"] = LowRankFactors(
        down: .randn([130, 200 + number], generator: generator), up: .randn([180, 130], generator: generator), alpha: 1)
    }
    let (reduced, reductions) = try adapter.reduced(to: .rank(16))
    #expect(reductions.map(\.layer) == Array(adapter.factors.keys))
    for (path, layer) in adapter.factors {
      let alone = layer.reduced(to: .rank(16)).factors.delta()
      #expect(difference(reduced.delta(path), alone) < 1e-6)
    }
  }

  @Test func thinFactorsStayAsTheyAre() {
    let factors = LowRankFactors(down: .ones([2, 8]), up: .ones([10, 2]), alpha: 2)
    #expect(factors.reduced(to: .rank(2)).factors.down.isIdentical(to: factors.down))
    let zero = LowRankFactors(down: .zeros([2, 8]), up: .zeros([10, 2]), alpha: 2).reduced(to: .energy(0.9))
    #expect(zero.factors.rank == 1 && zero.discardedEnergy == 0 && zero.factors.isFinite)
  }

  @Test("an adapter tells which layers lost what")
  func adapter() throws {
    let adapter = Adapter(factors: [
      "unet.a": redundant([12, 9]), "unet.b": LowRankFactors(down: .ones([1, 4]), up: .ones([4, 1]), alpha: 1),
    ])
    let (reduced, reductions) = try adapter.reduced(to: .rank(2))
    #expect(reduced.factors.mapValues(\.rank) == ["unet.a": 2, "unet.b": 1])
    #expect(reductions.map(\.layer) == ["unet.a"] && reductions[0].exactRank == 6 && reductions[0].discardedEnergy > 0)
  }
}
