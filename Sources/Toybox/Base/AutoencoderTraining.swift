internal import Diffusion
internal import Foundation
internal import OrderedCollections
internal import Torch
internal import Training

/// Trains the AutoencoderKL of the base on pictures of the world.
struct AutoencoderTraining {
  let recipe: BaseRecipe
  let model: AutoencoderKL
  let store: WeightStore

  init(recipe: BaseRecipe) throws {
    self.recipe = recipe
    store = WeightStore(.random(Generator(seed: recipe.autoencoder.seed)))
    model = try AutoencoderKL(BaseFolder.configuration(BaseConfiguration.vae), store.root)
    startWithFaintNoise()
  }

  /// Untrained, the posterior's deviation is 1 and drowns the latents: learning would have to silence it first.
  private func startWithFaintNoise() {
    let channels = model.configuration.latentChannels
    for (name, value) in [("quant_conv.weight", 0.0), ("quant_conv.bias", -6.0)] {
      store.parameters[name]?.narrow(0, from: channels, count: channels).fillInPlace(value)
    }
  }

  /// - Parameter pictures: uint8 [N, 3, 64, 64].
  func run(pictures: Tensor, state: String?, progress: ProgressHandler) throws {
    let loop = TrainingLoop(phase: "training the autoencoder", parameters: store.parameters, options: recipe.autoencoder)
    try loop.run(state: state, identity: recipe.sharedText, progress: progress) {
      let chosen = Tensor.randint(0..<pictures.dim(0), [recipe.autoencoderBatch], generator: loop.generator)
      let isWhole = loop.step >= recipe.autoencoder.steps - recipe.autoencoderWholeSteps
      let batch = isWhole ? pictures.gathered(chosen) : cut(pictures.gathered(chosen), loop.generator)
      return loss(Self.normalized(batch), loop.generator)
    }
    loop.finish()
  }

  /// Trains the decoder further while the latents stay as they are, as Stability AI's sd-vae-ft-mse was made: a UNet trained on
  /// them stays valid. The cut-outs begin where a latent does, unlike those before: a weave of four pixels a thread, which is the
  /// same in every latent, is lost on a decoder that saw it anywhere (the oracle found none of 45 canvases in its pictures).
  ///
  /// - Parameters:
  ///   - pictures: uint8 [N, 3, 64, 64].
  ///   - latents: theirs, unscaled: [N, C, h, w].
  func refineDecoder(pictures: Tensor, latents: Tensor, state: String?, progress: ProgressHandler) throws {
    var parameters: OrderedDictionary<String, Tensor> = [:]
    for (name, parameter) in store.parameters where name.hasPrefix("decoder.") || name.hasPrefix("post_quant_conv.") {
      parameters[name] = parameter
    }
    let factor = pictures.dim(2) / latents.dim(2)
    let loop = TrainingLoop(phase: "refining the decoder", parameters: parameters, options: recipe.decoder)
    try loop.run(state: state, identity: recipe.sharedText, progress: progress) {
      let generator = loop.generator
      let chosen = Tensor.randint(0..<pictures.dim(0), [recipe.autoencoderBatch], generator: generator)
      let side = recipe.autoencoderCrop / factor
      let (top, left) = (generator.int(in: 0..<latents.dim(2) - side + 1), generator.int(in: 0..<latents.dim(3) - side + 1))
      func cut(_ batch: Tensor, _ scale: Int) -> Tensor {
        batch.narrow(2, from: top * scale, count: side * scale).narrow(3, from: left * scale, count: side * scale)
      }
      let wanted = Self.normalized(cut(pictures.gathered(chosen), factor))
      let known = cut(latents.gathered(chosen), 1)
      let decoded = mixedPrecision { model.decode(known) }.to(dtype: .float32)
      return reconstructionLoss(decoded - wanted)
    }
    loop.finish()
  }

  /// The same random square of each picture.
  private func cut(_ pictures: Tensor, _ generator: Generator) -> Tensor {
    let side = recipe.autoencoderCrop
    func start(_ axis: Int) -> Int { generator.int(in: 0..<pictures.dim(axis) - side + 1) }
    let (top, left) = (start(2), start(3))
    return pictures.narrow(2, from: top, count: side).narrow(3, from: left, count: side)
  }

  /// Squared and absolute differences of the reconstruction, and a little divergence from a unit normal.
  private func loss(_ pictures: Tensor, _ generator: Generator) -> Tensor {
    let posterior = mixedPrecision { model.encode(pictures) }
    let mean = posterior.mean.to(dtype: .float32)
    let logVariance = posterior.logVariance.to(dtype: .float32)
    let noise = Tensor.randn(mean.shape, generator: generator)
    let latents = mean + (logVariance * 0.5).exp() * noise
    let decoded = mixedPrecision { model.decode(latents) }.to(dtype: .float32)
    let divergence = (mean.square() + logVariance.exp() - 1 - logVariance).mean() * 0.5
    return reconstructionLoss(decoded - pictures) + divergence * recipe.divergenceWeight
  }

  private func reconstructionLoss(_ difference: Tensor) -> Tensor {
    difference.square().mean() + difference.abs().mean() * recipe.absoluteWeight
  }

  /// Latents of all pictures, unscaled: float32 [N, C, h, w].
  ///
  /// - Throws: `Interrupted`.
  func latents(of pictures: Tensor, progress: ProgressHandler) throws -> Tensor {
    let (count, batch) = (pictures.dim(0), 64)
    var timer = StepTimer()
    return try withoutGrad {
      Tensor.concatenated(
        try stride(from: 0, to: count, by: batch).map { start in
          let end = min(start + batch, count)
          let pixels = Self.normalized(pictures[start..<end])
          let latents = mixedPrecision { model.encode(pixels).mean }.to(dtype: .float32)
          timer.tick()
          let report = ProgressReport(
            phase: "encoding pictures", step: end, total: count,
            secondsPerStep: timer.secondsPerStep.map { $0 / Double(batch) })
          try report.send(to: progress)
          return latents
        })
    }
  }

  /// uint8 → −1 ... 1
  static func normalized(_ pictures: Tensor) -> Tensor { pictures.to(dtype: .float32) / 127.5 - 1 }

  /// Peak signal-to-noise ratio of reconstructions in decibels, per picture and averaged; values 0 ... 255.
  func reconstructionPSNR(of pictures: Tensor) -> Double {
    withoutGrad {
      let values = stride(from: 0, to: pictures.dim(0), by: 64).flatMap { start -> [Float] in
        let batch = pictures[start..<min(start + 64, pictures.dim(0))]
        let decoded = ((model.decode(model.encode(Self.normalized(batch)).mean) + 1) * 127.5).clamped(min: 0, max: 255)
        let error = (decoded.rounded() - batch.to(dtype: .float32)).square().mean([1, 2, 3])
        return (-10 * (error.clamped(min: 1e-3) / (255 * 255)).log() / log(10)).floats()
      }
      return Double(values.reduce(0, +)) / Double(values.count)
    }
  }
}
