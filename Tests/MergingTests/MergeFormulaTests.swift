import LoRA
import Merging
import OrderedCollections
import TestSupport
import Testing
import Torch

/// Each method against its formula on dense matrices in doubles, element by element.
///
/// The result must be the formula's matrix, or, where the method goes back to a low rank, its best approximation of that rank
/// (by a full SVD of the dense matrix).
@Suite struct MergeFormulaTests {
  let model = ToyModel()
  let weights = [0.8, -0.6]
  /// Of different ranks; the style's A and B are for every layer of the model, a convolution among them.
  let adapters: [Adapter]

  init() { adapters = [model.adapter(1), model.adapter(2, rank: 2, alpha: 3)] }

  private var inputs: [MergeInput] { zip(adapters, weights).map { MergeInput("", $0, weight: $1) } }

  /// Matrices as rows of numbers: slow and obvious.
  private typealias Matrix = [[Double]]

  private func dense(_ adapter: Adapter, _ path: String) -> Matrix {
    let factors = adapter.factors[path]!
    let (a, b) = (rows(factors.downMatrix), rows(factors.upMatrix))
    return b.map { row in
      a[0].indices.map { j in factors.alpha / Double(factors.rank) * row.indices.reduce(0) { $0 + row[$1] * a[$1][j] } }
    }
  }

  private func rows(_ tensor: Tensor) -> Matrix { (0..<tensor.dim(0)).map { tensor[$0].contiguous().doubles() } }

  private func tensor(_ matrix: Matrix) -> Tensor { Tensor(matrix.flatMap { $0 }, shape: [matrix.count, matrix[0].count]) }

  private func combine(_ matrices: [Matrix], _ body: ([Double]) -> Double) -> Matrix {
    matrices[0].indices.map { i in matrices[0][0].indices.map { j in body(matrices.map { $0[i][j] }) } }
  }

  private func largest(_ matrix: Matrix, _ density: Double) -> Matrix {
    let sorted = matrix.flatMap { $0 }.map { abs($0) }.sorted(by: >)
    let threshold = sorted[Int(density * Double(sorted.count)) - 1]
    return matrix.map { $0.map { abs($0) >= threshold ? $0 : 0 } }
  }

  private func sum(_ x: [Double]) -> Double { zip(x, weights).reduce(0) { $0 + $1.0 * $1.1 } }

  private func electedMean(_ x: [Double]) -> Double {
    let sign = sum(x) >= 0 ? 1.0 : -1.0
    let agreeing = zip(x, weights).filter { $0 * $1 * sign > 0 }
    let size = agreeing.reduce(0) { $0 + abs($1.1) }
    return size == 0 ? 0 : agreeing.reduce(0) { $0 + $1.0 * $1.1 } / size
  }

  /// The best approximation of a rank, by the SVD of the whole matrix, and the share of energy that it lacks.
  private func truncated(_ matrix: Tensor, _ rank: Int) -> (matrix: Tensor, discarded: Double) {
    let (u, s, vh) = matrix.svd()
    let kept = min(rank, s.count)
    let energies = s.square().doubles()
    let best = (u.narrow(1, from: 0, count: kept) * s[0..<kept]).matmul(vh[0..<kept])
    return (best, energies[kept...].reduce(0, +) / energies.reduce(0, +))
  }

  /// - Parameter reference: the formula, from the dense matrices of a layer.
  private func check(
    _ method: any MergeMethod, rank: Int? = nil, within tolerance: Double, sourceLocation: SourceLocation = #_sourceLocation,
    _ reference: ([Matrix], String) -> Matrix
  ) throws {
    let result = try method.merge(inputs, context: MergeContext())
    var worst = 0.0
    for (path, factors) in result.adapter.factors {
      var expected = tensor(reference(adapters.map { dense($0, path) }, path))
      let reported = try #require(result.report.merged.first { $0.path == path }).discardedEnergy
      if let rank {
        let best = truncated(expected, rank)
        expected = best.matrix
        #expect(factors.rank <= rank, sourceLocation: sourceLocation)
        #expect(abs(reported - best.discarded) < 1e-5, "\(path)", sourceLocation: sourceLocation)
      } else {
        #expect(reported < 1e-9, "\(path)", sourceLocation: sourceLocation)
      }
      let error = difference(factors.delta(dtype: .float64).flattened(from: 1), expected)
      worst = max(worst, error)
      #expect(error < tolerance, "\(method.name) \(path)", sourceLocation: sourceLocation)
    }
    print("largest relative error of \(method.name): \(worst)")
  }

