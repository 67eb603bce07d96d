public import LoRA
public import Torch

/// What ZipLoRA needs from a diffusion model: its layers, noisy pictures with their prompts, and its prediction for them.
///
/// A call of `prediction` uses whatever branches are on the layers at that moment; ZipLoRA puts them there.
public protocol FidelityProbe {
  /// One batch: noisy latents, timesteps and the prompt's conditioning, say.
  associatedtype Input

  /// The layers of the model by full path.
  var projections: Projections { get }

  /// Those among which each batch is split: `draw` gives this one's part. This one alone where a probe says nothing.
  var processes: ProcessGroup { get }

  /// Whether `draw` also gives inputs of prompts that call all LoRAs up at once, at the index after the last LoRA's. False where a
  /// probe says nothing.
  var hasJointInputs: Bool { get }

  /// A fresh input of LoRA `index`'s own pictures and prompt at random timesteps, all randomness from `generator`.
  func draw(_ index: Int, generator: Generator) throws -> Input

  /// So many of them, whose timesteps lie as evenly as so many can; independent ones where a probe says nothing.
  func draws(_ count: Int, of index: Int, generator: Generator) throws -> [Input]

  /// What the model predicts [N, ...], with gradients if they are recorded.
  func prediction(of input: Input) throws -> Tensor
}

extension FidelityProbe {
  public var processes: ProcessGroup { ProcessGroup() }

  public var hasJointInputs: Bool { false }

  public func draws(_ count: Int, of index: Int, generator: Generator) throws -> [Input] {
    try (0..<count).map { _ in try draw(index, generator: generator) }
  }
}
