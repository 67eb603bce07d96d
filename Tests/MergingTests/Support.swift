import Foundation
import LoRA
import Merging
import OrderedCollections
import Testing
import Torch

/// A network of three layers that stands for a diffusion model: y = tanh(q x) through k, and a convolution of the picture.
final class ToyModel: FidelityProbe {
  struct Input {
    let tokens: Tensor
    let picture: Tensor
  }

  static let query = "unet.up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
  static let key = "unet.up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_k"
  static let convolution = "unet.down_blocks.0.resnets.0.conv1"
  static let width = 12

  let store: WeightStore
  let query: Linear
  let key: Linear
  let convolution: Conv2d
  /// What the pictures of each LoRA look like, and the joint ones: a direction that their tokens lean to.
  let directions: [Tensor]
  private(set) var predictions = 0
  let hasJointInputs: Bool

  init(dtype: DType = .float32, hasJointInputs: Bool = false) {
    self.hasJointInputs = hasJointInputs
    store = WeightStore(.random(Generator(seed: 11)), dtype: dtype)
    let root = store.root
    query = Linear(root / Self.query, Self.width, 10)
    key = Linear(root / Self.key, 10, 6)
    convolution = Conv2d(root / Self.convolution, 3, 2, kernel: 3, stride: 2, padding: 1)
    let generator = Generator(seed: 12)
    directions = (0..<3).map { _ in Tensor.randn([Self.width], generator: generator, dtype: dtype) * 2 }
  }

  var projections: Projections { store.projections }
  var modules: ModuleNames { ModuleNames(projections) }

  func draw(of term: FidelityTerm, generator: Generator) -> Input {
    let dtype = store.dtype
    let direction =
      switch term {
      case .lora(let index): directions[index]
      case .joint: directions.last!
      }
    return Input(
      tokens: Tensor.randn([2, 5, Self.width], generator: generator, dtype: dtype) + direction,
      picture: Tensor.randn([2, 3, 6, 6], generator: generator, dtype: dtype))
  }

  func prediction(of input: Input) -> Tensor {
    predictions += 1
    let tokens = key(query(input.tokens).tanh()).flattened(from: 1)
    return Tensor.concatenated([tokens, convolution(input.picture).flattened(from: 1)], along: 1)
  }

  /// A LoRA of random numbers for these layers.
  func adapter(
    _ seed: UInt64, rank: Int = 3, alpha: Double = 2,
    paths: [String] = [ToyModel.query, ToyModel.key, ToyModel.convolution]
  ) -> Adapter {
    let generator = Generator(seed: seed)
    var factors: OrderedDictionary<String, LowRankFactors> = [:]
    for path in paths {
      let shape = projections[path]!.weight.shape
      factors[path] = LowRankFactors(
        down: Tensor.randn([rank] + shape.dropFirst(), generator: generator) * 0.4,
        up: Tensor.randn([shape[0], rank] + shape.dropFirst(2).map { _ in 1 }, generator: generator) * 0.4, alpha: alpha)
    }
    return Adapter(factors: factors)
  }

  /// A subject and a style LoRA of different ranks and alphas.
  var pair: [MergeInput] {
    [MergeInput("subject", adapter(1)), MergeInput("style", adapter(2, rank: 2, alpha: 3))]
  }
}

extension Targets {
  static let everything = Targets([.attention, .convolution])
}

/// Coefficients of random numbers around one.
func randomCoefficients(_ model: ToyModel, adapters: Int = 2, seed: UInt64 = 7) -> MergerCoefficients {
  let generator = Generator(seed: seed)
  var vectors: OrderedDictionary<String, MergerCoefficients.Vectors> = [:]
  for (path, projection) in model.projections {
    for index in 0..<adapters {
      vectors[path, default: [:]][index] =
        Tensor.randn([projection.weight.dim(1)], generator: generator, dtype: model.store.dtype) * 0.5 + 1
    }
  }
  return MergerCoefficients(vectors)
}

/// ΔW with every input column times its coefficient, from the dense matrix.
func denselyWeighed(_ delta: Tensor, _ vector: Tensor) -> Tensor {
  delta * vector.to(dtype: delta.dtype).reshaped([1, vector.count] + delta.shape.dropFirst(2).map { _ in 1 })
}