  @Test(arguments: [nil, 1, 4])
  func svd(rank: Int?) throws {
    try check(SVDMerge(rank: rank), rank: rank ?? 3, within: 5e-7) { deltas, _ in combine(deltas, sum) }
  }

  @Test("linear is √|w s| on each factor, cross terms and all")
  func linear() throws {
    let pair = [model.adapter(1), model.adapter(2, alpha: 5)]
    let result = try LinearMerge().merge(
      zip(pair, weights).map { MergeInput("", $0, weight: $1) }, context: MergeContext())
    for (path, factors) in result.adapter.factors {
      let parts = zip(pair.map { $0.factors[path]! }, weights).map { factors, weight in
        let scale = weight * factors.scale
        let root = abs(scale).squareRoot()
        return (a: rows(factors.downMatrix), b: rows(factors.upMatrix), scaleA: scale < 0 ? -root : root, scaleB: root)
      }
      let a = combine(parts.map(\.a)) { $0[0] * parts[0].scaleA + $0[1] * parts[1].scaleA }
      let b = combine(parts.map(\.b)) { $0[0] * parts[0].scaleB + $0[1] * parts[1].scaleB }
      #expect(difference(factors.delta(dtype: .float64).flattened(from: 1), tensor(b).matmul(tensor(a))) <= 5e-7, "\(path)")
    }
  }

  @Test(arguments: [0.2, 0.5])
  func prune(density: Double) throws {
    try check(MagnitudePrune(density: density), rank: 3, within: 3e-6) { deltas, _ in
      combine(deltas.map { largest($0, density) }, sum)
    }
    // With a rank that holds everything, nothing is lost.
    try check(MagnitudePrune(density: density, rank: 12), rank: 12, within: 3e-6) { deltas, _ in
      combine(deltas.map { largest($0, density) }, sum)
    }
  }

  @Test(arguments: [0.2, 0.7])
  func ties(density: Double) throws {
    try check(TIESMerge(density: density), rank: 3, within: 3e-6) { deltas, _ in
      combine(deltas.map { largest($0, density) }, electedMean)
    }
  }

  @Test("DARE's draws are those of one generator, LoRA by LoRA", arguments: [false, true])
  func dare(elects: Bool) throws {
    let generator = Generator(seed: 5)
    try check(DAREMerge(density: 0.6, rank: 12, seed: 5, elects: elects), rank: 12, within: 3e-6) { deltas, _ in
      let kept = deltas.map { delta in
        let draws = rows(Tensor.rand([delta.count, delta[0].count], generator: generator))
        return combine([delta, draws]) { $0[1] < Double(Float(0.6)) ? $0[0] / 0.6 : 0 }
      }
      return combine(kept, elects ? electedMean : sum)
    }
  }

  @Test("DARE keeps the mean")
  func dareIsUnbiased() throws {
    let pair = inputs
    var total: Tensor?
    for seed in 0..<400 {
      let merged = try DAREMerge(density: 0.5, rank: 12, seed: UInt64(seed)).merge(pair, context: MergeContext()).adapter
      total = merged.delta(ToyModel.query)! + (total ?? 0 * merged.delta(ToyModel.query)!)
    }
    let sum = adapters[0].delta(ToyModel.query)! * weights[0] + adapters[1].delta(ToyModel.query)! * weights[1]
    // The spread of one draw at this density is that of an element itself; of 400 draws, a twentieth.
    #expect(difference(total! / 400, sum) <= 0.2)
  }

  @Test("DELLA keeps large elements of a row more often")
  func della() throws {
    let generator = Generator(seed: 6)
    try check(DELLAMerge(density: 0.6, epsilon: 0.2, rank: 12, seed: 6), rank: 12, within: 3e-6) { deltas, _ in
      let kept = deltas.map { delta in
        let draws = rows(Tensor.rand([delta.count, delta[0].count], generator: generator))
        return zip(delta, draws).map { row, draws in
          row.indices.map { j in
            let rank = Double(row.count { abs($0) < abs(row[j]) })
            let p = 0.4 + 0.4 * rank / Double(row.count - 1)
            return draws[j] < p ? row[j] / p : 0
          }
        }
      }
      return combine(kept, electedMean)
    }
  }

