public import Diffusion
public import Torch

/// References of several kinds as one: what a LoRA was trained on, and what it draws of other prompts.
public struct JoinedReferences: ReferenceLatents {
  private let parts: [any ReferenceLatents]
  /// Of each picture, the part it is in and its number there.
  private let places: [(part: Int, picture: Int)]
  public let prompts: [String]

  public init(_ parts: [any ReferenceLatents]) {
    self.parts = parts
    places = parts.enumerated().flatMap { part, references in (0..<references.count).map { (part, $0) } }
    prompts = parts.flatMap(\.prompts)
  }

  public func noisy(
    _ indices: [Int], model: DiffusionModel, generator: Generator
  ) -> (latents: Tensor, timesteps: Tensor) {
    let each = indices.map { parts[places[$0].part].noisy([places[$0].picture], model: model, generator: generator) }
    return (Tensor.concatenated(each.map(\.latents)), Tensor.concatenated(each.map(\.timesteps)))
  }

  public func conditioning(_ indices: [Int], model: DiffusionModel) -> Conditioning {
    let each = indices.map { parts[places[$0].part].conditioning([places[$0].picture], model: model) }
    return each.dropFirst().reduce(each[0], +)
  }
}
