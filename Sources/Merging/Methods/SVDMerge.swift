internal import LoRA
internal import Torch

/// The closest LoRA of a chosen rank to the weighted sum:
///
///     ΔW = argmin_{rank ΔW ≤ r} ‖ΔW − Σ_k w_k ΔW_k‖            (Eckart and Young, 1936; PEFT: tuners/lora/model.py, svd)
///
/// PEFT and sd-scripts decompose the dense [out, in] matrix. The sum is [B_1 B_2][s_1 A_1; s_2 A_2] of rank r_1 + r_2
/// already, so the decomposition of (r_1 + r_2)² matrices gives the very same factors (`LowRankFactors.reduced`). Nothing is
/// clamped.
public struct SVDMerge: MergeMethod {
  /// That of the thickest LoRA when nil, as in PEFT.
  public var rank: Int?

  public init(rank: Int? = nil) { self.rank = rank }

  public var name: String { "svd" }
  public var summary: String { "the closest LoRA of one rank to the sum" }
  public var reference: String { "https://github.com/huggingface/peft" }
  public static var options: [MergeOption<Self>] { [.rank(\.rank)] }

  public func merge(_ inputs: [MergeInput], context: MergeContext) throws -> MergeResult {
    try mergingLayers(of: inputs, context, atOnce: Engine.threads) { layer in
      MergedLayer(.sum(layer.weighted), rank: rank ?? layer.largestRank)
    }
  }
}
