internal import Diffusion
internal import LoRA
internal import Merging
internal import OrderedCollections
internal import Torch

/// A model to measure: a published architecture with random weights, or one from a folder.
struct BenchmarkModel {
  /// What is needed of it; the rest takes no memory.
  struct Parts: OptionSet {
    let rawValue: Int

    static let unet = Parts(rawValue: 1)
    static let autoencoder = Parts(rawValue: 2)
    static let all: Parts = [.unet, .autoencoder]
  }

  let unet: UNet2DConditionModel
  let vae: AutoencoderKL
  /// Of the U-Net.
  let projections: Projections
  let dtype: DType
  let device: Device
  /// Pixels of a picture beside each other that are one latent.
  let pixelsPerLatent: Int
  private let pool: NumberPool

  init(_ name: String, dtype: DType, device: Device, parts: Parts, seed: UInt64) throws {
    (self.dtype, self.device) = (dtype, device)
    pool = NumberPool(dtype: dtype, device: device, generator: Generator(seed: seed))
    let store: WeightStore
    if let configuration = Self.published[name] {
      store = WeightStore(.shapes, dtype: dtype, device: device)
      unet = try UNet2DConditionModel(configuration, store.root)
      if parts.contains(.unet) { pool.fill(store.parameters) }
      let autoencoder = WeightStore(.shapes, dtype: dtype, device: device)
      vae = try AutoencoderKL(.init(), autoencoder.root)
      if parts.contains(.autoencoder) { pool.fill(autoencoder.parameters) }
    } else {
      let checkpoint = try Checkpoint(path: name)
      (unet, store) = try checkpoint.unet(dtype: dtype, device: device)
      vae = try checkpoint.vae(dtype: dtype, device: device).0
    }
    pixelsPerLatent = vae.scale
    projections = .joining([(.unet, store.projections)])
  }

  /// The settings of stabilityai/stable-diffusion-xl-base-1.0 and of Stable Diffusion 1.5.
  private static var published: OrderedDictionary<String, UNet2DConditionModel.Configuration> {
    let attention = UNet2DConditionModel.DownBlockType.crossAttnDownBlock2D
    let upAttention = UNet2DConditionModel.UpBlockType.crossAttnUpBlock2D
    return [
      "sdxl": .init(),
      "sd15": .init(
        sampleSize: 64, downBlockTypes: [attention, attention, attention, .downBlock2D],
        upBlockTypes: [.upBlock2D, upAttention, upAttention, upAttention], blockOutChannels: [320, 640, 1280, 1280],
        crossAttentionDim: 768, transformerLayersPerBlock: 1, attentionHeadDim: 8, useLinearProjection: false,
        additionEmbedType: nil, additionTimeEmbedDim: nil, projectionClassEmbeddingsInputDim: nil),
    ]
  }

  /// Height and width of a square picture in latents.
  ///
  /// - Parameter pixels: nil for the size that the model was trained on.
  /// - Throws: `SizeError` for a size that is not a whole number of latents.
  func latentSize(_ pixels: Int?) throws -> Int {
    guard let pixels else { return unet.configuration.sampleSize?.numbers[0] ?? 64 }
    guard pixels > 0, pixels % pixelsPerLatent == 0 else { throw SizeError(pixels: pixels, step: pixelsPerLatent) }
    return pixels / pixelsPerLatent
  }

  /// Random LoRAs, each with a tenth of the spread of the weights.
  ///
  /// - Parameter layers: attention projections that they change, evenly spread; all when nil.
  func adapters(rank: Int, count: Int, layers: Int?) throws -> [MergeInput] {
    let all = try Targets.attention.paths(in: ModuleNames(projections))
    let wanted = min(layers ?? all.count, all.count)
    let paths = (0..<wanted).map { all[$0 * all.count / wanted] }
    return (1...count).map { number in
      let factors = paths.map { path in
        let (outputs, inputs) = (projections[path]!.weightShape[0], projections[path]!.weightShape[1])
        let down = pool.piece([rank, inputs], bound: 1 / Double(inputs).squareRoot())
        let up = pool.piece([outputs, rank], bound: 0.1 / Double(rank).squareRoot())
        return (path, LowRankFactors(down: down, up: up, alpha: Double(rank)))
      }
      return MergeInput("LoRA \(number)", Adapter(factors: OrderedDictionary(uniqueKeysWithValues: factors)))
    }
  }
}

/// Uniform random numbers that are drawn once and used many times: billions of weights in a second, each tensor in memory of
/// its own and unlike the others.
final class NumberPool {
  /// In [−1, 1).
  private let numbers: Tensor
  private var next = 0
  /// More than the largest weight of SDXL has, a 3×3 convolution from 2560 to 1280 channels.
  private static let count = 1 << 25

  init(dtype: DType, device: Device, generator: Generator) {
    numbers = (Tensor.rand([Self.count], generator: generator) * 2 - 1).to(dtype: dtype, device: device)
  }

  /// A tensor of numbers in ±bound.
  func piece(_ shape: [Int], bound: Double) -> Tensor {
    let count = shape.reduce(1, *)
    precondition(count <= Self.count, "a weight of \(shape) is larger than the pool")
    next = (next + 1_000_003) % (Self.count - count + 1)
    return (numbers.narrow(0, from: next, count: count) * bound).reshaped(shape)
  }

  /// Weights as PyTorch starts layers, so that numbers stay finite through the network.
  func fill(_ parameters: OrderedDictionary<String, Tensor>) {
    for (path, parameter) in parameters {
      if parameter.rank > 1 {
        let inputs = parameter.shape.dropFirst().reduce(1, *)
        parameter.copyInPlace(piece(parameter.shape, bound: 1 / Double(inputs).squareRoot()))
      } else {
        parameter.fillInPlace(path.hasSuffix(".weight") ? 1 : 0)
      }
    }
  }
}

struct SizeError: Error, CustomStringConvertible {
  let pixels: Int
  let step: Int

  var description: String { "a size of \(pixels) pixels: expected a positive multiple of \(step)" }
}
