internal import SafeTensors
internal import Torch
public import Training

/// Everything that decides the Toybox base model: sizes, amounts, rates, seeds. Written beside the weights.
public struct BaseRecipe: Sendable, Codable, Equatable {
  public var architecture: BaseArchitecture
  /// Pictures drawn for the autoencoder and the base.
  public var pictures = 40_000
  public var worldSeed: UInt64 = 1
  public var vocabularySize = 2048

  public var autoencoder = TrainingLoop.Options(
    steps: 6_000, learningRate: LearningRate(peak: 1e-3, shape: .cosine, warmup: 100), weightDecay: 0.001, beta2: 0.99,
    averageDecay: 0.998, seed: 2)
  /// Pixels a side of the cut-outs that the autoencoder learns from, and the last steps, which see whole pictures: what an
  /// autoencoder learns is local, and four times the steps for the same time is worth more than the wider view.
  public var autoencoderCrop = 32
  public var autoencoderWholeSteps = 600
  public var autoencoderBatch = 16
  /// The decoder's further training on finished latents.
  public var decoder = TrainingLoop.Options(
    steps: 12_000, learningRate: LearningRate(peak: 1e-3, shape: .cosine, warmup: 100), weightDecay: 0.001, beta2: 0.99,
    averageDecay: 0.998, seed: 6)
  /// Weight of the divergence from a unit normal; only keeps the latents from running away.
  public var divergenceWeight = 1e-5
  /// Weight of the mean absolute difference beside the squared one: keeps edges sharp.
  public var absoluteWeight = 0.25

  public var base = TrainingLoop.Options(
    steps: 8_000, learningRate: LearningRate(peak: 1.2e-3, shape: .cosine, warmup: 300), weightDecay: 0.01, beta2: 0.99,
    averageDecay: 0.999, seed: 3)
  public var baseBatch = 48
  /// Share of pictures whose caption is left out, for classifier-free guidance.
  public var emptyCaptions = 0.1
  /// γ of min-SNR weighting (arXiv 2303.09556): without it small noise levels, where nothing is decided, take most of the loss.
  public var signalToNoiseLimit = 5.0

  public var oraclePictures = 40_000
  public var oracle = TrainingLoop.Options(
    steps: 6_000, learningRate: LearningRate(peak: 2e-3, shape: .cosine, warmup: 100), weightDecay: 0.02,
    averageDecay: 0.998, seed: 4)
  public var oracleBatch = 64

  public var clip = TrainingLoop.Options(
    steps: 2_000, learningRate: LearningRate(peak: 1e-3, shape: .cosine, warmup: 200), weightDecay: 0.05, beta2: 0.98,
    averageDecay: 0.998, seed: 7)
  public var clipBatch = 64
  /// The average is the teacher.
  public var dino = TrainingLoop.Options(
    steps: 1_500, learningRate: LearningRate(peak: 1e-3, shape: .cosine, warmup: 200), weightDecay: 0.05,
    averageDecay: 0.996, seed: 8)
  public var dinoBatch = 48

  /// Scenes that the finished base is judged on.
  public var evaluationPictures = 256
  public var evaluationSeed: UInt64 = 5

  /// Steps between previews of the unfinished base in the output folder.
  public var previewEvery = 1_000

  public init(architecture: BaseArchitecture = .stableDiffusionXL) {
    self.architecture = architecture
    if architecture == .stableDiffusion1 { base.steps = 6_000 }
  }
}

extension BaseRecipe {
  /// All that decides the weights.
  var text: String {
    get throws {
      var same = self
      (same.previewEvery, same.evaluationPictures, same.evaluationSeed) = (0, 0, 0)
      return try JSONText.compact(same)
    }
  }

  /// All that decides what bases of different architectures share: everything but U-Net and text encoders.
  var sharedText: String {
    get throws {
      var same = self
      let standard = BaseRecipe()
      (same.architecture, same.base, same.baseBatch) = (standard.architecture, standard.base, standard.baseBatch)
      (same.emptyCaptions, same.signalToNoiseLimit) = (standard.emptyCaptions, standard.signalToNoiseLimit)
      return try same.text
    }
  }
}
