public import Torch

/// How much noise each training timestep carries (diffusers: schedulers/scheduling_ddpm.py DDPMScheduler).
///
/// ᾱ is the share of the clean picture's variance left at a timestep; a noisy picture is √ᾱ · clean + √(1 − ᾱ) · noise.
public struct NoiseSchedule {
  public let configuration: Configuration
  /// ᾱ of each timestep, float32 [T].
  public let alphasCumprod: Tensor

  public init(_ configuration: Configuration) {
    self.configuration = configuration
    let betas = configuration.betas
    alphasCumprod = (1 - (configuration.rescaleBetasZeroSNR ? Self.rescaledToZeroSNR(betas) : betas)).cumulativeProduct(0)
  }

  /// SDXL's and Stable Diffusion 1.x's.
  public static var stableDiffusion: NoiseSchedule { NoiseSchedule(.stableDiffusion) }

  /// Number of training timesteps.
  public var count: Int { alphasCumprod.dim(0) }

  /// √ᾱ · clean + √(1 − ᾱ) · noise for clean [N, ...] at timesteps [N].
  public func addNoise(_ noise: Tensor, to clean: Tensor, at timesteps: Tensor) -> Tensor {
    let (signal, spread) = scales(timesteps, like: clean)
    return signal * clean + spread * noise
  }

  /// √ᾱ · noise − √(1 − ᾱ) · clean: what a v-prediction network is trained on.
  public func velocity(clean: Tensor, noise: Tensor, at timesteps: Tensor) -> Tensor {
    let (signal, spread) = scales(timesteps, like: clean)
    return signal * noise - spread * clean
  }

  /// How much the squared error of a prediction counts at timesteps [N], so that none counts for more than γ times what it says of the
  /// clean picture: min(SNR, γ) / SNR for noise, min(SNR, γ) / (SNR + 1) for velocity, where SNR = ᾱ / (1 − ᾱ) (arXiv 2303.09556,
  /// section 3.4; sd-scripts: library/custom_train_functions.py apply_snr_weight).
  ///
  /// - Returns: float32 [N]
  public func minSNRWeights(gamma: Double, at timesteps: Tensor) -> Tensor {
    let alphas = alphasCumprod.to(device: timesteps.device).gathered(timesteps)
    let ratios = alphas / (1 - alphas)
    let limited = ratios.clamped(max: gamma)
    return switch configuration.predictionType {
    case .epsilon: limited / ratios
    case .velocity: limited / (ratios + 1)
    }
  }

  /// √ᾱ and √(1 − ᾱ) of timesteps [N], shaped to broadcast over `sample` [N, ...].
  private func scales(_ timesteps: Tensor, like sample: Tensor) -> (signal: Tensor, spread: Tensor) {
    let alphas = alphasCumprod.to(device: sample.device).gathered(timesteps.to(device: sample.device))
      .reshaped([timesteps.dim(0)] + Array(repeating: 1, count: sample.rank - 1))
    return (alphas.sqrt().to(dtype: sample.dtype), (1 - alphas).sqrt().to(dtype: sample.dtype))
  }

  /// Shifts and scales √ᾱ so that the last timestep is noise alone (arXiv 2305.08891, algorithm 1).
  private static func rescaledToZeroSNR(_ betas: Tensor) -> Tensor {
    let roots = (1 - betas).cumulativeProduct(0).sqrt()
    let (first, last) = (roots[0], roots[roots.dim(0) - 1])
    let alphasCumprod = ((roots - last) * (first / (first - last))).square()
    let ratios = alphasCumprod.sliced(0, from: 1) / alphasCumprod.sliced(0, to: -1)
    return 1 - Tensor.concatenated([alphasCumprod[0..<1], ratios])
  }
}

extension NoiseSchedule.Configuration {
  /// Variance that each timestep adds, float32 [T].
  fileprivate var betas: Tensor {
    if let trainedBetas { return Tensor(trainedBetas.map(Float.init)) }
    return switch betaSchedule {
    case .linear: Tensor.linspace(betaStart, betaEnd, count: numTrainTimesteps)
    case .scaledLinear:
      Tensor.linspace(betaStart.squareRoot(), betaEnd.squareRoot(), count: numTrainTimesteps).square()
    }
  }
}