  @Test(arguments: [0.3, 1])
  func knots(density: Double) throws {
    try check(KnOTSMerge(density: density), within: 1e-6) { deltas, _ in
      let width = deltas[0][0].count
      let (u, s, vh) = tensor(zip(deltas[0], deltas[1]).map { $0 + $1 }).svd()
      let kept = s.doubles().count { $0 > 1e-5 }
      let scaled = rows((s.unsqueezed(1) * vh)[0..<kept])
      let sides = [scaled.map { Array($0[..<width]) }, scaled.map { Array($0[width...]) }]
      let merged = combine(sides.map { largest($0, density) }, electedMean)
      return rows(u.narrow(1, from: 0, count: kept).matmul(tensor(merged)))
    }
    try check(KnOTSMerge(density: 1, rank: 2), rank: 2, within: 1e-6) { deltas, _ in combineInBasis(deltas) }
  }

  /// KnOTS with nothing trimmed.
  private func combineInBasis(_ deltas: [Matrix]) -> Matrix {
    let width = deltas[0][0].count
    let (u, s, vh) = tensor(zip(deltas[0], deltas[1]).map { $0 + $1 }).svd()
    let scaled = rows(s.unsqueezed(1) * vh)
    return rows(
      u.matmul(tensor(combine([scaled.map { Array($0[..<width]) }, scaled.map { Array($0[width...]) }], electedMean))))
  }

  @Test(arguments: [0, 0.5, 1e6])
  func npLoRA(mu: Double) throws {
    try check(NPLoRAMerge(mu: mu), within: 1e-6) { deltas, path in
      let (subject, style) = (tensor(deltas[0]) * weights[0], tensor(deltas[1]) * weights[1])
      // The right singular vectors of the style's ΔW span what its A reads.
      let v = style.svd().vh[0..<adapters[1].factors[path]!.rank]
      return rows(style + subject - subject.matmul(v.transposed()).matmul(v) * (mu / (1 + mu)))
    }
  }

  @Test("NP-LoRA takes nothing from the subject for rows of the style's A that change nothing")
  func npLoRAOfThinStyle() throws {
    let path = Array(model.projections.keys)[0]
    func merged(_ style: LowRankFactors) throws -> Tensor {
      let pair = [adapters[0].factors[path]!, style].map { Adapter(factors: [path: $0]) }
      return try NPLoRAMerge(mu: 1e6).merge(pair.map { MergeInput("", $0) }, context: MergeContext()).adapter.factors[path]!
        .delta(dtype: .float64)
    }
    let (subject, style) = (adapters[0].factors[path]!, adapters[1].factors[path]!)
    let silent = LowRankFactors(down: style.down, up: style.up * 0, alpha: style.alpha)
    #expect(try difference(merged(silent), subject.delta(dtype: .float64)) <= 1e-6)
    // The same ΔW with three more rows in A that B leaves out.
    let idle = Tensor.randn([3, style.down.dim(1)], generator: Generator(seed: 3))
    let padded = LowRankFactors(
      down: .concatenated([style.down, idle]), up: .concatenated([style.up, Tensor.zeros([style.up.dim(0), 3])], along: 1),
      alpha: style.alpha * Double(style.rank + 3) / Double(style.rank))
    #expect(try difference(merged(padded), merged(style)) <= 1e-6)
  }

  @Test("K-LoRA leaves every layer to the style where the subject changes nothing")
  func kLoRAOfNothing() throws {
    let nothing = Adapter(
      factors: adapters[0].factors.mapValues { LowRankFactors(down: $0.down, up: $0.up * 0, alpha: $0.alpha) })
    let result = try KLoRAMerge().merge(
      [MergeInput("a", nothing), MergeInput("b", adapters[1])], context: MergeContext())
    #expect(result.report.merged.allSatisfy { $0.switchPoint == 0 })
    for (path, factors) in result.adapter.factors {
      #expect(difference(factors.delta(), adapters[1].factors[path]!.delta()) <= 1e-9)
    }
  }

