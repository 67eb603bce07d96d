public import Torch

/// What a U-Net is told about the pictures to make.
public struct Conditioning {
  /// Text states [N, L, D].
  public let states: Tensor
  /// Pooled text [N, P] and original size, crop and target size [N, 6]; for models with the addition embedding `text_time`.
  public let added: (textEmbeds: Tensor, timeIds: Tensor)?

  public init(states: Tensor, added: (textEmbeds: Tensor, timeIds: Tensor)? = nil) {
    self.states = states
    self.added = added
  }

  /// The entries with these numbers, in this order.
  func selected(_ entries: [Int]) -> Conditioning {
    map { $0.gathered(entries) }
  }

  /// The entries of all, one after the other; they are of one model, so that all have `added` or none has.
  public static func concatenated(_ parts: [Conditioning]) -> Conditioning {
    let added = parts.compactMap(\.added)
    return Conditioning(
      states: Tensor.concatenated(parts.map(\.states)),
      added: added.isEmpty
        ? nil : (Tensor.concatenated(added.map(\.textEmbeds)), Tensor.concatenated(added.map(\.timeIds))))
  }

  private func map(_ transform: (Tensor) -> Tensor) -> Conditioning {
    Conditioning(states: transform(states), added: added.map { (transform($0.textEmbeds), transform($0.timeIds)) })
  }
}

/// Sizes that SDXL was told in training (arXiv 2307.01952, section 2.2), in pixels.
public struct SizeConditioning: Sendable, Equatable, Codable {
  /// Size of the photograph before it was scaled.
  public var originalHeight: Int
  public var originalWidth: Int
  /// Corner of the cut-out.
  public var cropTop: Int
  public var cropLeft: Int
  /// Size of the picture that the model sees.
  public var targetHeight: Int
  public var targetWidth: Int

  /// A photograph of exactly this size.
  public init(height: Int, width: Int) {
    self.init(original: (height, width), crop: (0, 0), target: (height, width))
  }

  public init(
    original: (height: Int, width: Int), crop: (top: Int, left: Int), target: (height: Int, width: Int)
  ) {
    (originalHeight, originalWidth) = original
    (cropTop, cropLeft) = crop
    (targetHeight, targetWidth) = target
  }

  /// As the U-Net wants them, [6].
  var timeIds: [Int] { [originalHeight, originalWidth, cropTop, cropLeft, targetHeight, targetWidth] }
}
