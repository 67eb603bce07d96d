internal import Torch

extension AdapterKey.Part {
  public static let down = Self("lora_down.weight")
  public static let up = Self("lora_up.weight")
  static let mid = Self("lora_mid.weight")
}

/// LoRA (arXiv 2106.09685), and its kind for convolutions: ΔW = (alpha / rank) · up · down.
///
/// LyCORIS can put a small kernel between the two (Tucker's decomposition, `lora_mid`): with down [r, in, 1, 1] and mid
/// [r, r, k, k], mid · down is a down factor [r, in, k, k] of the usual kind.
struct LowRankForm: LayerForm {
  static let name = "LoRA"
  static let parts: [AdapterKey.Part] = [.down, .up, .mid]

  private let exact: LowRankFactors
  /// As the file says it, which the product with `mid` need not keep.
  let rank: Int?
  let dtype: DType

  init(_ tensors: LayerTensors) throws(AdapterFileError.Defect) {
    let halves = try tensors.all(.down, .up)
    var (down, up) = (halves[0], halves[1])
    guard [2, 4].contains(down.rank), [2, 4].contains(up.rank), down.dim(0) > 0,
      up.shape.dropFirst(2).allSatisfy({ $0 == 1 }), tensors[.mid] != nil || up.dim(1) == down.dim(0)
    else { throw .halves(tensors.stem, down: down.shape, up: up.shape) }
    try tensors.require(down.count > 0 && up.count > 0, Self.parts, "sizes of at least 1")
    dtype = down.dtype.joined(with: up.dtype)
    let rank = down.dim(0)
    if tensors[.mid] != nil {
      let wide = try tensors.widened().all(.down, .up, .mid)
      let mid = wide[2]
      (down, up) = (wide[0], wide[1])
      try tensors.require(
        mid.rank == 4 && mid.count > 0 && mid.shape.prefix(2) == [up.dim(1), rank] && down.shape.dropFirst(2) == [1, 1],
        Self.parts, "up [out, rank, 1, 1], mid [rank, rank, k, k] and down [rank, in, 1, 1]")
      try tensors.requirePossible([max(up.dim(0), up.dim(1)), down.dim(1)] + mid.shape.dropFirst(2))
      // [m, n, k, k] and [n, in] → [m, in, k, k]
      down = mid.permuted(2, 3, 0, 1).matmul(down.flattened(from: 1)).permuted(2, 3, 0, 1).contiguous()
    }
    up = up.reshaped(Array(up.shape.prefix(2)) + down.shape.dropFirst(2).map { _ in 1 })
    // Alpha is divided by the rank that the file calls so.
    let alpha = try tensors.alpha(rank: rank)
    exact = LowRankFactors(down: down, up: up, alpha: alpha * Double(down.dim(0)) / Double(rank))
    self.rank = rank
  }

  var weightShape: [Int] { exact.weightShape }
  var alpha: Double? { exact.alpha }

  func factors() -> LowRankFactors { exact }

  func factors(atMost rank: Int) -> ReducedFactors { ReducedFactors(exact) }
}
