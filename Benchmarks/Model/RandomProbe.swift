internal import Diffusion
internal import LoRA
internal import Merging
internal import OrderedCollections
internal import Torch
internal import Training

/// Random latents, timesteps and prompts.
final class RandomProbe: FidelityProbe {
  struct Input {
    let noisy: Tensor
    let timesteps: Tensor
    let conditioning: Conditioning
  }

  let projections: Projections
  private let model: BenchmarkModel
  /// Height and width in latents.
  private let size: Int
  private let batch: Int
  /// Of CLIP's text encoders.
  private static let tokens = 77

  init(_ model: BenchmarkModel, size: Int, batch: Int) {
    self.model = model
    self.size = size
    self.batch = batch
    projections = model.projections
  }

  func draw(of term: FidelityTerm, generator: Generator) -> Input {
    let settings = model.unet.configuration
    let side = size * model.pixelsPerLatent
    // The prompt of a LoRA is the same in all draws.
    let texts = Generator(seed: term == .lora(0) ? 1 : 2)
    func noise(_ shape: [Int], _ generator: Generator = generator) -> Tensor {
      Tensor.randn(shape, generator: generator).to(dtype: model.dtype, device: model.device)
    }
    let added = settings.projectionClassEmbeddingsInputDim.map { all in
      (
        textEmbeds: noise([batch, all - 6 * (settings.additionTimeEmbedDim ?? 0)], texts),
        timeIds: Tensor([side, side, 0, 0, side, side], shape: [1, 6]).to(device: model.device).tiled([batch, 1])
      )
    }
    return Input(
      noisy: noise([batch, settings.inChannels, size, size]),
      timesteps: Tensor.randint(0..<1000, [batch], generator: generator).to(device: model.device),
      conditioning: Conditioning(states: noise([batch, Self.tokens, settings.crossAttentionDim.numbers[0]], texts), added: added))
  }

  func prediction(of input: Input) -> Tensor {
    model.unet(
      sample: input.noisy, timestep: input.timesteps, encoderHiddenStates: input.conditioning.states,
      addedConditions: input.conditioning.added
    ).to(dtype: .float32)
  }

  func memoryPlan(of zipper: ZipLoRA, budget: Int) throws -> MemoryPlan {
    try MemoryPlan(of: zipper, model.unet, projections: projections, latents: (size, size), budget: budget) { side, _ in
      let small = RandomProbe(model, size: side, batch: batch)
      return small.prediction(of: small.draw(of: .lora(0), generator: Generator(seed: 0)))
    }
  }
}
