internal import LoRA
package import Torch

extension MergedLayer {
  /// The factors of rank at most `rank` that are closest to these.
  init(_ factors: LowRankFactors, rank: Int) {
    let reduced = factors.reduced(to: .rank(rank))
    self.init(factors: reduced.factors, discardedEnergy: reduced.discardedEnergy)
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
