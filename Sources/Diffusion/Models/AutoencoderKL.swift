public import Torch

/// The variational autoencoder between pictures and latents
/// (diffusers: models/autoencoders/autoencoder_kl.py AutoencoderKL).
///
/// Paths of weights are the keys of diffusers' checkpoints.
public final class AutoencoderKL {
  public let configuration: Configuration
  private let encoder: AutoencoderEncoder
  private let decoder: AutoencoderDecoder
  private let quantConv: Conv2d?
  private let postQuantConv: Conv2d?

  /// - Throws: `ConfigurationError` for settings that cannot hold together.
  public init(_ configuration: Configuration, _ weights: Weights) throws {
    try configuration.validate()
    self.configuration = configuration
    encoder = AutoencoderEncoder(weights / "encoder", configuration)
    decoder = AutoencoderDecoder(weights / "decoder", configuration)
    let latents = configuration.latentChannels
    quantConv =
      configuration.useQuantConv ? Conv2d(weights / "quant_conv", 2 * latents, 2 * latents, kernel: 1) : nil
    postQuantConv =
      configuration.usePostQuantConv ? Conv2d(weights / "post_quant_conv", latents, latents, kernel: 1) : nil
  }

  /// How many pixels of a picture one latent pixel stands for, along each axis.
  public var scale: Int { 1 << (configuration.blockOutChannels.count - 1) }

  /// pictures [N, inChannels, H, W] in [−1, 1] → latents [N, latentChannels, H/scale, W/scale], not normalised.
  public func encode(_ pictures: Tensor) -> DiagonalGaussianDistribution {
    let moments = encoder(pictures)
    return DiagonalGaussianDistribution(moments: quantConv?(moments) ?? moments)
  }

  /// latents [N, latentChannels, h, w], not normalised → pictures [N, outChannels, scale · h, scale · w] around [−1, 1].
  public func decode(_ latents: Tensor) -> Tensor { decoder(postQuantConv?(latents) ?? latents) }

  /// Latents as the U-Net wants them: of unit variance.
  public func normalized(_ latents: Tensor) -> Tensor {
    let scaling = configuration.scalingFactor
    if let (mean, deviation) = statistics(like: latents) { return (latents - mean) * scaling / deviation }
    return (configuration.shiftFactor.map { latents - $0 } ?? latents) * scaling
  }

  /// The deviation of latents in the unit of `normalized`, which scales and shifts them.
  public func normalizedDeviation(_ deviation: Tensor) -> Tensor {
    let scaled = deviation * configuration.scalingFactor
    return statistics(like: deviation).map { scaled / $0.deviation } ?? scaled
  }

  /// Latents as `decode` wants them; the inverse of `normalized`.
  public func denormalized(_ latents: Tensor) -> Tensor {
    let scaling = configuration.scalingFactor
    if let (mean, deviation) = statistics(like: latents) { return latents * deviation / scaling + mean }
    return configuration.shiftFactor.map { latents / scaling + $0 } ?? latents / scaling
  }

  /// Mean and deviation of each channel of the latents, [1, latentChannels, 1, 1].
  private func statistics(like latents: Tensor) -> (mean: Tensor, deviation: Tensor)? {
    guard let mean = configuration.latentsMean, let deviation = configuration.latentsStd else { return nil }
    func tensor(_ numbers: [Double]) -> Tensor {
      Tensor(numbers, shape: [1, numbers.count, 1, 1]).to(dtype: latents.dtype, device: latents.device)
    }
    return (tensor(mean), tensor(deviation))
  }
}

/// What an encoder says about a picture: a mean and a variance for every latent number
/// (diffusers: models/autoencoders/vae.py DiagonalGaussianDistribution).
public struct DiagonalGaussianDistribution {
  /// What the network gave, [N, 2C, h, w]
  public let moments: Tensor
  /// [N, C, h, w]
  public let mean: Tensor
  /// [N, C, h, w], within [−30, 20]
  public let logVariance: Tensor

  /// - Parameter moments: mean and log-variance [N, 2C, h, w]
  public init(moments: Tensor) {
    self.moments = moments
    let halves = moments.chunked(2, along: 1)
    mean = halves[0]
    logVariance = halves[1].clamped(min: -30, max: 20)
  }

  /// The most likely latents.
  public var mode: Tensor { mean }

  /// Latents drawn with `generator`.
  public func sample(_ generator: Generator) -> Tensor {
    sample(noise: Tensor.randn(mean.shape, generator: generator, dtype: mean.dtype, device: mean.device))
  }

  /// mean + deviation · noise
  public func sample(noise: Tensor) -> Tensor { mean + (logVariance * 0.5).exp() * noise }
}
