public import Torch

/// A request for pictures, of any family of models.
///
/// ```swift
/// let model = try DiffusionModel(folder: "stable-diffusion-xl-base-1.0", dtype: .bfloat16)
/// let request = TextToImage(prompts: ["a sbu cat in szn style"], sampler: .dpmSolverMultistep, steps: 25, seed: 7)
/// let pictures = try request.generate(with: model) { state in print("\(state.step) of \(state.total)") }
/// ```
///
/// Picture i of a prompt starts from `torch.randn(1, C, h, w)` of a generator with the seed `seed` + i, in the model's type, and
/// ancestral samplers go on with that generator: it is the picture that diffusers makes with this seed alone (to rounding),
/// however many pictures and prompts there are.
public struct TextToImage: Sendable {
  public var prompts: [String]
  /// What pictures should not show; nil for nothing in particular.
  public var negativePrompt: String?
  public var sampler: Sampler
  public var steps: Int
  /// How much further to go than the prompt alone asks for; none up to 1.
  public var guidance: Double
  /// How far what guidance adds to the spread of the network's predictions is taken back, 0...1 (`Guidance.Rescaling`).
  public var guidanceRescale: Double
  /// In pixels; nil for the size that the model was trained on.
  public var width: Int?
  public var height: Int?
  /// What SDXL is told about sizes; nil for a photograph of the size of the picture.
  public var sizes: SizeConditioning?
  public var seed: UInt64
  /// Pictures of each prompt.
  public var count: Int

  public init(
    prompts: [String], negativePrompt: String? = nil, sampler: Sampler = .euler, steps: Int = 50, guidance: Double = 5,
    guidanceRescale: Double = 0, width: Int? = nil, height: Int? = nil, sizes: SizeConditioning? = nil, seed: UInt64 = 0,
    count: Int = 1
  ) {
    self.prompts = prompts
    self.negativePrompt = negativePrompt
    self.sampler = sampler
    self.steps = steps
    self.guidance = guidance
    self.guidanceRescale = guidanceRescale
    self.width = width
    self.height = height
    self.sizes = sizes
    self.seed = seed
    self.count = count
  }

  /// How many pictures are asked for: `count` of the first prompt, then of the next.
  public var total: Int { prompts.count * count }

  /// What picture i of all is drawn from.
  public func source(_ picture: Int) -> (prompt: String, seed: UInt64) {
    (prompts[picture / count], seed &+ UInt64(picture % count))
  }

  /// Makes pictures, all at once.
  ///
  /// - Parameters:
  ///   - pictures: which of the `total`; all when nil.
  ///   - variants: states of the model whose guesses are mixed in every step; the model as it is when empty.
  ///   - observer: sees the latents before each step and after the last one; what it throws ends the work.
  /// - Returns: [pictures, 3, height, width] in [0, 1], float32
  /// - Throws: `TextToImageError`, `SamplingError`, `TorchError` where memory is short, and what the observer throws.
  public func generate(
    with model: DiffusionModel, pictures: Range<Int>? = nil, variants: [any ModelVariant] = [],
    observer: SamplingObserver? = nil
  ) throws -> Tensor {
    let latents = try latents(with: model, pictures: pictures, variants: variants, observer: observer)
    return try withTorchErrors { withoutGrad { model.decode(latents) } }
  }

  /// The pictures before they are decoded, [pictures, C, height / scale, width / scale] of unit variance.
  public func latents(
    with model: DiffusionModel, pictures: Range<Int>? = nil, variants: [any ModelVariant] = [],
    observer: SamplingObserver? = nil
  ) throws -> Tensor {
    guard !prompts.isEmpty else { throw TextToImageError.noPrompts }
    guard count > 0 else { throw TextToImageError.count(count) }
    let (width, height) = try model.pictureSize(width: width, height: height)
    let plan = try withTorchErrors { try sampler.plan(model.schedule, steps: steps) }
    let sources = (pictures ?? 0..<total).map(source)
    let noiseSource = NoiseSource(sources.map { Generator(seed: $0.seed) }, dtype: model.dtype)
    let denoiser = try withTorchErrors {
      withoutGrad {
        func denoiser() -> any Denoiser { makeDenoiser(model, prompts: sources.map(\.prompt), height: height, width: width) }
        return variants.isEmpty ? denoiser() : VariantMixture(variants, denoiser: denoiser)
      }
    }
    return try withTorchErrors {
      let noise = noiseSource(
        [model.unet.configuration.inChannels, height / model.vae.scale, width / model.vae.scale], device: model.device)
      return try sampler.sample(denoiser, noise: noise, plan: plan, fresh: noiseSource, observer: observer)
    }
  }

  /// - Parameter prompts: one a picture.
  private func makeDenoiser(_ model: DiffusionModel, prompts: [String], height: Int, width: Int) -> any Denoiser {
    let sizes = sizes ?? SizeConditioning(height: height, width: width)
    let conditional = model.conditioning(prompts, sizes: sizes)
    guard guidance > 1 else { return model.denoiser(conditional) }
    let unconditional = model.unconditional(negativePrompt, count: prompts.count, sizes: sizes)
    return Guidance(
      model.denoiser(.concatenated([unconditional, conditional])), scale: guidance,
      rescaling: guidanceRescale == 0
        ? nil : .init(share: guidanceRescale, predictionType: model.schedule.configuration.predictionType))
  }
}

extension DiffusionModel {
  /// Width and height of pictures in pixels, whole numbers of latent ones.
  ///
  /// - Parameters:
  ///   - width: nil for the one that the model was trained on.
  ///   - height: nil for the one that the model was trained on.
  /// - Throws: `TextToImageError.size`.
  public func pictureSize(width: Int?, height: Int?) throws(TextToImageError) -> (width: Int, height: Int) {
    let scale = vae.scale
    let trained: (height: Int, width: Int) =
      switch unet.configuration.sampleSize {
      case .one(let side): (side, side)
      case .many(let sides) where sides.count == 2: (sides[0], sides[1])
      default: (64, 64)
      }
    let size = (width: width ?? trained.width * scale, height: height ?? trained.height * scale)
    for (axis, pixels) in [("height", size.height), ("width", size.width)] {
      guard pixels > 0, pixels % scale == 0 else { throw .size(axis: axis, found: pixels, multiple: scale) }
    }
    return size
  }
}

/// A request that no model can fulfil.
public enum TextToImageError: Error, CustomStringConvertible, Equatable {
  case noPrompts
  case count(Int)
  case size(axis: String, found: Int, multiple: Int)

  public var description: String {
    switch self {
    case .noPrompts: "there is no prompt; expected at least one"
    case .count(let count): "the number of pictures is \(count); expected at least 1"
    case .size(let axis, let found, let multiple):
      "the \(axis) is \(found) pixels; expected a multiple of \(multiple), such as "
        + "\(max(multiple, (found + multiple / 2) / multiple * multiple))"
    }
  }
}
