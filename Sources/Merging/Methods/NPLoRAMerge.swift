internal import LoRA
internal import Torch

/// NP-LoRA: the subject loses part of what lies in the input space of the style (arXiv 2511.11051):
///
///     ΔW = ΔW_s + ΔW_c (I − μ/(1+μ) · Q Qᵀ)            Q: the directions that the style reads
///
/// The paper takes Q from the QR of A_sᵀ. That is the right singular space of ΔW_s as long as both factors have full rank, and
/// that space is what is taken here: rows of A_s that B_s leaves out read nothing.
///
/// μ = 0 is the direct merge, a large μ takes the style's directions from the subject altogether. The projection acts on the
/// thin A_c alone, A_c − μ/(1+μ) · (A_c Q) Qᵀ, so the result is exact. (The paper's Eq 20 and 21 write the projector on the left,
/// where it does not fit; Eq 11 and section VIII have it here.)
public struct NPLoRAMerge: MergeMethod {
  /// How much of them it loses.
  public var mu: Double

  public init(mu: Double = 0.5) { self.mu = mu }

  public var name: String { "np-lora" }
  public var summary: String { "the sum, with the subject kept off the directions that the style reads" }
  public var reference: String { "https://arxiv.org/abs/2511.11051" }
  public var roles: [String] { ["subject", "style"] }
  public static var options: [MergeOption<Self>] {
    [.real("mu", \.mu, expected: "0 or more") { $0 >= 0 && $0.isFinite }]
  }

  public func merge(_ inputs: [MergeInput], context: MergeContext) throws -> MergeResult {
    try mergingLayers(of: inputs, context) { layer in
      let (subject, style) = (layer.weighted[0], layer.weighted[1])
      let directions = style.inputDirections()
      let down = subject.doubles.down
      let lost = down.matmul(directions.transposed()).matmul(directions) * (mu / (1 + mu))
      let projected = LowRankFactors(
        down: (down - lost).reshaped(subject.down.shape), up: subject.up, alpha: subject.alpha)
      return MergedLayer(factors: .sum([projected, style]))
    }
  }
}
