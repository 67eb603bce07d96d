internal import OrderedCollections
package import Torch

/// How thin factors are to become.
public enum RankLimit: Sendable, Equatable {
  case rank(Int)
  /// The smallest rank that keeps this share of ‖ΔW‖².
  case energy(Double)
}

/// Factors of smaller rank, and what that cost.
public struct ReducedFactors {
  public let factors: LowRankFactors
  /// Before.
  public let originalRank: Int
  /// The share of ‖ΔW‖² that is gone.
  public let discardedEnergy: Double

  /// Nothing was reduced.
  init(_ factors: LowRankFactors) {
    self.factors = factors
    originalRank = factors.rank
    discardedEnergy = 0
  }

  /// - Parameter energies: all squared singular values, in descending order; the first `factors.rank` are kept.
  init(_ factors: LowRankFactors, of originalRank: Int, energies: Tensor) {
    self.factors = factors
    self.originalRank = originalRank
    let total = energies.sum().item()
    let lost = energies.sliced(0, from: factors.rank).sum().item()
    discardedEnergy = total > 0 ? lost / total : 0
  }
}

extension Adapter {
  /// The adapter with thinner factors, and what each layer that changed lost.
  ///
  /// - Parameter progress: hears how many of how many layers are done; what it throws ends the work.
  public func reduced(
    to limit: RankLimit, progress: (_ done: Int, _ count: Int) throws -> Void = { _, _ in }
  ) throws -> (adapter: Adapter, reductions: [AdapterFile.Reduction]) {
    var reduced = self
    var reductions: [AdapterFile.Reduction] = []
    for (index, (path, layer)) in factors.enumerated() {
      let thinner = layer.reduced(to: limit)
      reduced.factors[path] = thinner.factors
      if thinner.factors.rank < layer.rank {
        reductions.append(
          AdapterFile.Reduction(
            layer: path, form: LowRankForm.name, exactRank: layer.rank, rank: thinner.factors.rank,
            discardedEnergy: thinner.discardedEnergy))
      }
      try progress(index + 1, factors.count)
    }
    return (reduced, reductions)
  }
}

extension LowRankFactors {
  /// Σ ΔW_k, exactly: the factors beside each other. up = [B_1 | B_2], down = [s_1 A_1; s_2 A_2], alpha = rank, in 32 bits.
  /// One alone stays as it is.
  package static func sum(_ parts: [LowRankFactors]) -> LowRankFactors {
    if parts.count == 1 { return parts[0] }
    let down = Tensor.concatenated(parts.map { $0.down.to(dtype: .float32) * $0.scale })
    let up = Tensor.concatenated(parts.map { $0.up.to(dtype: .float32) }, along: 1)
    return LowRankFactors(down: down, up: up, alpha: Double(down.dim(0)))
  }

  /// Factors of ΔW from matrices.
  ///
  /// - Parameters:
  ///   - up: [out, r]
  ///   - down: [r, in] or [r, in·k·k]
  ///   - weightShape: [out, in] or [out, in, k, k]
  ///   - alpha: the rank when nil.
  package init(up: Tensor, down: Tensor, weightShape: [Int], alpha: Double? = nil) {
    self.init(
      down: down.reshaped([down.dim(0)] + weightShape.dropFirst()),
      up: up.reshaped([up.dim(0), up.dim(1)] + weightShape.dropFirst(2).map { _ in 1 }), alpha: alpha ?? Double(down.dim(0)))
  }

  /// down and up as matrices in 64 bits, for decompositions and norms.
  package var doubles: (down: Tensor, up: Tensor) { (downMatrix.to(dtype: .float64), upMatrix.to(dtype: .float64)) }

  /// The thin SVD of ΔW: U [out, k], S [k] in descending order, Vᵀ [k, in·k·k], without singular values below 1e-7 of the
  /// largest.
  ///
  /// Of ΔW = B A only r×r matrices are decomposed. With BᵀB = L Lᵀ, Q = B L⁻ᵀ has orthonormal columns and ΔW = Q (Lᵀ A), so
  ///
  ///     Lᵀ (A Aᵀ) L = U diag(σ²) Uᵀ        ΔW = Σ_i σ_i (Q u_i) (σ_i⁻¹ u_iᵀ Lᵀ A)
  ///
  /// is the SVD of ΔW. QRs of B and Aᵀ with an SVD between them take about twice as long and are no better here: in 64 bits,
  /// squares lose singular values below 1e-7 of the largest, which is where the numbers of a file end. A trace of the unit
  /// matrix keeps the Cholesky factor defined where columns of B depend on each other; it cancels in the product. Where r is
  /// no smaller than the weight, ΔW itself is decomposed.
  func singularValues() -> (u: Tensor, s: Tensor, vh: Tensor) {
    guard rank < Swift.min(upMatrix.dim(0), downMatrix.dim(1)) else { return delta().flattened(from: 1).svd() }
    let (down, b) = doubles
    let a = down * scale
    let gram = b.transposed().matmul(b)
    let trace = Swift.max(1e-13 * b.square().sum().item(), 1e-300)
    let l = (gram + Tensor.eye(rank, dtype: .float64, device: gram.device) * trace).cholesky()
    let (ascending, vectors) = l.transposed().matmul(a.matmul(a.transposed())).matmul(l).symmetricEigen()
    let energies = ascending.clamped(min: 0).flipped([0])
    let all = energies.doubles()
    let kept = Swift.max(all.count { $0 > 1e-14 * all[0] }, 1)
    let s = energies[0..<kept].sqrt()
    let u = vectors.flipped([1]).narrow(1, from: 0, count: kept)
    return (
      b.matmul(l.transposed().solve(u)), s,
      l.matmul(u).transposed().matmul(a) / s.clamped(min: 1e-30).unsqueezed(1)
    )
  }

  /// The factors of smaller rank that are closest to ΔW; the same ones where they are thin enough.
  ///
  /// Each singular value goes to both sides by its root, so that neither is hard to hold in 16 bits. A result is float32 and
  /// has alpha = rank.
  public func reduced(to limit: RankLimit) -> ReducedFactors {
    if case .rank(let limit) = limit, rank <= limit { return ReducedFactors(self) }
    let (u, s, vh) = singularValues()
    let energies = s.to(dtype: .float64).square()
    let kept = Self.count(energies.doubles(), limit)
    if kept == rank { return ReducedFactors(self) }
    let roots = s[0..<kept].sqrt()
    let factors = LowRankFactors(
      up: (u.narrow(1, from: 0, count: kept) * roots).to(dtype: .float32),
      down: (roots.unsqueezed(1) * vh[0..<kept]).to(dtype: .float32), weightShape: weightShape)
    return ReducedFactors(factors, of: rank, energies: energies)
  }

  /// How many of these descending energies are kept; at least one.
  private static func count(_ energies: [Double], _ limit: RankLimit) -> Int {
    switch limit {
    case .rank(let rank): return Swift.min(rank, energies.count)
    case .energy(let share):
      let target = share * energies.reduce(0, +)
      var sum = 0.0
      let last = energies.firstIndex { energy in
        sum += energy
        return sum >= target
      }
      return (last ?? energies.count - 1) + 1
    }
  }
}
