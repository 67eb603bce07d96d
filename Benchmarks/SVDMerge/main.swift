// What `ziplora merge --method svd` saves at the size of real layers: the SVD of a sum of two LoRAs from their factors, beside
// that of the dense matrix, which PEFT and sd-scripts decompose; see Docs/SPEED.md.

import LoRA
import Merging
import OrderedCollections
import Torch

let rank = 64
/// Layers of SDXL, and how many of its 560 attention projections are of each shape: 10 blocks of width 640 and 60 of width 1280,
/// with six square projections each and two from the text. The last is the first layer of a feed-forward network, for comparison.
let layers: [(shape: [Int], count: Int)] = [
  ([640, 640], 60), ([640, 2048], 20), ([1280, 1280], 360), ([1280, 2048], 120), ([10240, 1280], 0),
]

func lora(_ shape: [Int], seed: UInt64) -> LowRankFactors {
  let generator = Generator(seed: seed)
  return LowRankFactors(
    down: .randn([rank, shape[1]], generator: generator), up: .randn([shape[0], rank], generator: generator),
    alpha: Double(rank))
}

/// Seconds of each of `count` runs, in ascending order, after one that does not count.
func seconds(_ count: Int, _ work: () -> Void) -> [Double] {
  work()
  return (0..<count).map { _ in ContinuousClock().measure(work) / .seconds(1) }.sorted()
}

func text(_ times: [Double]) -> String {
  func milliseconds(_ time: Double) -> String { "\((time * 100_000).rounded() / 100)" }
  return "\(milliseconds(times[times.count / 2])) ms (\(milliseconds(times[0])) to \(milliseconds(times.last!)))"
}

print("rank \(rank) + \(rank) to \(rank), cpu, \(Engine.threads) threads, libtorch \(Engine.version); median (range)")
var wholeTotal = 0.0
for (shape, count) in layers {
  let pair = [lora(shape, seed: 1), lora(shape, seed: 2)]
  let sum = pair[0].delta() + pair[1].delta()
  var (merged, dense) = (pair[0], Tensor(0))
  let thin = seconds(15) { merged = LowRankFactors.sum(pair).reduced(to: .rank(rank)).factors }
  let whole = seconds(3) {
    let (u, s, vh) = sum.svd()
    dense = (u.narrow(1, from: 0, count: rank) * s[0..<rank]).matmul(vh[0..<rank])
  }
  wholeTotal += Double(count) * whole[whole.count / 2]
  let ratio = whole[whole.count / 2] / thin[thin.count / 2]
  let difference = ((merged.delta() - dense).norm() / dense.norm()).item()
  print(
    "[\(shape[0]), \(shape[1])]  factors \(text(thin))  dense float32 \(text(whole))  ratio \(Int(ratio))  difference \(difference)"
  )
}

let inputs = (0..<2).map { number in
  var factors: OrderedDictionary<String, LowRankFactors> = [:]
  for (shape, count) in layers {
    for layer in 0..<count { factors["unet.\(shape)-\(layer)"] = lora(shape, seed: UInt64(2 * factors.count + number)) }
  }
  return MergeInput("\(number)", Adapter(factors: factors))
}
let sums = Adapter(
  factors: OrderedDictionary(
    uniqueKeysWithValues: inputs[0].adapter.factors.map { path, factors in
      (path, LowRankFactors.sum([factors, inputs[1].adapter.factors[path]!]))
    }))
print("all 560 attention projections: dense by these medians \(wholeTotal) s")
for (name, times) in [
  ("the decompositions", seconds(7) { _ = try! sums.reduced(to: .rank(rank)) }),
  ("the whole merge", seconds(7) { _ = try! SVDMerge(rank: rank).merge(inputs, context: MergeContext()) }),
] { print("\(name): \(text(times)), of the dense ones \(times[times.count / 2] / wholeTotal)") }
