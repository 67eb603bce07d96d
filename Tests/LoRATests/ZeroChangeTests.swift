import LoRA
import TestSupport
import Testing
import Torch

/// Making layers thinner that change nothing, as those that training has not moved.
@Suite struct ZeroChangeTests {
  let generator = Generator(seed: 5)

  private func layer(_ zero: String, _ shape: [Int], rank: Int) -> LowRankFactors {
    let down = Tensor.randn([rank] + shape.dropFirst(), generator: generator)
    let up = Tensor.randn([shape[0], rank] + shape.dropFirst(2).map { _ in 1 }, generator: generator)
    return LowRankFactors(
      down: zero == "down" ? .zeros(like: down) : down, up: zero == "up" ? .zeros(like: up) : up,
      alpha: zero == "alpha" ? 0 : 4)
  }

  @Test(
    "nothing is lost, and one rank is left", arguments: ["up", "down", "alpha"],
    [([32, 24], 8), ([6, 3, 3, 3], 4), ([8, 5], 8)] as [([Int], Int)])
  func nothing(zero: String, size: ([Int], Int)) {
    let factors = layer(zero, size.0, rank: size.1)
    for limit in [RankLimit.rank(2), .energy(0.9), .energy(1)] {
      let reduced = factors.reduced(to: limit)
      #expect(reduced.factors.rank == 1 && reduced.originalRank == size.1 && reduced.discardedEnergy == 0, "\(limit)")
      #expect(reduced.factors.isFinite && reduced.factors.norm == 0 && reduced.factors.weightShape == size.0)
      // A file of larger numbers would be refused.
      #expect(reduced.factors.down.abs().max().item() < 100 && reduced.factors.up.abs().max().item() < 100)
    }
  }

  @Test("a small change is still one")
  func small() {
    let factors = layer("", [32, 24], rank: 8)
    let tiny = LowRankFactors(down: factors.down, up: factors.up * 1e-30, alpha: 4)
    let (whole, found) = (factors.reduced(to: .rank(3)), tiny.reduced(to: .rank(3)))
    #expect(found.factors.rank == 3 && abs(found.discardedEnergy - whole.discardedEnergy) < 1e-6)
  }
}
