public import LoRA
internal import OrderedCollections
public import Torch

/// A start for the coefficients that needs no gradient: least squares, layer by layer.
///
/// Each layer is asked to add on the subject's inputs what the subject LoRA adds there, and on the style's inputs what the
/// style LoRA adds there:
///
///     min  Σ_t E_{x~t} ‖(ΔW_m − ΔW_t) x‖²
///
/// ‖ΔW diag(u) x‖² is on average uᵀ (G ∘ S) u with G = ΔWᵀΔW and S = E[x xᵀ], so with m = [m_c; m_s] this is the quadratic
/// problem H m = b,
///
///     H_ab = G_ab ∘ Σ_t S_t        b_a = Σ_t (G_at ∘ S_t) · 1        G_ab = ΔW_aᵀ ΔW_b = s_a s_b A_aᵀ (B_aᵀ B_b) A_b
///
/// pulled towards ones by ρ: (H + ρ diag H) m = b + ρ diag H · 1. The inputs' second moments S_t are those of
/// the passes in which each LoRA alone is asked (`ZipLoRA.prepare`); of a second pass, those of the merged model. Convolutions
/// larger than 1×1 start at one.
public struct ClosedForm: Codable, Sendable, Equatable {
  /// 1: inputs as each LoRA alone produces them. More: then as the merged model produces them.
  public var passes: Int
  /// ρ.
  public var pull: Double

  public init(passes: Int = 1, pull: Double = 0.01) {
    self.passes = passes
    self.pull = pull
  }

  /// The least-squares coefficients of one layer, by conjugate gradients: with the pull twenty products with H are enough,
  /// which take less than a Cholesky factor.
  ///
  /// - Parameters:
  ///   - factors: of each LoRA that changes the layer, a linear one or a 1×1 convolution.
  ///   - moments: S_t [in, in] of the inputs that each LoRA goes with: of these LoRAs in their order, then of those that leave the
  ///     layer as it is, on whose inputs nothing should be added. Their type is computed in.
  ///   - pull: ρ.
  ///   - iterations: products with H. As many in every run, so that a last bit never decides about one more.
  /// - Returns: one vector [in] a LoRA.
  public static func solve(
    _ factors: [LowRankFactors], moments: [Tensor], pull: Double, iterations: Int = 20
  ) -> [Tensor] {
    let dtype = moments[0].dtype
    let downs = factors.map { $0.downMatrix.to(dtype: dtype) * $0.scale }
    let ups = factors.map { $0.upMatrix.to(dtype: dtype) }
    let total = moments.dropFirst().reduce(moments[0], +)
    // What is searched is the way from ones: H (m − 1) = b − H·1, with b_a − (H·1)_a = −Σ_t (G_at ∘ (ΣS − S_t)) · 1.
    let others = moments.map { total - $0 }
    let right = factors.map { _ in Tensor.zeros(like: total[0]) }
    // H_ab for a ≤ b; the rest is its transpose.
    var blocks: [(a: Int, b: Int, block: Tensor)] = []
    for a in factors.indices {
      for b in factors.indices.dropFirst(a) {
        let gram = downs[a].transposed().matmul(ups[a].transposed().matmul(ups[b])).matmul(downs[b])
        right[a].addInPlace((gram * others[b]).sum([1]), scale: -1)
        if a < b { right[b].addInPlace((gram * others[a]).sum([0]), scale: -1) }
        gram.multiplyInPlace(total)
        blocks.append((a, b, gram))
      }
    }
    let diagonals = blocks.filter { $0.a == $0.b }.map { $0.block.diagonal() }
    // A column that neither LoRA uses has a row of zeros: a trace of the pull keeps H solvable and the coefficient at one.
    let floor = Swift.max(diagonals.map { $0.mean().item() }.reduce(0, +) * 1e-9, 1e-30)
    let pulled = diagonals.map { $0 * pull + floor }
    let product = { (vectors: [Tensor]) -> [Tensor] in
      let image = zip(vectors, pulled).map { $0 * $1 }
      for (a, b, block) in blocks {
        image[a].addInPlace(block.matmul(vectors[b]))
        if a < b { image[b].addInPlace(block.transposed().matmul(vectors[a])) }
      }
      return image
    }
    let preconditioner = zip(diagonals, pulled).map { $0 + $1 }
    return conjugateGradients(product, right: right, preconditioner: preconditioner, iterations: iterations).map { $0 + 1 }
  }

  /// x with product(x) = b, for a symmetric positive definite product.
  private static func conjugateGradients(
    _ product: ([Tensor]) -> [Tensor], right b: [Tensor], preconditioner: [Tensor], iterations: Int
  ) -> [Tensor] {
    func dot(_ a: [Tensor], _ b: [Tensor]) -> Double { zip(a, b).reduce(0) { $0 + ($1.0 * $1.1).sum().item() } }
    var x = b.map { Tensor.zeros(like: $0) }
    var residual = b
    var scaled = zip(residual, preconditioner).map { $0 / $1 }
    var direction = scaled
    var energy = dot(residual, scaled)
    // Beyond it there is nothing but rounding, and in the end a division of zero by zero.
    let rounding = energy * 1e-24
    for _ in 0..<iterations where energy > rounding {
      let image = product(direction)
      let step = energy / dot(direction, image)
      x = zip(x, direction).map { $0 + $1 * step }
      residual = zip(residual, image).map { $0 - $1 * step }
      scaled = zip(residual, preconditioner).map { $0 / $1 }
      let next = dot(residual, scaled)
      direction = zip(scaled, direction).map { $0 + $1 * (next / energy) }
      energy = next
    }
    return x
  }
}
