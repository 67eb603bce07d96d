internal import OrderedCollections
package import Torch

/// How thin factors are to become.
public enum RankLimit: Sendable, Equatable {
  case rank(Int)
  /// The smallest rank that keeps this share of ‖ΔW‖².
  case energy(Double)
}

/// The largest singular values of a matrix with their vectors, and all singular values.
struct SingularValues {
  /// [n], in descending order.
  let all: Tensor
  /// U √σ of the k largest, [m, k].
  let up: Tensor
  /// √σ Vᵀ of the k largest, [k, n].
  let down: Tensor
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
    let layers = Array(factors.values)
    let thinner = try Engine.atOnce(layers.count, progress: { try progress($0, layers.count) }) { layers[$0].reduced(to: limit) }
    var reduced = self
    var reductions: [AdapterFile.Reduction] = []
    for ((path, layer), thinner) in zip(factors, thinner) {
      reduced.factors[path] = thinner.factors
      if thinner.factors.rank < layer.rank {
        reductions.append(
          AdapterFile.Reduction(
            layer: path, form: LowRankForm.name, exactRank: layer.rank, rank: thinner.factors.rank,
            discardedEnergy: thinner.discardedEnergy))
      }
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

  /// The SVD of ΔW, without singular values below 1e-7 of the largest.
  ///
  /// Of ΔW = B A only r×r matrices are decomposed. With BᵀB = L Lᵀ, Q = B L⁻ᵀ has orthonormal columns and ΔW = Q (Lᵀ A), so
  ///
  ///     Lᵀ (A Aᵀ) L = U diag(σ²) Uᵀ        ΔW = Σ_i σ_i (Q u_i) (σ_i⁻¹ u_iᵀ Lᵀ A)
  ///
  /// is the SVD of ΔW. QRs of B and Aᵀ with an SVD between them take about twice as long and are no better here: in 64 bits,
  /// squares lose singular values below 1e-7 of the largest, which is where the numbers of a file end. A trace of the unit
  /// matrix keeps the Cholesky factor defined where columns of B depend on each other: of columns of length one, B D⁻¹ with D
  /// their lengths, so that it is nothing beside any of them. B D⁻¹ and D A are not formed, only their products. Where r is no smaller than the
  /// weight, ΔW itself is decomposed.
  ///
  /// - Parameters:
  ///   - limit: how many singular values go into `up` and `down`; `all` has every one. B and A are multiplied once each, with
  ///     matrices of that many columns.
  ///   - dtype: of these two products, where it holds what they take, else 64 bits, and of ΔW where that is decomposed. In 32 bits
  ///     ΔW loses what rounding B and A to 32 bits loses, at less than half the time; what is to be orthogonal is asked for in 64.
  func singularValues(_ limit: RankLimit, in dtype: DType = .float64) -> SingularValues {
    guard rank < Swift.min(upMatrix.dim(0), downMatrix.dim(1)) else {
      let (u, s, vh) = delta(dtype: dtype).flattened(from: 1).svd()
      let kept = Self.count(s.to(dtype: .float64).square().doubles(), limit)
      let roots = s[0..<kept].sqrt()
      return SingularValues(all: s, up: u.narrow(1, from: 0, count: kept) * roots, down: roots.unsqueezed(1) * vh[0..<kept])
    }
    let (a, b) = doubles
    let gram = b.gram()
    // B A stays the same where a column of B is divided by its length and the row of A multiplied by it.
    let lengths = gram.diagonal().sqrt()
    // Of nothing, any directions are as good.
    if lengths.sum().item() == 0 {
      let none = Tensor.zeros([1], dtype: .float64, device: b.device)
      return SingularValues(all: none, up: b.narrow(1, from: 0, count: 1), down: a[0..<1])
    }
    let inverse = lengths.clamped(min: 1e-100).reciprocal()
    let unit = gram * inverse * inverse.unsqueezed(1)
    let l = (unit + Tensor.eye(rank, dtype: .float64, device: gram.device) * (1e-13 * Double(rank))).cholesky()
    let scaled = l * lengths.unsqueezed(1)
    let (ascending, vectors) = scaled.transposed().matmul(a.transposed().gram()).matmul(scaled).symmetricEigen()
    let energies = ascending.clamped(min: 0).flipped([0])
    let present = energies.doubles()
    let found = Swift.max(present.count { $0 > 1e-14 * present[0] }, 1)
    let kept = Self.count(Array(present.prefix(found)), limit)
    let roots = energies[0..<kept].sqrt().sqrt()
    let u = vectors.flipped([1]).narrow(1, from: 0, count: kept)
    // Eigenvalues are those of B A without its scale s: σ = |s| √λ, of which both sides get the root.
    let side = abs(scale).squareRoot()
    let exact = [
      l.transposed().solveTriangular(u * (roots * side), upper: true) * inverse.unsqueezed(1),
      scaled.matmul(u) * ((scale < 0 ? -side : side) / roots.clamped(min: 1e-15)),
    ]
    // What a column of B that is next to nothing is multiplied with may be more than 32 bits hold.
    let rounded = exact.map { $0.to(dtype: dtype) }
    let sides = rounded.allSatisfy { $0.isFinite().allHold() } ? rounded : exact
    return SingularValues(
      all: energies[0..<found].sqrt() * abs(scale),
      up: upMatrix.to(dtype: sides[0].dtype).linear(sides[0].transposed()),
      down: sides[1].transposed().linear(downMatrix.to(dtype: sides[1].dtype).transposed()))
  }

  /// What ΔW reads of its input, as orthonormal rows [k, in·k·k] in 64 bits: the right singular vectors of all singular values
  /// above 1e-6 of the largest; none where ΔW is zero.
  package func inputDirections() -> Tensor {
    let values = singularValues(.rank(rank))
    let sizes = values.all.doubles()
    let count = norm > 0 ? sizes.count { $0 > 1e-6 * sizes[0] } : 0
    let rows = values.down.narrow(0, from: 0, count: count).to(dtype: .float64)
    return rows / rows.square().sum([1], keeping: true).sqrt()
  }

  /// The factors of smaller rank that are closest to ΔW; the same ones where they are thin enough.
  ///
  /// Each singular value goes to both sides by its root, so that neither is hard to hold in 16 bits. A result is float32 and
  /// has alpha = rank; where ΔW is zero the rank is 1.
  public func reduced(to limit: RankLimit) -> ReducedFactors {
    if case .rank(let limit) = limit, rank <= limit { return ReducedFactors(self) }
    let values = singularValues(limit, in: .float32)
    let kept = values.all[0].item() > 0 ? values.up.dim(1) : 1
    if kept == rank { return ReducedFactors(self) }
    let factors = LowRankFactors(
      up: values.up.narrow(1, from: 0, count: kept).to(dtype: .float32), down: values.down[0..<kept].to(dtype: .float32),
      weightShape: weightShape)
    return ReducedFactors(factors, of: rank, energies: values.all.to(dtype: .float64).square())
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
