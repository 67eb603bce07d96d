internal import Torch

/// The magnitudes of DoRA (arXiv 2402.09353): the weight with the change, W + ΔW, is rescaled so that each output, or each
/// input, has the norm that the file says.
///
/// LyCORIS writes `dora_scale` as a column [out, 1, …] or as a row [1, in, …], which tells the axis; peft's
/// `lora_magnitude_vector` is always one number an output (peft: tuners/lora/dora.py). Beside a convolution that is laid flat,
/// a row may be as long as the flat weight is wide, or, as [1, in, 1, 1], have one number for each input of the base's weight.
struct Magnitude {
  static let scale = AdapterKey.Part("dora_scale")
  static let vector = AdapterKey.Part("lora_magnitude_vector")
  static let parts = [scale, vector]

  private let magnitude: Tensor
  private let isPerOutput: Bool

  /// nil for a layer without DoRA.
  init?(_ tensors: LayerTensors, of form: any LayerForm) throws(AdapterFileError.Defect) {
    let shape = form.weightShape
    if let vector = tensors[Self.vector] {
      try tensors.require(vector.count == shape[0], [Self.vector], "\(shape[0]) numbers, one an output")
      (magnitude, isPerOutput) = (vector.flattened(), true)
    } else if let scale = tensors[Self.scale] {
      let isPerOutput = scale.rank > 0 && scale.dim(0) == shape[0] && scale.count == shape[0]
      let isOfFlat =
        shape.count == 2 && scale.rank == 4 && scale.count > 0 && scale.count == scale.dim(1) && shape[1] % scale.count == 0
      try tensors.require(
        isPerOutput || scale.count == shape[1] || isOfFlat, [Self.scale],
        "\(shape[0]) numbers, one an output, or \(shape[1]), one an input")
      (magnitude, self.isPerOutput) = (scale.flattened(), isPerOutput)
    } else {
      return nil
    }
  }

  var count: Int { magnitude.count }

  /// Whether there is a number for every output or input of a weight of this shape, as it is or laid flat.
  func fits(_ shape: [Int]) -> Bool { isPerOutput || count == shape[1] || count == shape.dropFirst().reduce(1, *) }

  /// ΔW of the whole: m · (W + BA) / ‖W + BA‖ − W, in the shape of the weight that the magnitudes are for.
  func delta(_ direction: LowRankFactors, beside weight: Tensor) -> Tensor {
    // A file may lay a convolution flat, and its magnitudes with it.
    let isAsInFile = isPerOutput || count == direction.inputs
    let shape = isAsInFile ? direction.weightShape : weight.shape
    let weight = weight.to(dtype: .float32, device: .cpu).reshaped(shape)
    let changed = weight + direction.delta().reshaped(shape)
    let axes = (0..<weight.rank).filter { $0 != (isPerOutput ? 0 : 1) }
    let norm = changed.norm(axes, keeping: true)
    let magnitude = magnitude.to(dtype: .float32).reshaped(norm.shape)
    // A row of zeros has no direction and stays.
    return changed * (magnitude / norm.clamped(min: 1e-12)) - weight
  }
}
