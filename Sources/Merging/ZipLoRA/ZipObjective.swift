internal import OrderedCollections
public import Torch

/// What is minimised: the paper's Eq 3 in its possible readings.
///
/// The paper prints a plain norm and a dot product; its first version speaks of cosine similarity; the public PyTorch
/// version computes means. The readings differ in what they do: a dot term falls fastest by shrinking both vectors, so the
/// merged LoRA fades; a cosine cannot be lowered that way, but has no gradient where all coefficients are one, so at first
/// only the fidelity terms move them.
public struct ZipObjective: Codable, Sendable, Equatable {
  /// ‖·‖ in the first two terms.
  public enum Fidelity: String, Codable, CaseIterable, Sendable {
    /// The Euclidean norm of each prediction's difference, as printed in the paper; its mean over a batch.
    case norm
    /// The mean of squared differences, as in the public PyTorch version.
    case squared
  }

  /// |m_c · m_s| in the last term.
  public enum Similarity: String, Codable, CaseIterable, Sendable {
    /// |Σ_j m_cj m_sj|, as printed in the paper.
    case dot
    /// The mean of |m_cj m_sj|, as in the public PyTorch version.
    case meanDot = "mean-dot"
    /// |cos(m_c, m_s)|, as in the words of the paper's first version.
    case cosine
    /// No such term.
    case none
  }

  public var fidelity: Fidelity
  public var similarity: Similarity
  /// The weight of the last term.
  public var lambda: Double

  /// The defaults are Eq 3 with the cosine of the paper's first version.
  public init(fidelity: Fidelity = .norm, similarity: Similarity = .cosine, lambda: Double = 0.01) {
    self.fidelity = fidelity
    self.similarity = similarity
    self.lambda = lambda
  }

  /// Eq 3 as printed.
  public static let paper = ZipObjective(fidelity: .norm, similarity: .dot)
  /// What the public PyTorch version (mkshing/ziplora-pytorch) minimises.
  public static let publicCode = ZipObjective(fidelity: .squared, similarity: .meanDot)

  /// How far a prediction [N, ...] of the merged model is from one of a LoRA alone.
  public func fidelity(of prediction: Tensor, to teacher: Tensor) -> Tensor {
    let difference = Self.precise(prediction) - Self.precise(teacher)
    return switch fidelity {
    case .norm: difference.flattened(from: 1).norm([1]).mean()
    case .squared: difference.square().mean()
    }
  }

  /// How alike the vectors of the LoRAs are: the sum over layers and over pairs of LoRAs.
  public func similarity(of coefficients: MergerCoefficients) -> Tensor {
    let terms = coefficients.vectors.values.flatMap { pairs(of: Array($0.values)).map(similarity(of:_:)) }
    return terms.isEmpty ? Tensor(0) : Tensor.stacked(terms).sum()
  }

  private func similarity(of first: Tensor, _ second: Tensor) -> Tensor {
    switch similarity {
    case .dot: (first * second).sum().abs()
    case .meanDot: (first * second).abs().mean()
    case .cosine: Self.cosine(first, second).abs()
    case .none: Tensor.zeros([], dtype: first.dtype, device: first.device)
    }
  }

  static func cosine(_ first: Tensor, _ second: Tensor) -> Tensor {
    (first * second).sum() / (first.norm() * second.norm()).clamped(min: 1e-12)
  }

  private static func precise(_ x: Tensor) -> Tensor { x.dtype == .float64 ? x : x.to(dtype: .float32) }
}

/// Each two elements of a list, in order.
func pairs<Element>(of elements: [Element]) -> [(Element, Element)] {
  elements.indices.flatMap { i in elements.indices.dropFirst(i + 1).map { (elements[i], elements[$0]) } }
}
