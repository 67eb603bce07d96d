internal import Torch

/// Which pieces of a U-Net are computed again in the backward pass instead of keeping their intermediate results: less memory
/// for at most one more forward pass. Results are the same to the bit.
public struct GradientCheckpointing: Sendable, Equatable {
  public static let none = GradientCheckpointing(only: [])
  public static let all = GradientCheckpointing(only: nil)

  /// nil for all.
  private let only: Set<Int>?

  private init(only: Set<Int>?) { self.only = only }

  public init(pieces: Set<Int>) { self.init(only: pieces) }

  func includes(_ piece: Int) -> Bool { only?.contains(piece) ?? true }
}

/// A residual block with the transformer beside it.
public struct UNetPiece {
  /// In the order in which they run.
  public let number: Int
  /// Paths of its modules in the U-Net.
  public let modules: [String]
}

/// Numbers the pieces of one pass of a U-Net.
final class UNetPieces {
  private let checkpointing: GradientCheckpointing
  private let watcher: UNet2DConditionModel.PieceWatcher?
  private var count = 0

  init(_ checkpointing: GradientCheckpointing, _ watcher: UNet2DConditionModel.PieceWatcher?) {
    (self.checkpointing, self.watcher) = (checkpointing, watcher)
  }

  /// Runs the next piece on everything that gradients pass through.
  func run(_ modules: [String], _ tensors: [Tensor], _ body: @escaping ([Tensor]) -> Tensor) -> Tensor {
    let piece = UNetPiece(number: count, modules: modules)
    count += 1
    let run = { [checkpointing] in
      // Views, so that the gradients of the uses inside are summed before those of the uses outside join them: in the order
      // of checkpointing, which thus changes no bit.
      checkpointing.includes(piece.number) ? checkpointed(tensors, body) : body(tensors.map { $0.expanded($0.shape) })
    }
    return watcher?(piece, run) ?? run()
  }
}
