internal import LoRA
public import Torch

/// The second moment S = E[x xᵀ] of what a layer reads.
public enum SecondMoment {
  /// S [in, in].
  case matrix(Tensor)
  /// X [n, in] of a few inputs, S = Xᵀ X.
  case rows(Tensor)

  var matrix: Tensor {
    switch self {
    case .matrix(let matrix): matrix
    case .rows(let rows): rows.transposed().matmul(rows)
    }
  }

  var rows: Tensor? { if case .rows(let rows) = self { rows } else { nil } }

  var dtype: DType {
    switch self {
    case .matrix(let numbers), .rows(let numbers): numbers.dtype
    }
  }
}

/// H m = b of one layer (`ClosedForm`), searched as the way from ones, H (m − 1) = b − H · 1. The vectors m_k of all LoRAs are one,
/// [LoRAs · in].
struct NormalEquations {
  /// Of H.
  let diagonal: Tensor
  /// b − H · 1, that is −Σ_t (G_at ∘ (ΣS − S_t)) · 1 for LoRA a.
  let right: Tensor
  /// H times a vector.
  let product: (Tensor) -> Tensor

  /// - Parameter moments: of these LoRAs in their order, then of those that leave the layer as it is.
  init(_ factors: [LowRankFactors], _ moments: [SecondMoment]) {
    let dtype = moments[0].dtype
    let downs = factors.map { $0.downMatrix.to(dtype: dtype) * $0.scale }
    let ups = factors.map { $0.upMatrix.to(dtype: dtype) }
    let rows = moments.compactMap(\.rows)
    let columns = factors.count * downs[0].dim(1)
    // Below that, products with the rows and the factors take less than reading all of H from memory.
    let isThin = rows.reduce(0) { $0 + $1.dim(0) } * ups.reduce(0) { $0 + $1.dim(1) } <= 4 * factors.count * columns
    if rows.count == moments.count, isThin {
      self.init(downs, ups, rows: rows)
    } else {
      self.init(downs, ups, matrices: moments.map(\.matrix))
    }
  }

  private init(_ downs: [Tensor], _ ups: [Tensor], matrices: [Tensor]) {
    let total = matrices.dropFirst().reduce(matrices[0], +)
    let width = total.dim(0)
    // B_aᵀ B_t A_t of all t beside each other, [r_a, LoRAs · in].
    let mixed = ups.map { up in
      Tensor.concatenated(
        zip(ups, downs).map { up.transposed().linear($0.transposed()).linear($1.transposed()) }, along: 1)
    }
    // H, the rows of one LoRA after those of another.
    let blocks = zip(downs, mixed).map { down, mixed in
      let gram = down.transposed().linear(mixed.transposed())
      gram.reshaped([width, downs.count, width]).multiplyInPlace(total.unsqueezed(1))
      return gram
    }
    diagonal = .concatenated(blocks.enumerated().map { $1.chunked(downs.count, along: 1)[$0].diagonal() })
    // (G ∘ S) · 1 are the sums over the columns of A_a ∘ (B_aᵀ B_t A_t S), as S is symmetric.
    right = .concatenated(
      zip(downs, mixed).map { down, mixed in
        zip(mixed.chunked(downs.count, along: 1), matrices)
          .map { (down * $0.linear(total - $1)).sum([0]) }.reduce(.zeros(like: total[0]), -)
      })
    product = { vector in .concatenated(blocks.map { vector.unsqueezed(0).linear($0)[0] }) }
  }

  /// The same without H: (G ∘ Σ x xᵀ) v = Σ x ∘ G (x ∘ v).
  private init(_ downs: [Tensor], _ ups: [Tensor], rows: [Tensor]) {
    let all = Tensor.concatenated(rows)
    let up = Tensor.concatenated(ups, along: 1)
    let gram = up.gram()
    let ranks = ups.map { $0.dim(1) }
    /// Σ_x x ∘ Σ_t G_at z_t of each LoRA a, where z_t is the row of `inputs[t]` in the place of x.
    func image(_ inputs: [Tensor]) -> Tensor {
      let low = Tensor.concatenated(zip(inputs, downs).map { $0.linear($1) }, along: 1).linear(gram)
      return .concatenated(zip(low.split(ranks, along: 1), downs).map { ($0.linear($1.transposed()) * all).sum([0]) })
    }
    let power = all.square().sum([0])
    diagonal = .concatenated(zip(ups, downs).map { up, down in power * (down * up.gram().matmul(down)).sum([0]) })
    right = -image(downs.indices.map { t in .concatenated(rows.enumerated().map { $0 == t ? .zeros(like: $1) : $1 }) })
    product = { vector in image(vector.chunked(downs.count, along: 0).map { all * $0 }) }
  }
}
