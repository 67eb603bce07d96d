internal import LoRA
internal import Torch

/// KnOTS: TIES in the space that the LoRAs' outputs share (arXiv 2410.19735; gstoica27/KnOTS: task_merger.py):
///
///     [ΔW_1 | … | ΔW_n] = U Σ [V_1 | … | V_n]        ΔW = U · TIES(Σ V_1, …, Σ V_n)
///
/// The big matrix is [B_1 … B_n] diag(A_1, …, A_n), so its SVD comes from a QR of the ups and a thin matrix of Σ r rows; and
/// U · TIES(…) is of rank at most Σ r already. Nothing dense is formed and nothing is discarded unless a rank is asked for.
/// Elements are trimmed layer by layer, where the public code ranks those of all layers together.
public struct KnOTSMerge: MergeMethod {
  /// The public code keeps the top 20 %.
  public var density: Double
  /// Σ r_k when nil.
  public var rank: Int?

  /// Singular values that count, beside the largest one. gstoica27/KnOTS takes the number as it is, which cuts small changes off.
  private static let smallest = 1e-5

  public init(density: Double = 0.2, rank: Int? = nil) { (self.density, self.rank) = (density, rank) }

  public var name: String { "knots" }
  public var summary: String { "TIES after turning the LoRAs into a common basis" }
  public var reference: String { "https://arxiv.org/abs/2410.19735" }
  public static var options: [MergeOption<Self>] { [.density(\.density), .rank(\.rank)] }

  public func merge(_ inputs: [MergeInput], context: MergeContext) throws -> MergeResult {
    try mergingLayers(of: inputs, context, atOnce: Engine.threads) { layer in
      let merged = merged(layer)
      return rank.map { MergedLayer(merged, rank: $0) } ?? MergedLayer(factors: merged)
    }
  }

  private func merged(_ layer: SharedLayer) -> LowRankFactors {
    let (q, r) = Tensor.concatenated(layer.factors.map(\.doubles.up), along: 1).qr()
    let sides = r.split(layer.factors.map(\.rank), along: 1)
    let beside = zip(sides, layer.factors).map { $0.matmul($1.doubles.down) * $1.scale }
    let (u, s, vh) = Tensor.concatenated(beside, along: 1).svd()
    let values = s.doubles()
    let kept = max(values.count { $0 > Self.smallest * values[0] }, 1)
    let scaled = (s.unsqueezed(1) * vh)[0..<kept].split(beside.map { $0.dim(1) }, along: 1)
    let trimmed = scaled.map { Sparsification.keepingLargest($0, density: density) }
    return LowRankFactors(
      up: q.matmul(u).narrow(1, from: 0, count: kept), down: Sparsification.electedMean(trimmed, weights: layer.weights),
      weightShape: layer.factors[0].weightShape)
  }
}
