internal import Torch

/// LoHa (arXiv 2108.06098; LyCORIS: modules/loha.py; peft: tuners/loha/layer.py): the element-wise product of two low-rank
/// matrices, ΔW = (alpha / rank) · (A₁B₁) ∘ (A₂B₂).
///
/// An element is Σᵢ a₁ᵢ b₁ᵢ · Σⱼ a₂ⱼ b₂ⱼ = Σᵢⱼ (a₁ᵢ a₂ⱼ)(b₁ᵢ b₂ⱼ), which is a product of two matrices of rank r₁ r₂ whose
/// columns and rows are all pairs of columns and rows. No SVD is needed to say it.
///
/// Of a convolution, LyCORIS lays B flat, [r, in·k·k], or puts a kernel between A and B; OneTrainer has A [out, r, 1, 1] and B
/// [r, in, k, k].
struct HadamardForm: LayerForm {
  static let name = "LoHa"
  static let parts: [AdapterKey.Part] =
    ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"].map(AdapterKey.Part.init)

  /// The two matrices: left [out, r] and right [r, in] or [r, in, k, k].
  private let pairs: [(left: Tensor, right: Tensor)]
  private let scale: Double
  let rank: Int?
  let alpha: Double?
  let dtype: DType

  init(_ tensors: LayerTensors) throws(AdapterFileError.Defect) {
    let parts = Self.parts
    dtype = try tensors.all(parts[0], parts[1], parts[2], parts[3])[0].dtype
    let tensors = tensors.widened()
    let found = try tensors.all(parts[0], parts[1], parts[2], parts[3])
    let kernels = [tensors[parts[4]], tensors[parts[5]]]
    let ranks = kernels.contains { $0 != nil } ? [2] : [2, 4]
    try tensors.require(
      found.allSatisfy { ranks.contains($0.rank) && $0.count > 0 }, parts,
      "four matrices hada_w1_a, w1_b, w2_a and w2_b; of a convolution without kernels also w_a [out, rank, 1, 1] and w_b "
        + "[rank, in, k, k]")
    try tensors.require(
      (kernels[0] == nil) == (kernels[1] == nil), parts, "hada_t1 and hada_t2, both or neither")
    var pairs: [(left: Tensor, right: Tensor)] = []
    for (index, kernel) in kernels.enumerated() {
      let (a, b) = (found[2 * index], found[2 * index + 1])
      if let kernel {
        try tensors.require(
          kernel.rank == 4 && kernel.count > 0 && kernel.shape.prefix(2) == [a.dim(0), b.dim(0)], parts,
          "hada_t [rank, rank, k, k] between w_a [rank, out] and w_b [rank, in]")
        try tensors.requirePossible([max(a.dim(0), a.dim(1)), b.dim(1)] + kernel.shape.dropFirst(2))
        // [i, j, k, k] and [j, in] → [i, in, k, k]
        let right = kernel.permuted(0, 2, 3, 1).matmul(b).permuted(0, 3, 1, 2)
        pairs.append((a.transposed(), right.contiguous()))
      } else {
        try tensors.require(
          a.dim(1) == b.dim(0) && a.shape.dropFirst(2).allSatisfy { $0 == 1 }, parts,
          "w_a [out, rank] and w_b [rank, in] with one rank")
        pairs.append((a.flattened(from: 1), b))
      }
    }
    try tensors.require(
      pairs[0].left.dim(0) == pairs[1].left.dim(0) && pairs[0].right.shape.dropFirst() == pairs[1].right.shape.dropFirst(),
      parts, "two products of the same shape")
    try tensors.requirePossible([pairs[0].left.dim(0)] + pairs[0].right.shape.dropFirst())
    self.pairs = pairs
    let rank = found[1].dim(0)
    let alpha = try tensors.alpha(rank: rank)
    (self.rank, self.alpha, scale) = (rank, alpha, alpha / Double(rank))
  }

  var weightShape: [Int] { [pairs[0].left.dim(0)] + pairs[0].right.shape.dropFirst() }

  func factors() -> LowRankFactors {
    let (first, second) = (pairs[0], pairs[1])
    let count = first.left.dim(1) * second.left.dim(1)
    let columns = first.right.flattened(from: 1).dim(1)
    // With more pairs than the weight has rows or columns, the weight itself is smaller.
    guard count < min(first.left.dim(0), columns) else {
      let products = [first, second].map { $0.left.matmul($0.right.flattened(from: 1)) }
      return DenseForm((products[0] * products[1] * scale).reshaped(weightShape)).factors()
    }
    let left = (first.left.unsqueezed(2) * second.left.unsqueezed(1)).reshaped(first.left.dim(0), count)
    let right = first.right.flattened(from: 1).unsqueezed(1) * second.right.flattened(from: 1).unsqueezed(0)
    return LowRankFactors(
      up: left, down: right.reshaped(count, right.dim(2)), weightShape: weightShape, alpha: scale * Double(count))
  }
}
