import LoRA
import OrderedCollections
import TestFiles
import TestSupport
import Testing
import Torch

/// What trainers put into files beside what a form needs.
@Suite struct TrainerFileTests {
  static let path = "unet.mid_block.attentions.0.proj_in"
  static let stem = "lora_unet_mid_block_attentions_0_proj_in"
  let folder: TemporaryFolder
  let generator = Generator(seed: 7)

  init() throws { folder = try TemporaryFolder() }

  private func random(_ shape: Int...) -> Tensor { .randn(shape, generator: generator) }

  private func file(
    _ parts: OrderedDictionary<String, Tensor>, extras: OrderedDictionary<String, Tensor> = [:]
  ) throws -> AdapterFile {
    let tensors = OrderedDictionary(uniqueKeysWithValues: parts.map { ("\(Self.stem).\($0.key)", $0.value) })
    try saveSafeTensors(tensors.merging(extras) { $1 }, to: folder("a.safetensors"), overwrite: true)
    return try AdapterFile(path: folder("a.safetensors"))
  }

  @Test("LyCORIS writes the alpha of whole LoKr sides, which nobody uses, as infinity in float16")
  func infiniteAlpha() throws {
    let (w1, w2) = (random(2, 3), random(4, 2))
    let base = ModuleNames([Self.path: [8, 6]])
    let alpha = Tensor(.infinity, dtype: .float16)
    let found = try file(["lokr_w1": w1, "lokr_w2": w2, "alpha": alpha]).adapter(for: base)
    let plain = try file(["lokr_w1": w1, "lokr_w2": w2]).adapter(for: base)
    expectSameDeltas(found, plain, within: 0)
    let error = try #require(throws: AdapterFileError.self) {
      try file(["lokr_w1": w1, "lokr_w2_a": random(4, 2), "lokr_w2_b": random(2, 2), "alpha": alpha])
    }
    #expect(error.description.contains("\(Self.stem).alpha holds infinite numbers or NaN"))
  }

  /// Sizes of the sides, whether the second one is zero or both are the identity, and the limit.
  static let tied: [(first: Int, second: Int, isZero: Bool, rankLimit: Int)] = [
    (4, 192, true, 128), (8, 96, true, 64), (4, 192, false, 128), (8, 96, false, 64),
  ]

  @Test("LoKr with singular values that are all alike", arguments: tied)
  func tiedSingularValues(first: Int, second: Int, isZero: Bool, rankLimit: Int) throws {
    let size = first * second
    let found = try file([
      "lokr_w1": isZero ? random(first, first) : .eye(first), "lokr_w2": isZero ? .zeros([second, second]) : .eye(second),
    ]).reading(for: ModuleNames([Self.path: [size, size]]), options: .init(rankLimit: rankLimit))
    let factors = try #require(found.adapter.factors[Self.path])
    let reduction = try #require(found.reductions.first)
    #expect(factors.rank == rankLimit && reduction.rank == rankLimit)
    // Of the identity, any columns are as good; each that is kept is one of its singular values.
    let kept = isZero ? 0 : Double(rankLimit)
    let error = abs(factors.norm * factors.norm - kept)
    #expect(error <= 1e-4 * max(kept, 1), "\(error)")
    let lost = isZero ? 0 : 1 - kept / Double(size)
    #expect(abs(reduction.discardedEnergy - lost) <= 1e-5, "\(reduction.discardedEnergy), expected \(lost)")
  }

  @Test("magnitudes [1, in, 1, 1] beside a convolution laid flat are one an input of the base's weight")
  func magnitudesOfInputs() throws {
    let projection = Conv2d(WeightStore(.random(Generator(seed: 3))).root, 3, 4, kernel: 3)
    let (down, up) = (random(2, 27), random(4, 2))
    let magnitudes = random(1, 3, 1, 1)
    let parts: OrderedDictionary = ["lora_down.weight": down, "lora_up.weight": up]
    let flat = try file(parts.merging(["dora_scale": magnitudes]) { $1 }).adapter(for: [Self.path: projection])
    let found = try #require(flat.factors[Self.path])
    #expect(found.weightShape == [4, 3, 3, 3])

    let (w, d, m) = (projection.weight.doubles(), up.matmul(down).doubles(), magnitudes.doubles())
    /// The places of one input in a row-major [4, 3, 3, 3].
    func places(_ input: Int) -> [Int] { (0..<4).flatMap { output in (0..<9).map { (output * 3 + input) * 9 + $0 } } }
    var expected = [Double](repeating: 0, count: 108)
    for input in 0..<3 {
      let norm = places(input).reduce(0) { $0 + (w[$1] + d[$1]) * (w[$1] + d[$1]) }.squareRoot()
      for place in places(input) { expected[place] = (w[place] + d[place]) * m[input] / norm - w[place] }
    }
    let error = difference(found.delta(dtype: .float64), Tensor(expected, shape: [4, 3, 3, 3]))
    #expect(error <= 1e-5, "\(error)")

    let misfit = try file(parts.merging(["dora_scale": random(1, 9, 1, 1)]) { $1 })
    let refused = try #require(throws: AdapterFileError.self) { try misfit.adapter(for: [Self.path: projection]) }
    #expect(refused.description.contains("\(Self.path) has 9 magnitudes of DoRA; expected 3, one an input"), "\(refused)")
  }

  @Test("embeddings of words that OneTrainer bundles are refused by name, or left out when asked for")
  func bundledEmbeddings() throws {
    let keys = ["bundle_emb.<cat>.clip_g", "bundle_emb.<cat>.clip_l"]
    let file = try file(
      ["lora_down.weight": random(2, 4), "lora_up.weight": random(4, 2)], extras: [keys[0]: random(2, 8), keys[1]: random(2, 4)])
    #expect(file.dialect.name == "kohya" && file.layers.count == 1 && file.embeddings == keys && file.vectors.isEmpty)
    let base = ModuleNames([Self.path: [4, 4]])
    let message = "2 tensors are embeddings of words, which no LoRA can hold, such as \(keys[0]); leave them out with"
    for read in [{ try file.adapter(for: base) }, { try file.unresolved().adapter }] {
      let error = try #require(throws: AdapterFileError.self) { try read() }
      #expect(error.description.contains(message), "\(error)")
    }
    let reading = try file.reading(for: base, options: .init(leavesOutVectors: true))
    #expect(reading.leftOut == keys && reading.adapter.factors.count == 1)
    #expect(Inspection(file).problems.contains { $0.hasPrefix(message) })
  }
}
