internal import OrderedCollections
internal import Torch

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
  /// Factors of ΔW from matrices.
  ///
  /// - Parameters:
  ///   - up: [out, r]
  ///   - down: [r, in] or [r, in·k·k]
  ///   - weightShape: [out, in] or [out, in, k, k]
  init(up: Tensor, down: Tensor, weightShape: [Int], alpha: Double) {
    self.init(
      down: down.reshaped([down.dim(0)] + weightShape.dropFirst()),
      up: up.reshaped([up.dim(0), up.dim(1)] + weightShape.dropFirst(2).map { _ in 1 }), alpha: alpha)
  }

  /// The thin SVD of ΔW: U [out, k], S [k] in descending order, Vᵀ [k, in·k·k].
  ///
  /// With up = Q₁R₁ and downᵀ = Q₂R₂, ΔW = Q₁ (scale · R₁R₂ᵀ) Q₂ᵀ, and only the r×r matrix in the middle is decomposed. Where
  /// r is no smaller than the weight, ΔW itself is.
  func singularValues() -> (u: Tensor, s: Tensor, vh: Tensor) {
    guard rank < Swift.min(upMatrix.dim(0), downMatrix.dim(1)) else { return delta().flattened(from: 1).svd() }
    let (outer, left) = upMatrix.to(dtype: .float64).qr()
    let (inner, right) = downMatrix.to(dtype: .float64).transposed().qr()
    let core = (left.matmul(right.transposed()) * scale).svd()
    return (outer.matmul(core.u), core.s, core.vh.matmul(inner.transposed()))
  }

  /// The factors of smaller rank that are closest to ΔW; the same ones where they are thin enough.
  ///
  /// Each singular value goes to both sides by its root, so that neither is hard to hold in 16 bits. A result is float32 and
  /// has alpha = rank.
  public func reduced(to limit: RankLimit) -> ReducedFactors {
    if case .rank(let limit) = limit, rank <= limit { return ReducedFactors(self) }
    let (u, s, vh) = singularValues()
    let energies = s.to(dtype: .float64).square()
    let kept = Swift.min(Self.count(energies.doubles(), limit), rank)
    if kept == rank { return ReducedFactors(self) }
    let roots = s[0..<kept].sqrt()
    let factors = LowRankFactors(
      up: (u.narrow(1, from: 0, count: kept) * roots).to(dtype: .float32),
      down: (roots.unsqueezed(1) * vh[0..<kept]).to(dtype: .float32), weightShape: weightShape, alpha: Double(kept))
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