  @Test("K-LoRA's table is its rule at every step, and the adapter has what is there for longer")
  func kLoRA() throws {
    let result = try KLoRAMerge().merge(inputs, context: MergeContext())
    let paths = Array(model.projections.keys)
    func sizes(_ index: Int, _ path: String) -> [Double] {
      dense(adapters[index], path).flatMap { $0 }.map { abs($0 * weights[index]) }.sorted(by: >)
    }
    func all(_ index: Int) -> Double { paths.reduce(0) { $0 + sizes(index, $1).reduce(0, +) } }
    let gamma = all(0) / all(1)
    for path in paths {
      let largest = [0, 1].map { sizes($0, path).prefix(3 * 2).reduce(0, +) }
      let reported = try #require(result.report.merged.first { $0.path == path })
      let point = try #require(reported.switchPoint)
      let hasSubject = (0..<1000).map { step in
        let t = (Double(step) + 0.5) / 1000
        return largest[0] / gamma > largest[1] * (1.5 * t + 0.5)
      }
      #expect(abs(Double(hasSubject.count { $0 }) / 1000 - point) < 2e-3, "\(path)")
      #expect(hasSubject == hasSubject.sorted { $0 && !$1 }, "the subject comes first")
      let chosen = point > 0.5 ? 0 : 1
      #expect(
        difference(
          result.adapter.delta(path, dtype: .float64)!.flattened(from: 1), tensor(dense(adapters[chosen], path)) * weights[chosen]
        ) <= 1e-9)
    }
  }

  @Test("B-LoRA keeps one block of each", arguments: [true, false])
  func bLoRA(spelledAsInTheFile: Bool) throws {
    func adapter(_ seed: UInt64) -> Adapter {
      guard spelledAsInTheFile else { return model.adapter(seed) }
      let names = [
        "lora_unet_output_blocks_0_1_transformer_blocks_0_attn1_to_q",
        "lora_unet_output_blocks_1_1_transformer_blocks_0_attn1_to_k", "lora_unet_input_blocks_1_0_in_layers_2",
      ]
      return Adapter(factors: OrderedDictionary(uniqueKeysWithValues: zip(names, model.adapter(seed).factors.values)))
    }
    let pair = [adapter(1), adapter(2)]
    let result = try BLoRASplit().merge(
      zip(pair, weights).map { MergeInput("", $0, weight: $1) }, context: MergeContext())
    let paths = Array(pair[0].factors.keys)
    #expect(Array(result.adapter.factors.keys) == Array(paths[..<2]))
    #expect(result.report.dropped == [paths[2]])
    for index in 0..<2 {
      #expect(difference(result.adapter.delta(paths[index])!, pair[index].delta(paths[index])! * weights[index]) <= 1e-7)
    }
    let other = model.adapter(1, paths: [ToyModel.convolution])
    let error = try #require(throws: MergeError.self) {
      try BLoRASplit().merge([MergeInput("a", other), MergeInput("b", other)], context: MergeContext())
    }
    #expect(error.description.contains("leaves nothing of these LoRAs: it keeps up_blocks.0.attentions.0 of the subject"))
  }

  @Test("the random projection finds a matrix of low rank, and nearly all that a full SVD finds of others")
  func randomProjection() {
    let generator = Generator(seed: 9)
    func random(_ shape: Int...) -> Tensor { Tensor.randn(shape, generator: generator, dtype: .float64) }
    let thin = random(160, 8).matmul(random(8, 120))
    let (u, s, vh) = thin.leadingSingularValues(8)
    #expect(s.count == 8)
    #expect(difference((u * s).matmul(vh), thin) <= 1e-12)

    let noisy = thin + random(160, 120) * 2
    let best = noisy.svd().s[0..<12].square().sum().item()
    let found = noisy.leadingSingularValues(12).s.square().sum().item()
    #expect(found <= best * (1 + 1e-12) && found > 0.995 * best, "\(found / best)")
    #expect(noisy.leadingSingularValues(12).s.equals(noisy.leadingSingularValues(12).s))
  }
}
