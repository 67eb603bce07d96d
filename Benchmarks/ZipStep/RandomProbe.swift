internal import Diffusion
internal import LoRA
internal import Merging
internal import OrderedCollections
internal import Torch

/// Random latents, timesteps and prompts, and the clock of the forward passes.
final class RandomProbe: FidelityProbe {
  struct Input {
    let noisy: Tensor
    let timesteps: Tensor
    let conditioning: Conditioning
  }

  let projections: Projections
  /// What predictions have taken since this was last set to 0.
  var seconds = 0.0
  private let model: BenchmarkModel
  private let size: (height: Int, width: Int)
  /// Of CLIP's text encoders.
  private static let tokens = 77

  init(_ model: BenchmarkModel, size: (height: Int, width: Int)) {
    self.model = model
    self.size = size
    projections = model.projections
  }

  func draw(_ index: Int, generator: Generator) -> Input {
    let settings = model.unet.configuration
    func noise(_ shape: [Int]) -> Tensor {
      Tensor.randn(shape, generator: generator).to(dtype: model.dtype, device: model.device)
    }
    let sides = [size.height, size.width].map { $0 * model.pixelsPerLatent }
    let added = settings.projectionClassEmbeddingsInputDim.map { all in
      (
        textEmbeds: noise([1, all - 6 * (settings.additionTimeEmbedDim ?? 0)]),
        timeIds: Tensor(sides + [0, 0] + sides, shape: [1, 6]).to(device: model.device)
      )
    }
    return Input(
      noisy: noise([1, settings.inChannels, size.height, size.width]),
      timesteps: Tensor.randint(0..<1000, [1], generator: generator).to(device: model.device),
      conditioning: Conditioning(states: noise([1, Self.tokens, settings.crossAttentionDim.numbers[0]]), added: added))
  }

  func prediction(of input: Input) -> Tensor {
    let clock = ContinuousClock()
    let began = clock.now
    defer { seconds += (clock.now - began) / .seconds(1) }
    return model.unet(
      sample: input.noisy, timestep: input.timesteps, encoderHiddenStates: input.conditioning.states,
      addedConditions: input.conditioning.added
    ).to(dtype: .float32)
  }
}
