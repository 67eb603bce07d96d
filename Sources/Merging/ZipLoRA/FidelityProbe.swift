public import LoRA
public import Torch

/// A fidelity term of Eq 3: what it compares the merged model with.
public enum FidelityTerm: Hashable, Sendable {
  /// A LoRA alone, on its own pictures and prompt; counted in the order in which LoRAs are zipped.
  case lora(Int)
  /// All LoRAs one by one, on prompts that call all of them up.
  case joint
}

/// What ZipLoRA needs from a diffusion model: its layers, noisy pictures with their prompts, and its prediction for them.
///
/// A call of `prediction` uses whatever branches are on the layers at that moment; ZipLoRA puts them there.
public protocol FidelityProbe {
  /// One batch: noisy latents, timesteps and the prompt's conditioning, say.
  associatedtype Input

  /// The layers of the model by full path.
  var projections: Projections { get }

  /// The processes that share each batch; `draw` returns this one's part. By default this process alone.
  var processes: ProcessGroup { get }

  /// Whether there are inputs of the joint term. By default false.
  var hasJointInputs: Bool { get }

  /// A fresh input of a term's pictures and prompt at random timesteps, all randomness from `generator`.
  func draw(of term: FidelityTerm, generator: Generator) throws -> Input

  /// `count` inputs, whose timesteps may be spread evenly. By default they are drawn independently.
  func draws(_ count: Int, of term: FidelityTerm, generator: Generator) throws -> [Input]

  /// What the model predicts [N, ...], with gradients if they are recorded.
  func prediction(of input: Input) throws -> Tensor
}

extension FidelityProbe {
  public var processes: ProcessGroup { ProcessGroup() }

  public var hasJointInputs: Bool { false }

  public func draws(_ count: Int, of term: FidelityTerm, generator: Generator) throws -> [Input] {
    try (0..<count).map { _ in try draw(of: term, generator: generator) }
  }
}
