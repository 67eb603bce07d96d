internal import Foundation
internal import Torch

/// Sinusoids of timesteps or sizes (diffusers: models/embeddings.py Timesteps, get_timestep_embedding).
struct Timesteps {
  /// Width of the embedding.
  let channels: Int
  let flipSinToCos: Bool
  let downscaleFreqShift: Double
  private static let maxPeriod = 10_000.0

  /// timesteps [N] → [N, channels], always computed in float32.
  func callAsFunction(_ timesteps: Tensor) -> Tensor {
    let half = channels / 2
    let exponent =
      Tensor.arange(half, dtype: .float32, device: timesteps.device) * -log(Self.maxPeriod)
      / (Double(half) - downscaleFreqShift)
    let angles = timesteps.to(dtype: .float32).unsqueezed(1) * exponent.exp().unsqueezed(0)  // [N, half]
    let parts = flipSinToCos ? [angles.cos(), angles.sin()] : [angles.sin(), angles.cos()]
    let embedding = Tensor.concatenated(parts, along: -1)
    return channels % 2 == 0 ? embedding : embedding.padded(left: 0, right: 1, top: 0, bottom: 0)
  }
}

/// Two linear layers with SiLU between (diffusers: models/embeddings.py TimestepEmbedding).
final class TimestepEmbedding {
  let linear1: Linear
  let linear2: Linear

  init(_ weights: Weights, inputs: Int, width: Int) {
    linear1 = Linear(weights / "linear_1", inputs, width)
    linear2 = Linear(weights / "linear_2", width, width)
  }

  /// sample [N, inputs] → [N, width]
  func callAsFunction(_ sample: Tensor) -> Tensor { linear2(linear1(sample).silu()) }
}
