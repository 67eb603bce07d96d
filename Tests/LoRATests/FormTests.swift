import LoRA
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

/// Every form of a layer against its formula, worked out element by element on small weights.
@Suite struct FormTests {
  static let path = "unet.mid_block.attentions.0.proj_in"
  static let stem = "lora_unet_mid_block_attentions_0_proj_in"
  let folder: TemporaryFolder
  let generator = Generator(seed: 1)

  init() throws { folder = try TemporaryFolder() }

  private func random(_ shape: Int...) -> Tensor { .randn(shape, generator: generator, dtype: .float64) }

  /// A file of one layer with these tensors.
  private func file(_ parts: OrderedDictionary<String, Tensor>, stem: String = stem) throws -> AdapterFile {
    let path = folder("a.safetensors")
    let tensors = OrderedDictionary(uniqueKeysWithValues: parts.map { ("\(stem).\($0.key)", $0.value) })
    try saveSafeTensors(tensors, to: path, overwrite: true)
    return try AdapterFile(path: path)
  }

  private func reading(
    _ parts: OrderedDictionary<String, Tensor>, shape: [Int], rankLimit: Int = 128
  ) throws -> AdapterFile.Reading {
    let options = AdapterFile.Options(rankLimit: rankLimit)
    return try file(parts).reading(for: ModuleNames([Self.path: shape]), options: options)
  }

  private func delta(_ parts: OrderedDictionary<String, Tensor>, shape: [Int]) throws -> Tensor {
    try #require(try reading(parts, shape: shape).adapter.delta(Self.path, dtype: .float64))
  }

  /// A tensor whose element at each index is a sum of products, in row-major order.
  private func dense(_ shape: [Int], _ element: ([Int]) -> Double) -> Tensor {
    let elements = (0..<shape.reduce(1, *)).map { flat -> Double in
      var (rest, index) = (flat, [Int]())
      for size in shape.reversed() {
        index.insert(rest % size, at: 0)
        rest /= size
      }
      return element(index)
    }
    return Tensor(elements, shape: shape)
  }

  private func product(_ a: Tensor, _ b: Tensor) -> (Int, Int) -> Double {
    let (x, y, inner, columns) = (a.doubles(), b.doubles(), a.dim(1), b.dim(1))
    return { row, column in (0..<inner).reduce(0) { $0 + x[row * inner + $1] * y[$1 * columns + column] } }
  }

  @Test("a 3×3 convolution has a kernel in down")
  func convolution() throws {
    let (down, up) = (random(2, 3, 3, 3), random(5, 2, 1, 1))
    let (d, u) = (down.doubles(), up.doubles())
    let expected = dense([5, 3, 3, 3]) { i in
      0.5 * (0..<2).reduce(0) { $0 + u[i[0] * 2 + $1] * d[(($1 * 3 + i[1]) * 3 + i[2]) * 3 + i[3]] }
    }
    let found = try delta(
      ["lora_down.weight": down, "lora_up.weight": up, "alpha": Tensor(1)], shape: [5, 3, 3, 3])
    #expect(difference(found, expected) <= 1e-12)
  }

