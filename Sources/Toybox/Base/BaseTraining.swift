internal import Diffusion
internal import OrderedCollections
internal import Tokenization
internal import Torch
internal import Training

/// Trains U-Net and text encoders of the base together on latents and captions of the world.
struct BaseTraining {
  /// One text encoder with its folder and what is written there.
  struct TextEncoder {
    let folder: String
    let configuration: String
    let model: CLIPTextModel
    let store: WeightStore
  }

  let recipe: BaseRecipe
  let unet: UNet2DConditionModel
  let unetStore: WeightStore
  let textEncoders: [TextEncoder]

  init(recipe: BaseRecipe, tokenizer: CLIPTokenizer) throws {
    self.recipe = recipe
    let generator = Generator(seed: recipe.base.seed)
    unetStore = WeightStore(.random(generator))
    unet = try UNet2DConditionModel(BaseFolder.configuration(recipe.architecture.unet), unetStore.root)
    textEncoders = try zip(recipe.architecture.family.textEncoders, recipe.architecture.textEncoders).map { parts, encoder in
      let configuration = encoder.configuration(vocabulary: tokenizer.count, end: tokenizer.eosTokenID)
      let store = WeightStore(.random(generator))
      return try TextEncoder(
        folder: parts.encoder, configuration: configuration,
        model: CLIPTextModel(BaseFolder.configuration(configuration), store.root), store: store)
    }
    // Cross-attention sees the text encoder's residual stream, not a normalised one: with CLIP's 0.02 the prompt
    // would be too faint to learn from for thousands of steps.
    for encoder in textEncoders {
      for (path, parameter) in encoder.store.parameters where path.hasSuffix("token_embedding.weight") {
        parameter.copyInPlace(Tensor.randn(parameter.shape, generator: generator) * 0.7)
      }
    }
    startBlocksAtZero()
  }

  /// Every block begins as the identity and the prediction as zero (arXiv 2105.05233, guided-diffusion's zero_module):
  /// gradients reach all of the network from the first step on.
  private func startBlocksAtZero() {
    let last = [".conv2.", ".proj_out.", ".to_out.0.", ".ff.net.2.", "conv_out."]
    for (path, parameter) in unetStore.parameters where last.contains(where: { path.contains($0) }) {
      parameter.zeroInPlace()
    }
  }

  var parameters: OrderedDictionary<String, Tensor> {
    var all: OrderedDictionary<String, Tensor> = [:]
    for (component, store) in [("unet", unetStore)] + textEncoders.map({ ($0.folder, $0.store) }) {
      for (path, parameter) in store.parameters { all["\(component).\(path)"] = parameter }
    }
    return all
  }

  /// - Parameters:
  ///   - latents: scaled latents [N, C, h, w].
  ///   - captions: token ids [N, L].
  ///   - emptyCaption: token ids [L] of the empty prompt.
  /// - Returns: the loss of every step.
  func run(
    latents: Tensor, captions: Tensor, emptyCaption: Tensor, state: String?, progress: ProgressHandler,
    afterStep: (Int, MovingAverage?) throws -> Void
  ) throws -> [Float] {
    let loop = TrainingLoop(phase: "training the base", parameters: parameters, options: recipe.base)
    let schedule = NoiseSchedule.stableDiffusion
    // min-SNR: of the noise prediction's loss, weight min(SNR, γ) / SNR.
    let signal = schedule.alphasCumprod
    let ratio = signal / (1 - signal)
    let weights = ratio.clamped(max: recipe.signalToNoiseLimit) / ratio
    try loop.run(
      state: state, identity: recipe.text, progress: progress, afterStep: { try afterStep($0, loop.average) },
      loss: {
        let count = recipe.baseBatch
        let generator = loop.generator
        let chosen = Tensor.randint(0..<latents.dim(0), [count], generator: generator)
        let dropped = Tensor.rand([count, 1], generator: generator) .< recipe.emptyCaptions
        let ids = dropped.choose(emptyCaption.unsqueezed(0), captions.gathered(chosen))
        let timesteps = Tensor.randint(0..<signal.dim(0), [count], generator: generator)
        let clean = latents.gathered(chosen)
        let noise = Tensor.randn(clean.shape, generator: generator)
        let noisy = schedule.addNoise(noise, to: clean, at: timesteps)
        let predicted = mixedPrecision { predict(noisy, timesteps, ids) }
        let error = (predicted.to(dtype: .float32) - noise).square().mean([1, 2, 3])
        return (error * weights.gathered(timesteps)).mean()
      })
    loop.finish()
    return loop.losses
  }

  /// The noise in `noisy` as the family's pipeline would ask for it.
  private func predict(_ noisy: Tensor, _ timesteps: Tensor, _ ids: Tensor) -> Tensor {
    let family = recipe.architecture.family
    let (states, textEmbeds) = family.combine(textEncoders.map { $0.model(ids) }, family.clipSkip)
    let size = Tensor([64, 64, 0, 0, 64, 64] as [Float]).unsqueezed(0).expanded([noisy.dim(0), 6])
    return unet(
      sample: noisy, timestep: timesteps, encoderHiddenStates: states, addedConditions: textEmbeds.map { ($0, size) })
  }
}
