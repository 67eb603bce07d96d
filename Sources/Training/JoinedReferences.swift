public import Diffusion
public import Torch

/// References of several kinds as one: what a LoRA was trained on, and what it draws of other prompts.
public struct JoinedReferences: ReferenceLatents {
  private let parts: [any ReferenceLatents]
  /// Of each picture, the part it is in and its number there.
  private let places: [(part: Int, picture: Int)]
  public let prompts: [String]
  public let sizes: [SizeConditioning]

  public init(_ parts: [any ReferenceLatents]) {
    self.parts = parts
    places = parts.enumerated().flatMap { part, references in (0..<references.count).map { (part, $0) } }
    prompts = parts.flatMap(\.prompts)
    sizes = parts.flatMap(\.sizes)
  }

  public func noisy(
    _ indices: [Int], levels: [Double], model: DiffusionModel, generator: Generator
  ) -> (latents: Tensor, timesteps: Tensor) {
    let each = zip(indices, levels).map { index, level in
      parts[places[index].part].noisy([places[index].picture], levels: [level], model: model, generator: generator)
    }
    return (Tensor.concatenated(each.map(\.latents)), Tensor.concatenated(each.map(\.timesteps)))
  }
}

/// The same pictures under other prompts, each under each.
struct RepromptedReferences: ReferenceLatents {
  private let pictures: any ReferenceLatents
  let prompts: [String]
  let sizes: [SizeConditioning]

  init(_ pictures: any ReferenceLatents, prompts: [String]) {
    self.pictures = pictures
    self.prompts = prompts.flatMap { Array(repeating: $0, count: pictures.count) }
    sizes = prompts.flatMap { _ in pictures.sizes }
  }

  func noisy(
    _ indices: [Int], levels: [Double], model: DiffusionModel, generator: Generator
  ) -> (latents: Tensor, timesteps: Tensor) {
    pictures.noisy(indices.map { $0 % pictures.count }, levels: levels, model: model, generator: generator)
  }
}
