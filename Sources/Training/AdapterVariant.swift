public import Diffusion
public import LoRA

/// The model with one adapter on it.
public struct AdapterVariant: ModelVariant {
  private let attachment: Attachment
  public let share: Double

  public func apply<Result>(_ body: () throws -> Result) rethrows -> Result { try attachment.whileAttached(body) }

  /// The model with each of these adapters alone, and without any, which is not asked where it does not count.
  ///
  /// - Parameters:
  ///   - parts: an adapter and its share of the mixture.
  ///   - base: the share of the model without adapters.
  public static func mixture(_ parts: [(attachment: Attachment, share: Double)], base: Double) -> [AdapterVariant] {
    let alone = parts.map { AdapterVariant(attachment: $0.attachment, share: $0.share) }
    return base == 0 ? alone : alone + [AdapterVariant(attachment: Attachment([]), share: base)]
  }
}
