public import LoRA
public import OrderedCollections
public import Torch

/// How much the columns of several LoRAs' ΔW stand in each other's way at one layer; computed on the factors.
///
/// A column is what one input (or input channel) contributes. Its products are ⟨ΔW_a[:, j], ΔW_b[:, j]⟩, the diagonal of
/// A_aᵀ (B_aᵀ B_b) A_b.
public struct ColumnSimilarity: Codable, Sendable, Equatable {
  /// The mean of |cos(ΔW_a[:, j], ΔW_b[:, j])| over columns that both change. Scaling columns cannot change it.
  public let meanCosine: Double
  /// Σ_j |⟨a_j, b_j⟩| / Σ_j ‖a_j‖ ‖b_j‖ with what the coefficients leave of both columns: the cosines weighted by size.
  public let overlap: Double

  /// - Parameters:
  ///   - factors: one entry a LoRA, for the same weight.
  ///   - coefficients: one vector a LoRA; ones when nil.
  public init(_ factors: [LowRankFactors], coefficients: [Tensor]? = nil) {
    self.init(ColumnProducts(factors), coefficients: coefficients)
  }

  init(_ columns: ColumnProducts, coefficients: [Tensor]? = nil) {
    let tiny = 1e-300
    var (cosines, counted, products, sizes) = (0.0, 0.0, 0.0, 0.0)
    for (a, b) in pairs(of: Array(columns.norms.indices)) {
      let product = columns.products(a, b).abs()
      let size = columns.norms[a] * columns.norms[b]
      let both = size .> tiny
      cosines += both.choose(product / size.clamped(min: tiny), Tensor.zeros(like: size)).sum().item()
      counted += both.to(dtype: .float64).sum().item()
      let left = coefficients.map { vectors in
        let (first, second) = (vectors[a].detached().to(dtype: .float64, device: size.device), vectors[b].detached())
        return (first * second.to(dtype: .float64, device: size.device)).abs()
      }
      products += (left.map { product * $0 } ?? product).sum().item()
      sizes += (left.map { size * $0 } ?? size).sum().item()
    }
    meanCosine = counted > 0 ? cosines / counted : 0
    overlap = sizes > 0 ? products / sizes : 0
  }

  /// The layers that two adapters share, by path.
  public static func compare(_ first: Adapter, _ second: Adapter) -> OrderedDictionary<String, ColumnSimilarity> {
    first.factors.reduce(into: [:]) { table, layer in
      guard let other = second.factors[layer.key], other.weightShape == layer.value.weightShape else { return }
      table[layer.key] = ColumnSimilarity([layer.value, other])
    }
  }
}

/// Products of columns, kept for measuring the same layer with several coefficients.
struct ColumnProducts {
  /// ‖ΔW_k[:, j]‖ [in] for each LoRA.
  private(set) var norms: [Tensor] = []
  /// s_k A_k [r, in·k·k] and B_k [out, r] in 64 bits.
  private let factors: [(down: Tensor, up: Tensor)]
  private let inputs: Int

  init(_ layers: [LowRankFactors]) {
    inputs = layers[0].inputs
    factors = layers.map { ($0.downMatrix.to(dtype: .float64) * $0.scale, $0.upMatrix.to(dtype: .float64)) }
    norms = factors.indices.map { products($0, $0).clamped(min: 0).sqrt() }
  }

  /// ⟨ΔW_a[:, j], ΔW_b[:, j]⟩ [in].
  func products(_ a: Int, _ b: Int) -> Tensor {
    let gram = factors[a].up.transposed().matmul(factors[b].up)
    let columns = (factors[a].down * gram.matmul(factors[b].down)).sum([0])
    return columns.reshaped(inputs, -1).sum([1])
  }
}
