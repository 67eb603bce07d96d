public import Diffusion
public import LoRA
public import Merging
public import OrderedCollections
public import Torch

/// What ZipLoRA asks of a diffusion model: noisy latents of each LoRA's own pictures at uniform timesteps, and the model's
/// prediction for them.
public struct DiffusionProbe: FidelityProbe {
  public struct Input {
    let noisy: Tensor
    let timesteps: Tensor
    /// Computed anew in each prediction when nil.
    let conditioning: Conditioning?
    let lora: Int
    let pictures: [Int]
  }

  public let projections: Projections
  private let model: DiffusionModel
  private let caches: [LatentCache]
  /// Text states of each picture of each LoRA; nil where LoRAs change them.
  private let texts: [[Conditioning]]?
  /// Noisy pictures of one draw.
  public let batch: Int

  /// - Parameters:
  ///   - pictures: of each LoRA, in the order in which they are zipped.
  ///   - adaptsText: whether any of the LoRAs has layers in a text encoder.
  public init(_ pictures: [LatentCache], model: DiffusionModel, adaptsText: Bool, batch: Int = 1) throws {
    self.model = model
    self.batch = batch
    caches = pictures
    projections = model.projections
    texts = try withTorchErrors {
      guard !adaptsText else { return nil }
      return withoutGrad { pictures.map { cache in (0..<cache.count).map { cache.conditioning([$0], model: model) } } }
    }
  }

  public func draw(_ index: Int, generator: Generator) throws -> Input {
    try withTorchErrors {
      let cache = caches[index]
      let chosen = Tensor.randint(0..<cache.count, [batch], generator: generator).ints()
      let clean = cache.latents(chosen, generator: generator)
      let timesteps = Tensor.randint(0..<model.schedule.count, [batch], generator: generator).to(device: clean.device)
      let noise = Tensor.randn(clean.shape, generator: generator, device: clean.device)
      let text = texts.map { texts in chosen.dropFirst().reduce(texts[index][chosen[0]]) { $0 + texts[index][$1] } }
      return Input(
        noisy: model.schedule.addNoise(clean, noise, timesteps), timesteps: timesteps, conditioning: text, lora: index,
        pictures: chosen)
    }
  }

  public func prediction(of input: Input) throws -> Tensor {
    try withTorchErrors {
      let text = input.conditioning ?? caches[input.lora].conditioning(input.pictures, model: model)
      return model.prediction(input.noisy, input.timesteps, text)
    }
  }
}
