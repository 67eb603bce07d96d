internal import Torch

/// LoKr (arXiv 2309.14859; LyCORIS: modules/lokr.py; peft: tuners/lokr/layer.py): ΔW = scale · W₁ ⊗ W₂, where each side is a matrix
/// or a low-rank product.
///
/// The singular vectors of a Kronecker product are the products of those of its sides, and so are the singular values. So it
/// is cut to a rank by looking at the two small sides.
struct KroneckerForm: LayerForm {
  static let name = "LoKr"
  static let parts: [AdapterKey.Part] =
    ["lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"].map(AdapterKey.Part.init)

  private let left: LowRankFactors
  private let right: LowRankFactors
  private let scale: Double
  let rank: Int?
  let alpha: Double?
  let dtype: DType

  init(_ tensors: LayerTensors) throws(AdapterFileError.Defect) {
    let parts = Self.parts
    let dtype = (tensors[parts[3]] ?? tensors[parts[5]])?.dtype
    let tensors = tensors.widened()
    let (left, leftRank) = try Self.side(tensors, whole: parts[0], a: parts[1], b: parts[2], kernel: nil)
    let (right, rightRank) = try Self.side(tensors, whole: parts[3], a: parts[4], b: parts[5], kernel: parts[6])
    try tensors.require(left.down.rank == 2, parts, "a matrix as the first side")
    try tensors.requirePossible(Self.weightShape(left, right))
    (self.left, self.right) = (left.compact, right.compact)
    // The second side is there, whole or in halves.
    self.dtype = dtype ?? .float32
    // Where neither side is a product there is no rank, and LyCORIS leaves alpha out of account; peft does not.
    rank = rightRank ?? leftRank
    let alpha: Double? = if let rank { try tensors.alpha(rank: rank) } else { nil }
    self.alpha = alpha
    scale = if let alpha, let rank { alpha / Double(rank) } else { tensors.statedScale ?? 1 }
  }

  /// One side as factors of its own, and the rank if it is a product.
  private static func side(
    _ tensors: LayerTensors, whole: AdapterKey.Part, a: AdapterKey.Part, b: AdapterKey.Part, kernel: AdapterKey.Part?
  ) throws(AdapterFileError.Defect) -> (LowRankFactors, rank: Int?) {
    if let matrix = tensors[whole] {
      try tensors.require(
        [2, 4].contains(matrix.rank) && matrix.count > 0 && tensors[a] == nil && tensors[b] == nil, parts,
        "\(whole) as a matrix or a convolution's weight, or \(a) and \(b) instead of it")
      return (DenseForm(matrix).factors(), nil)
    }
    let halves = try tensors.all(a, b)
    let (up, down) = (halves[0], halves[1])
    try tensors.require(
      up.rank == 2 && down.rank == 2 && up.count > 0 && down.count > 0, parts,
      "\(a) and \(b) as matrices with sizes of at least 1")
    let rank = down.dim(0)
    guard let kernel, let middle = tensors[kernel] else {
      try tensors.require(up.dim(1) == rank, parts, "\(a) [out, rank] and \(b) [rank, in] with one rank")
      return (LowRankFactors(down: down, up: up, alpha: Double(rank)), rank)
    }
    try tensors.require(
      middle.rank == 4 && middle.count > 0 && middle.shape.prefix(2) == [up.dim(0), rank], parts,
      "\(kernel) [rank, rank, k, k] between \(a) [rank, out] and \(b) [rank, in]")
    try tensors.requirePossible([max(up.dim(0), up.dim(1)), down.dim(1)] + middle.shape.dropFirst(2))
    let inner = middle.permuted(0, 2, 3, 1).matmul(down).permuted(0, 3, 1, 2).contiguous()
    let outer = up.transposed().unsqueezed(-1).unsqueezed(-1)
    return (LowRankFactors(down: inner, up: outer, alpha: Double(inner.dim(0))), rank)
  }

  var weightShape: [Int] { Self.weightShape(left, right) }

  private static func weightShape(_ left: LowRankFactors, _ right: LowRankFactors) -> [Int] {
    [left.up.dim(0) * right.up.dim(0), left.inputs * right.inputs] + right.down.shape.dropFirst(2)
  }
  var norm: Double { left.norm * right.norm * abs(scale) }

  func factors() -> LowRankFactors {
    let pairs = (0..<left.rank).flatMap { i in (0..<right.rank).map { (i, $0) } }
    return product(
      (left.upMatrix, left.downMatrix), (right.upMatrix, right.downMatrix), pairs, scale: left.scale * right.scale)
  }

  func factors(atMost rank: Int) -> ReducedFactors {
    guard left.rank * right.rank > rank else { return ReducedFactors(factors()) }
    let (first, second) = (left.singularValues(.rank(rank)), right.singularValues(.rank(rank)))
    func products(_ first: Tensor, _ second: Tensor) -> (values: Tensor, indices: Tensor) {
      (first.unsqueezed(1) * second.unsqueezed(0)).flattened().sorted(descending: true)
    }
    // Where products are equal, any may come first, so only those are ordered that have vectors.
    let columns = second.up.dim(1)
    let kept = products(first.all[0..<first.up.dim(1)], second.all[0..<columns]).indices
    let pairs = kept[0..<min(rank, kept.count)].ints().map { ($0 / columns, $0 % columns) }
    let factors = product((first.up, first.down), (second.up, second.down), pairs, scale: 1)
      .to(dtype: .float32, device: .cpu)
    let all = products(first.all, second.all).values
    return ReducedFactors(factors, of: all.count, energies: all.square())
  }

  /// Kronecker products of these pairs of columns and rows.
  private func product(
    _ first: (up: Tensor, down: Tensor), _ second: (up: Tensor, down: Tensor), _ pairs: [(Int, Int)], scale: Double
  ) -> LowRankFactors {
    func columns(_ a: Tensor, _ b: Tensor) -> Tensor {  // [m, r], [n, r] → [mn, r]
      let (a, b) = (a.gathered(pairs.map(\.0), along: 1), b.gathered(pairs.map(\.1), along: 1))
      return (a.unsqueezed(1) * b.unsqueezed(0)).flattened(from: 0, to: 1)
    }
    return LowRankFactors(
      up: columns(first.up, second.up), down: columns(first.down.transposed(), second.down.transposed()).transposed(),
      weightShape: weightShape, alpha: scale * self.scale * Double(pairs.count))
  }
}

extension LowRankFactors {
  /// The same product with no higher rank than its shape allows, for there are as many pairs as ranks multiply to.
  fileprivate var compact: LowRankFactors {
    rank <= Swift.min(upMatrix.dim(0), downMatrix.dim(1)) ? self : DenseForm(delta(dtype: down.dtype)).factors()
  }
}
