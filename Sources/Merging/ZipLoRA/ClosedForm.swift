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
  ///   - moments: S_t of the inputs that each LoRA goes with: of these LoRAs in their order, then of those that leave the
  ///     layer as it is, on whose inputs nothing should be added. Their type is computed in.
  ///   - pull: ρ.
  ///   - iterations: products with H. As many in every run, so that a last bit never decides about one more.
  /// - Returns: one vector [in] a LoRA.
  public static func solve(
    _ factors: [LowRankFactors], moments: [SecondMoment], pull: Double, iterations: Int = 20
  ) -> [Tensor] {
    let equations = NormalEquations(factors, moments)
    // A column that neither LoRA uses has a row of zeros: a trace of the pull keeps H solvable and the coefficient at one.
    let floor = Swift.max(equations.diagonal.mean().item() * Double(factors.count) * 1e-9, 1e-30)
    let pulled = equations.diagonal * pull + floor
    let way = conjugateGradients(
      { equations.product($0) + $0 * pulled }, right: equations.right, preconditioner: equations.diagonal + pulled,
      iterations: iterations)
    return way.chunked(factors.count, along: 0).map { $0 + 1 }
  }

  /// x with product(x) = b, for a symmetric positive definite product.
  private static func conjugateGradients(
    _ product: (Tensor) -> Tensor, right b: Tensor, preconditioner: Tensor, iterations: Int
  ) -> Tensor {
    func dot(_ a: Tensor, _ b: Tensor) -> Double { (a * b).sum().item() }
    let x = Tensor.zeros(like: b)
    let residual = b.cloned()
    var direction = residual / preconditioner
    var energy = dot(residual, direction)
    // Beyond it there is nothing but rounding, and in the end a division of zero by zero.
    let rounding = energy * 1e-24
    for _ in 0..<iterations where energy > rounding {
      let image = product(direction)
      let step = energy / dot(direction, image)
      x.addInPlace(direction, scale: step)
      residual.addInPlace(image, scale: -step)
      let scaled = residual / preconditioner
      let next = dot(residual, scaled)
      direction = scaled + direction * (next / energy)
      energy = next
    }
    return x
  }
}