  @Test("a middle kernel goes into down, and the rank stays that of down")
  func middle() throws {
    let (down, mid, up) = (random(2, 3, 1, 1), random(4, 2, 3, 3), random(5, 4, 1, 1))
    let (d, m, u) = (down.doubles(), mid.doubles(), up.doubles())
    let expected = dense([5, 3, 3, 3]) { i in
      var sum = 0.0
      for a in 0..<4 {
        for b in 0..<2 { sum += u[i[0] * 4 + a] * m[((a * 2 + b) * 3 + i[2]) * 3 + i[3]] * d[b * 3 + i[1]] }
      }
      return 3 / 2 * sum
    }
    let parts: OrderedDictionary = ["lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up, "alpha": Tensor(3)]
    #expect(try difference(delta(parts, shape: [5, 3, 3, 3]), expected) <= 1e-12)
    #expect(try reading(parts, shape: [5, 3, 3, 3]).reductions.isEmpty, "it is a LoRA")
  }

  @Test("tensors of several types in one layer", arguments: [DType.float16, .bfloat16])
  func mixedTypes(dtype: DType) throws {
    func mixed(_ parts: OrderedDictionary<String, Tensor>) throws {
      let rounded = parts.mapValues { $0.to(dtype: dtype).to(dtype: .float32) }
      let shape = try #require(try file(rounded).layers.values.first?.weightShape)
      let expected = try delta(rounded, shape: shape)
      for part in parts.keys {
        let one = rounded.merging([part: rounded[part]!.to(dtype: dtype)]) { $1 }
        #expect(try difference(delta(one, shape: shape), expected) <= 1e-6, "\(part)")
      }
    }
    try mixed([
      "lora_down.weight": random(2, 3, 1, 1), "lora_mid.weight": random(2, 2, 3, 3), "lora_up.weight": random(5, 2, 1, 1),
    ])
    try mixed(["hada_w1_a": random(6, 2), "hada_w1_b": random(2, 5), "hada_w2_a": random(6, 3), "hada_w2_b": random(3, 5)])
    try mixed(["lokr_w1": random(2, 3), "lokr_t2": random(2, 2, 3, 3), "lokr_w2_a": random(2, 4), "lokr_w2_b": random(2, 2)])
  }

  @Test("ranks far above those of the weight take no more memory than the file")
  func excessiveRanks() throws {
    // r × r matrices, or all pairs of ranks, would take tens of gigabytes.
    let (down, up) = (random(100_000, 1), random(1, 100_000))
    let product = up.matmul(down).item()
    let lora = try reading(["lora_down.weight": down, "lora_up.weight": up, "alpha": Tensor(100_000)], shape: [1, 1])
    #expect(abs(lora.adapter.norm - abs(product)) < 1e-9 * abs(product))
    let loha = try delta(
      ["hada_w1_a": up, "hada_w1_b": down, "hada_w2_a": up, "hada_w2_b": down, "alpha": Tensor(100_000)], shape: [1, 1])
    #expect(abs(loha.item() - product * product) < 1e-9 * product * product)
    let lokr = try delta(
      ["lokr_w1_a": up, "lokr_w1_b": down, "lokr_w2_a": up, "lokr_w2_b": down, "alpha": Tensor(100_000)], shape: [1, 1])
    #expect(abs(lokr.item() - product * product) < 1e-9 * product * product)
  }

  @Test("LoHa is exact at rank r²")
  func hadamard() throws {
    let (a1, b1, a2, b2) = (random(6, 2), random(2, 5), random(6, 2), random(2, 5))
    let (first, second) = (product(a1, b1), product(a2, b2))
    let parts: OrderedDictionary = [
      "hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "alpha": Tensor(3),
    ]
    let found = try reading(parts, shape: [6, 5])
    let expected = dense([6, 5]) { 3 / 2 * first($0[0], $0[1]) * second($0[0], $0[1]) }
    #expect(difference(found.adapter.delta(Self.path, dtype: .float64)!, expected) <= 1e-12)
    let reduction = try #require(found.reductions.first)
    #expect(reduction.form == "LoHa" && reduction.rank == 4 && reduction.exactRank == 4 && reduction.discardedEnergy == 0)
  }

  @Test("LoHa of a convolution, laid flat and with kernels (Tucker)", arguments: [false, true])
  func hadamardConvolution(hasKernel: Bool) throws {
    var parts: OrderedDictionary<String, Tensor> = [:]
    var values: [(Int, Int, Int, Int) -> Double] = []
    for side in ["1", "2"] {
      if hasKernel {
        let (t, a, b) = (random(2, 2, 3, 3), random(2, 4), random(2, 3))
        (parts["hada_t\(side)"], parts["hada_w\(side)_a"], parts["hada_w\(side)_b"]) = (t, a, b)
        let (k, x, y) = (t.doubles(), a.doubles(), b.doubles())
        values.append { o, i, h, w in
          var sum = 0.0
          for p in 0..<2 { for q in 0..<2 { sum += k[((p * 2 + q) * 3 + h) * 3 + w] * x[p * 4 + o] * y[q * 3 + i] } }
          return sum
        }
      } else {
        let (a, b) = (random(4, 2), random(2, 27))
        (parts["hada_w\(side)_a"], parts["hada_w\(side)_b"]) = (a, b)
        let value = product(a, b)
        values.append { o, i, h, w in value(o, (i * 3 + h) * 3 + w) }
      }
    }
    let expected = dense([4, 3, 3, 3]) { values[0]($0[0], $0[1], $0[2], $0[3]) * values[1]($0[0], $0[1], $0[2], $0[3]) }
    #expect(try difference(delta(parts, shape: [4, 3, 3, 3]), expected) <= 1e-12)
  }

  /// [ac, bd, k, k] from a side [a, b] and one [c, d, k, k].
  private func kronecker(_ w1: Tensor, _ w2: Tensor) -> Tensor {
    let (x, y) = (w1.doubles(), w2.doubles())
    let (c, d) = (w2.dim(0), w2.dim(1))
    let area = w2.count / (c * d)
    let kernel = w2.shape.dropFirst(2)
    return dense([w1.dim(0) * c, w1.dim(1) * d, area]) { i in
      x[i[0] / c * w1.dim(1) + i[1] / d] * y[(i[0] % c * d + i[1] % d) * area + i[2]]
    }.reshaped([w1.dim(0) * c, w1.dim(1) * d] + kernel)
  }

  @Test("LoKr with whole sides has no scale, whatever its alpha says")
  func kroneckerOfWholeSides() throws {
    let (w1, w2) = (random(2, 3), random(4, 2))
    let found = try delta(["lokr_w1": w1, "lokr_w2": w2, "alpha": Tensor(5)], shape: [8, 6])
    #expect(difference(found, kronecker(w1, w2)) <= 1e-12)
  }

  @Test("LoKr with a low-rank side is scaled by its rank")
  func kroneckerOfFactors() throws {
    let (w1, a, b) = (random(2, 3), random(4, 2), random(2, 2))
    let parts: OrderedDictionary = ["lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": Tensor(3)]
    let expected = kronecker(w1, a.matmul(b)) * 1.5
    #expect(try difference(delta(parts, shape: [8, 6]), expected) <= 1e-12)
    let both: OrderedDictionary = [
      "lokr_w1_a": random(2, 1), "lokr_w1_b": random(1, 3), "lokr_w2_a": a, "lokr_w2_b": b, "alpha": Tensor(3),
    ]
    let left = both["lokr_w1_a"]!.matmul(both["lokr_w1_b"]!)
    let found = try reading(both, shape: [8, 6])
    #expect(difference(found.adapter.delta(Self.path, dtype: .float64)!, kronecker(left, a.matmul(b)) * 1.5) <= 1e-12)
    #expect(found.reductions.first?.rank == 2, "1 · 2")
  }

  @Test("LoKr of convolutions: whole, laid flat, with a kernel")
  func kroneckerOfConvolutions() throws {
    let w1 = random(2, 3)
    let whole = random(4, 2, 3, 3)
    #expect(try difference(delta(["lokr_w1": w1, "lokr_w2": whole], shape: [8, 6, 3, 3]), kronecker(w1, whole)) <= 1e-12)
    let (a, b) = (random(4, 2), random(2, 18))
    #expect(
      try difference(
        delta(["lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b], shape: [8, 6, 3, 3]),
        kronecker(w1, a.matmul(b).reshaped(4, 2, 3, 3))) <= 1e-12)
    let (t, p, q) = (random(2, 2, 3, 3), random(2, 4), random(2, 2))
    let (k, x, y) = (t.doubles(), p.doubles(), q.doubles())
    let inner = dense([4, 2, 3, 3]) { i in
      var sum = 0.0
      for u in 0..<2 { for v in 0..<2 { sum += k[((u * 2 + v) * 3 + i[2]) * 3 + i[3]] * x[u * 4 + i[0]] * y[v * 2 + i[1]] } }
      return sum
    }
    #expect(
      try difference(
        delta(["lokr_w1": w1, "lokr_t2": t, "lokr_w2_a": p, "lokr_w2_b": q], shape: [8, 6, 3, 3]), kronecker(w1, inner)) <= 1e-12)
  }

  @Test("a whole difference, of a matrix and of a convolution", arguments: [[7, 5], [5, 7], [4, 3, 3, 3]])
  func wholeDifference(shape: [Int]) throws {
    let diff = Tensor.randn(shape, generator: generator, dtype: .float64)
    #expect(try difference(delta(["diff": diff], shape: shape), diff) <= 1e-12)
  }

  /// The share of squared singular values behind the first `rank`, and the sum of the first ones' outer products.
  private func truncated(_ matrix: Tensor, _ rank: Int) -> (Tensor, lost: Double) {
    let (u, s, vh) = matrix.svd()
    let energies = s.square().doubles()
    let kept = (u.narrow(1, from: 0, count: rank) * s[0..<rank]).matmul(vh[0..<rank])
    return (kept, energies[rank...].reduce(0, +) / energies.reduce(0, +))
  }

  @Test("what is too thick for the limit keeps its largest singular values, and the loss is told", arguments: 0..<4)
  func reductions(form: Int) throws {
    let (parts, matrix): (OrderedDictionary<String, Tensor>, Tensor)
    switch form {
    case 0:
      matrix = random(9, 7)
      parts = ["diff": matrix]
    case 1:
      let (w1, w2) = (random(3, 2), random(3, 4))
      matrix = kronecker(w1, w2)
      parts = ["lokr_w1": w1, "lokr_w2": w2]
    case 2:
      let (w1, a, b) = (random(3, 2), random(3, 2), random(2, 4))
      matrix = kronecker(w1, a.matmul(b))
      parts = ["lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b]
    default:
      let (a1, b1, a2, b2) = (random(9, 2), random(2, 8), random(9, 2), random(2, 8))
      matrix = a1.matmul(b1) * a2.matmul(b2)
      parts = ["hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2]
    }
    let (expected, lost) = truncated(matrix, 2)
    let found = try reading(parts, shape: matrix.shape, rankLimit: 2)
    #expect(difference(found.adapter.delta(Self.path, dtype: .float64)!, expected) <= 1e-5)
    let reduction = try #require(found.reductions.first)
    #expect(reduction.rank == 2 && reduction.exactRank > 2 && reduction.layer == Self.path)
    #expect(abs(reduction.discardedEnergy - lost) < 1e-5 && lost > 0.01, "\(reduction.discardedEnergy), expected \(lost)")
  }

  @Test("a LoRA keeps its rank whatever the limit")
  func loraIsNotReduced() throws {
    let parts: OrderedDictionary = ["lora_down.weight": random(4, 6), "lora_up.weight": random(6, 4)]
    let found = try reading(parts, shape: [6, 6], rankLimit: 1)
    #expect(found.adapter.factors.values[0].rank == 4 && found.reductions.isEmpty)
  }

  // MARK: DoRA

  /// m · (W + BA) / ‖W + BA‖ − W, by loops over the axis that has the norms.
  private func decomposed(_ weight: Tensor, _ change: Tensor, _ magnitudes: [Double], perOutput: Bool) -> Tensor {
    let (outputs, inputs) = (weight.dim(0), weight.dim(1))
    let (w, d) = (weight.doubles(), change.doubles())
    func sum(_ row: Int, _ column: Int) -> Double { w[row * inputs + column] + d[row * inputs + column] }
    return dense([outputs, inputs]) { i in
      let norm = (0..<(perOutput ? inputs : outputs)).reduce(0) {
        let value = perOutput ? sum(i[0], $1) : sum($1, i[1])
        return $0 + value * value
      }.squareRoot()
      return sum(i[0], i[1]) * magnitudes[perOutput ? i[0] : i[1]] / norm - w[i[0] * inputs + i[1]]
    }
  }

  @Test("DoRA in each way of writing magnitudes", arguments: ["column", "row", "peft"], ["LoRA", "LoHa"])
  func magnitudes(kind: String, form: String) throws {
    let projection = Linear(WeightStore(.random(Generator(seed: 3))).root, 5, 6)
    let isPerOutput = kind != "row"
    let magnitudes = random(isPerOutput ? 6 : 5)
    let (down, up) = (random(2, 5), random(6, 2))
    var parts: OrderedDictionary<String, Tensor> = ["alpha": Tensor(1)]
    if form == "LoRA" {
      parts.merge(["lora_down.weight": down, "lora_up.weight": up]) { $1 }
    } else {
      parts.merge(["hada_w1_a": up, "hada_w1_b": down, "hada_w2_a": .ones([6, 1]), "hada_w2_b": .ones([1, 5])]) { $1 }
    }
    switch kind {
    case "column": parts["dora_scale"] = magnitudes.reshaped(6, 1)
    case "row": parts["dora_scale"] = magnitudes.reshaped(1, 5)
    default: parts["lora_magnitude_vector"] = magnitudes
    }
    let expected = decomposed(projection.weight, up.matmul(down) * 0.5, magnitudes.doubles(), perOutput: isPerOutput)
    let file = try file(parts)
    let found = try file.adapter(for: [Self.path: projection]).delta(Self.path, dtype: .float64)!
    #expect(difference(found, expected) <= 1e-6)

    let error = try #require(throws: AdapterFileError.self) { try file.adapter(for: ModuleNames([Self.path: [6, 5]])) }
    #expect(error.description.contains("\(Self.stem) is DoRA, which depends on the base model's weights; give the base model"))
    #expect(Inspection(file).problems.first?.contains("1 layers are DoRA") == true)
    #expect(Inspection(file).forms.map(\.name) == ["\(form) with DoRA"])
  }

  @Test("DoRA of a convolution laid flat", arguments: [false, true])
  func magnitudesOfFlatConvolution(perOutput: Bool) throws {
    let projection = Conv2d(WeightStore(.random(Generator(seed: 3))).root, 3, 4, kernel: 3)
    let (down, up, magnitudes) = (random(2, 27), random(4, 2), random(perOutput ? 4 : 27))
    let file = try file([
      "lora_down.weight": down, "lora_up.weight": up, "dora_scale": magnitudes.reshaped(perOutput ? [4, 1] : [1, 27]),
    ])
    let found = try file.adapter(for: [Self.path: projection]).factors[Self.path]!
    #expect(found.weightShape == [4, 3, 3, 3])
    let expected = decomposed(
      projection.weight.reshaped(4, 27), up.matmul(down), magnitudes.doubles(), perOutput: perOutput)
    #expect(difference(found.delta(dtype: .float64).reshaped(4, 27), expected) <= 1e-5)
  }

  // MARK: what no LoRA holds

  @Test func biasesAndNorms() throws {
    let path = folder("b.safetensors")
    try saveSafeTensors(
      [
        "\(Self.stem).lora_down.weight": random(2, 4), "\(Self.stem).lora_up.weight": random(4, 2),
        "\(Self.stem).diff_b": random(4), "lora_unet_mid_block_resnets_0_norm1.w_norm": random(4),
        "lora_unet_mid_block_resnets_0_norm1.b_norm": random(4), "lora_unet_conv_norm_out.diff": random(4),
        "lora_unet_conv_norm_out.diff_b": random(4),
      ], to: path)
    let file = try AdapterFile(path: path)
    #expect(file.layers.count == 1 && file.vectors.count == 5)
    let base = ModuleNames([Self.path: [4, 4]])
    let error = try #require(throws: AdapterFileError.self) { try file.adapter(for: base) }
    #expect(
      error.description.contains(
        "5 tensors change biases or norms, which no LoRA can hold, such as lora_unet_conv_norm_out.diff"))
    let reading = try file.reading(for: base, options: .init(leavesOutVectors: true))
    #expect(reading.leftOut.count == 5 && reading.adapter.factors.count == 1)
    #expect(Inspection(file).vectors == 5)
  }

  @Test(
    "what ComfyUI extracts of a text encoder's embeddings is no layer",
    arguments: [
      "lora_te1_text_model_embeddings_token_embedding",
      "text_encoders.clip_l.transformer.text_model.embeddings.position_embedding",
    ])
  func embeddings(stem: String) throws {
    let path = folder("e.safetensors")
    let layer = stem.hasPrefix("lora_te1") ? Self.stem : "diffusion_model.middle_block.1.proj_in"
    try saveSafeTensors(
      OrderedDictionary(
        uniqueKeysWithValues: [layer, stem].flatMap { stem in
          [("\(stem).lora_down.weight", random(2, 4)), ("\(stem).lora_up.weight", random(4, 2))]
        }), to: path)
    let file = try AdapterFile(path: path)
    #expect(Array(file.layers.keys) == [layer] && file.embeddings.count == 2, "\(file.layers.keys)")
  }
}
