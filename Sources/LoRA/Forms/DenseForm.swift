public import Torch

extension AdapterKey.Part {
  static let diff = Self("diff")
}

/// ΔW itself, as LyCORIS' full difference and the merged files of ziplora-pytorch have it.
struct DenseForm: LayerForm {
  static let name = "whole difference"
  static let parts: [AdapterKey.Part] = [.diff]

  private let delta: Tensor

  /// - Parameter delta: [out, in] or [out, in, k, k].
  init(_ delta: Tensor) { self.delta = delta }

  init(_ tensors: LayerTensors) throws(AdapterFileError.Defect) {
    delta = try tensors.all(.diff)[0]
    try tensors.require([2, 4].contains(delta.rank) && delta.count > 0, Self.parts, "[out, in] or [out, in, k, k]")
  }

  var weightShape: [Int] { delta.shape }
  var rank: Int? { nil }
  var alpha: Double? { nil }
  var dtype: DType { delta.dtype }
  var norm: Double { delta.to(dtype: .float64).norm().item() }

  func factors() -> LowRankFactors { LowRankFactors(ofFullRank: delta) }
}

extension LowRankFactors {
  /// Any ΔW [out, in] or [out, in, k, k], as it times the identity, on the side that makes the rank smaller.
  public init(ofFullRank delta: Tensor) {
    let matrix = delta.flattened(from: 1)
    let (outputs, inputs) = (matrix.dim(0), matrix.dim(1))
    let rank = min(outputs, inputs)
    let identity = Tensor.eye(rank, dtype: matrix.dtype)
    self.init(
      up: outputs <= inputs ? identity : matrix, down: outputs <= inputs ? matrix : identity, weightShape: delta.shape,
      alpha: Double(rank))
  }
}
