public import Diffusion
public import Torch

/// What a LoRA is asked about when it is zipped: noisy latents of what it shows, and the prompts that go with them.
public protocol ReferenceLatents {
  /// Of each picture.
  var prompts: [String] { get }

  /// These pictures, each at a noise level that the generator chooses.
  ///
  /// - Returns: latents [N, C, h, w] as the network sees them, and timesteps [N].
  func noisy(_ indices: [Int], model: DiffusionModel, generator: Generator) -> (latents: Tensor, timesteps: Tensor)

  /// What the U-Net is told about these pictures, in order.
  func conditioning(_ indices: [Int], model: DiffusionModel) -> Conditioning
}

extension ReferenceLatents {
  /// How many pictures there are.
  public var count: Int { prompts.count }
}

extension LatentCache: ReferenceLatents {
  /// With fresh noise at uniform timesteps.
  public func noisy(
    _ indices: [Int], model: DiffusionModel, generator: Generator
  ) -> (latents: Tensor, timesteps: Tensor) {
    let clean = latents(indices, generator: generator)
    let timesteps = Tensor.randint(0..<model.schedule.count, [indices.count], generator: generator)
      .to(device: clean.device)
    let noise = Tensor.randn(clean.shape, generator: generator, device: clean.device)
    return (model.schedule.addNoise(clean, noise, timesteps), timesteps)
  }
}
