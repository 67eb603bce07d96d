public import Diffusion
public import Torch

/// What a LoRA is asked about when it is zipped: noisy latents of what it shows, and the prompts that go with them.
public protocol ReferenceLatents {
  /// Of each picture.
  var prompts: [String] { get }

  /// What SDXL is told about the size of each picture.
  var sizes: [SizeConditioning] { get }

  /// These pictures with noise.
  ///
  /// - Parameters:
  ///   - levels: how far along all timesteps that there are, 0..<1, for each picture.
  ///   - generator: of everything else.
  /// - Returns: latents [N, C, h, w] as the network sees them, and timesteps [N].
  func noisy(
    _ indices: [Int], levels: [Double], model: DiffusionModel, generator: Generator
  ) -> (latents: Tensor, timesteps: Tensor)
}

extension ReferenceLatents {
  /// How many pictures there are.
  public var count: Int { prompts.count }

  /// What the U-Net is told about these pictures, in order.
  public func conditioning(_ indices: [Int], model: DiffusionModel) -> Conditioning {
    .concatenated(indices.map { model.conditioning([prompts[$0]], sizes: sizes[$0]) })
  }

  /// The same of every picture by itself. Those of one prompt and one size have it in common.
  func conditionings(model: DiffusionModel) -> [Conditioning] {
    var known: [String: [(size: SizeConditioning, conditioning: Conditioning)]] = [:]
    return (0..<count).map { picture in
      let (prompt, size) = (prompts[picture], sizes[picture])
      if let found = known[prompt]?.first(where: { $0.size == size }) { return found.conditioning }
      let conditioning = conditioning([picture], model: model)
      known[prompt, default: []].append((size, conditioning))
      return conditioning
    }
  }
}

extension LatentCache: ReferenceLatents {
  /// With fresh noise.
  public func noisy(
    _ indices: [Int], levels: [Double], model: DiffusionModel, generator: Generator
  ) -> (latents: Tensor, timesteps: Tensor) {
    let clean = latents(indices, generator: generator)
    let timesteps = Tensor(levels.map { Int($0 * Double(model.schedule.count)) }).to(device: clean.device)
    let noise = Tensor.randn(clean.shape, generator: generator, device: clean.device)
    return (model.schedule.addNoise(noise, to: clean, at: timesteps), timesteps)
  }
}
