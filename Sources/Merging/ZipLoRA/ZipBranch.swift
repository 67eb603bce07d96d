internal import LoRA
internal import Torch

/// The zipped pair on one layer: y += [B_c B_s] · [s_c A_c diag(m_c); s_s A_s diag(m_s)] · x.
///
/// Coefficients multiply the thin matrices, not the many tokens of x, which is the same (A diag(m)) x = A (m ∘ x); and it
/// is what the written file does. The gradient that reaches m_c is s_c · Σ_r A_c ∘ (B_cᵀ Σ_tokens g xᵀ).
final class ZipBranch: Branch {
  /// s_k A_k, in the coefficients' precision.
  private let downs: [Tensor]
  private let coefficients: [Tensor]
  /// [B_c B_s], in the layer's type.
  private let up: Tensor
  private let product: LowRankProduct

  init(_ factors: [LowRankFactors], _ coefficients: [Tensor], for projection: any Projection) {
    let device = projection.device
    self.coefficients = coefficients
    downs = zip(factors, coefficients).map { $0.down.to(dtype: $1.dtype, device: device) * $0.scale }
    up = Tensor.concatenated(factors.map { $0.up.to(dtype: projection.dtype, device: device) }, along: 1)
    product = LowRankProduct(for: projection)
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    let down = Tensor.concatenated(zip(downs, coefficients).map { MergerCoefficients.weighing($0, by: $1) })
    return product(x, down: down, up: up)
  }
}
