package import LoRA
package import Torch

extension LowRankFactors {
  /// Σ ΔW_k, exactly: the factors beside each other. up = [B_1 | B_2], down = [s_1 A_1; s_2 A_2], alpha = rank, in 32 bits.
  /// One alone stays as it is.
  static func sum(_ parts: [LowRankFactors]) -> LowRankFactors {
    if parts.count == 1 { return parts[0] }
    let down = Tensor.concatenated(parts.map { $0.down.to(dtype: .float32) * $0.scale })
    let up = Tensor.concatenated(parts.map { $0.up.to(dtype: .float32) }, along: 1)
    return LowRankFactors(down: down, up: up, alpha: Double(down.dim(0)))
  }

  /// Factors of ΔW from up [out, r] and down [r, in] or [r, in·k·k], in 32 bits with alpha = rank.
  init(up: Tensor, down: Tensor, weightShape: [Int]) {
    let rank = down.dim(0)
    self.init(
      down: down.to(dtype: .float32).reshaped([rank] + weightShape.dropFirst()),
      up: up.to(dtype: .float32).reshaped([weightShape[0], rank] + weightShape.dropFirst(2).map { _ in 1 }),
      alpha: Double(rank))
  }

  /// down and up as matrices in 64 bits, for decompositions.
  var doubles: (down: Tensor, up: Tensor) { (downMatrix.to(dtype: .float64), upMatrix.to(dtype: .float64)) }
}

extension MergedLayer {
  /// The factors of rank at most `rank` that are closest to Σ ΔW_k = B A, B = [B_1 | B_2], A = [s_1 A_1; s_2 A_2].
  ///
  /// Only r×r matrices are decomposed, r = Σ r_k. With BᵀB = L Lᵀ, Q = B L⁻ᵀ has orthonormal columns and ΔW = Q (Lᵀ A), so
  ///
  ///     Lᵀ (A Aᵀ) L = U diag(σ²) Uᵀ        ΔW = Σ_i σ_i (Q u_i) (σ_i⁻¹ u_iᵀ Lᵀ A)
  ///
  /// is the SVD of ΔW. QRs of B and Aᵀ with an SVD between them take about twice as long and are no better here: in 64 bits,
  /// squares lose singular values below 1e-7 of the largest, which is where the numbers of the file end. A trace of the
  /// unit matrix keeps the Cholesky factor defined where columns of B depend on each other; it cancels in the product.
  package init(_ parts: [LowRankFactors], rank: Int) {
    let a = Tensor.concatenated(parts.map { $0.doubles.down * $0.scale })
    let b = Tensor.concatenated(parts.map(\.doubles.up), along: 1)
    let gram = b.transposed().matmul(b)
    let trace = max(1e-13 * b.square().sum().item(), 1e-300)
    let l = (gram + Tensor.eye(gram.dim(0), dtype: .float64, device: gram.device) * trace).cholesky()
    let (ascending, vectors) = l.transposed().matmul(a.matmul(a.transposed())).matmul(l).symmetricEigen()
    let energies = ascending.clamped(min: 0).flipped([0])
    let all = energies.doubles()
    let kept = max(all.prefix(min(rank, a.dim(1), b.dim(0))).count { $0 > 1e-14 * all[0] }, 1)
    let u = vectors.flipped([1]).narrow(1, from: 0, count: kept)
    let roots = energies[0..<kept].sqrt().sqrt()
    let total = all.reduce(0, +)
    self.init(
      factors: LowRankFactors(
        up: b.matmul(l.transposed().solve(u)) * roots,
        down: l.matmul(u).transposed().matmul(a) / roots.clamped(min: 1e-30).unsqueezed(1),
        weightShape: parts[0].weightShape),
      discardedEnergy: total > 0 ? all[kept...].reduce(0, +) / total : 0)
  }

  /// The factors of rank at most `rank` that are (nearly) closest to a dense ΔW.
  ///
  /// - Parameters:
  ///   - delta: [out, in·k·k]
  ///   - weightShape: [out, in] or [out, in, k, k]
  init(_ delta: Tensor, rank: Int, weightShape: [Int]) {
    let (u, s, vh) = delta.leadingSingularValues(rank)
    let roots = s.sqrt()
    let total = delta.square().sum().item()
    self.init(
      factors: LowRankFactors(up: u * roots, down: roots.unsqueezed(1) * vh, weightShape: weightShape),
      discardedEnergy: total > 0 ? max(0, 1 - s.square().sum().item() / total) : 0)
  }
}

extension Tensor {
  /// The SVD of a matrix [m, n] up to its `count` largest singular values: U [m, k], S [k], Vᵀ [k, n].
  ///
  /// Where that is much less than all of them, a random projection finds the space that they span, improved by passing it
  /// through the matrix and back (Halko, Martinsson, Tropp: Finding structure with randomness, arXiv 0909.4061, algorithms
  /// 4.4 and 5.1). The projection has one fixed seed: the same matrix gives the same factors.
  package func leadingSingularValues(
    _ count: Int, oversampling: Int = 10, passes: Int = 2
  ) -> (u: Tensor, s: Tensor, vh: Tensor) {
    let (width, all) = (dim(1), Swift.min(dim(0), dim(1)))
    let kept = Swift.min(count, all)
    var (u, s, vh): (Tensor, Tensor, Tensor)
    if 2 * (kept + oversampling) >= all {
      (u, s, vh) = svd()
    } else {
      let probes = Tensor.randn([width, kept + oversampling], generator: Generator(seed: 0), dtype: dtype)
      var basis = matmul(probes).qr().q
      for _ in 0..<passes { basis = matmul(transposed().matmul(basis).qr().q).qr().q }
      (u, s, vh) = basis.transposed().matmul(self).svd()
      u = basis.matmul(u)
    }
    return (u.narrow(1, from: 0, count: kept), s[0..<kept], vh[0..<kept])
  }
}
