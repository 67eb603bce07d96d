internal import LoRA
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

  /// down and up as matrices in 64 bits, for decompositions.
  var doubles: (down: Tensor, up: Tensor) { (downMatrix.to(dtype: .float64), upMatrix.to(dtype: .float64)) }
}

extension MergedLayer {
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
      factors: LowRankFactors(
        up: u * roots, down: roots.unsqueezed(1) * vh, weightShape: weightShape, alpha: Double(s.count)),
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
