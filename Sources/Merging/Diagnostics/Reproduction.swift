public import LoRA
internal import Torch

/// How well a merged adapter does what each LoRA does alone, on noise that no optimisation has seen: for LoRA k
///
///     E ‖(D ⊕ L_m)(x_k, p_k) − (D ⊕ L_k)(x_k, p_k)‖² / E ‖(D ⊕ L_k)(x_k, p_k) − D(x_k, p_k)‖²
///
/// the fidelity terms of ZipLoRA's objective (Eq 3, squared) in units that need no explanation: 0 where the LoRA is
/// reproduced, 1 where the merged one is as far off as no LoRA at all.
public struct Reproduction: Codable, Sendable, Equatable {
  /// Of each LoRA.
  public let errors: [Double]

  /// - Parameters:
  ///   - merged: adapters that act together; none is the base alone.
  ///   - shares: where they do not act together: how much what the model predicts with each alone counts, and without any.
  ///   - loras: in the order of the probe.
  ///   - draws: inputs of each LoRA.
  ///   - progress: hears how many of how many inputs are done; stops by throwing.
  /// - Throws: `MergeError.changesNothing` for a LoRA that has no effect to be reproduced, `AttachmentError`, and what the probe throws.
  public init<Probe: FidelityProbe>(
    of merged: [Adapter], shares: (alone: [Double], base: Double)? = nil, loras: [Adapter], probe: Probe, draws: Int,
    seed: UInt64 = 0, progress: (_ done: Int, _ total: Int) throws -> Void = { _, _ in }
  ) throws {
    let parts = try merged.map { try Attachment($0, to: probe.projections) }
    let models: [(attachment: Attachment, share: Double)] =
      if let shares {
        zip(parts, shares.alone).map { ($0, $1) } + (shares.base == 0 ? [] : [(Attachment([]), shares.base)])
      } else {
        [(Attachment(parts.flatMap(\.places)), 1)]
      }
    let generator = Generator(seed: seed)
    errors = try loras.enumerated().map { index, lora in
      let teacher = try Attachment(lora, to: probe.projections)
      var (apart, changed) = (0.0, 0.0)
      for draw in 0..<draws {
        try progress(index * draws + draw, loras.count * draws)
        let input = try probe.draw(of: .lora(index), generator: generator)
        let (base, wanted, found) = try withoutGrad {
          (
            try probe.prediction(of: input), try teacher.whileAttached { try probe.prediction(of: input) },
            try models.map { model in
              try model.attachment.whileAttached { try probe.prediction(of: input) } * model.share
            }
          )
        }
        apart += (found.dropFirst().reduce(found[0], +) - wanted).to(dtype: .float32).square().sum().item()
        changed += (wanted - base).to(dtype: .float32).square().sum().item()
      }
      guard changed != 0 else { throw MergeError.changesNothing(index) }
      return apart / changed
    }
  }
}
