internal import Torch

/// The magnitudes of DoRA (arXiv 2402.09353): the weight with the change, W + ΔW, is rescaled so that each output, or each
/// input, has the norm that the file says.
///
/// LyCORIS writes `dora_scale` as a column [out, 1, …] or as a row [1, in, …], which tells the axis; peft's
/// `lora_magnitude_vector` is always one number an output (peft: tuners/lora/dora.py).
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
      try tensors.require(
        isPerOutput || scale.count == shape[1], [Self.scale],
        "\(shape[0]) numbers, one an output, or \(shape[1]), one an input")
      (magnitude, self.isPerOutput) = (scale.flattened(), isPerOutput)
    } else {
      return nil
    }
  }

  /// ΔW of the whole: m · (W + BA) / ‖W + BA‖ − W, in the shape that the file gives the weight.
  func delta(_ direction: LowRankFactors, beside weight: Tensor) -> Tensor {
    // A file may lay a convolution flat, and its magnitudes with it.
    let weight = weight.to(dtype: .float32, device: .cpu).reshaped(direction.weightShape)
    let changed = weight + direction.delta()
    let axes = (0..<weight.rank).filter { $0 != (isPerOutput ? 0 : 1) }
    let norm = changed.norm(axes, keeping: true)
    let magnitude = magnitude.to(dtype: .float32).reshaped(norm.shape)
    // A row of zeros has no direction and stays.
    return changed * (magnitude / norm.clamped(min: 1e-12)) - weight
  }
}
