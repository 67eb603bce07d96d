public import Diffusion
public import LoRA
public import Merging
public import OrderedCollections
public import Torch

/// What ZipLoRA asks of a diffusion model: noisy latents of what each LoRA shows, and the model's prediction for them.
public struct DiffusionProbe: FidelityProbe {
  public struct Input {
    let noisy: Tensor
    let timesteps: Tensor
    /// Computed anew in each prediction when nil.
    let conditioning: Conditioning?
    let lora: Int
    let pictures: [Int]
  }

  public let projections: Projections
  private let model: DiffusionModel
  private let references: [any ReferenceLatents]
  /// Text states of each picture of each LoRA; nil where LoRAs change them.
  private let texts: [[Conditioning]]?
  /// Noisy pictures of one draw.
  public let batch: Int

  /// - Parameters:
  ///   - references: of each LoRA, in the order in which they are zipped.
  ///   - adaptsText: whether any of the LoRAs has layers in a text encoder.
  public init(
    _ references: [any ReferenceLatents], model: DiffusionModel, adaptsText: Bool, batch: Int = 1
  ) throws {
    self.model = model
    self.batch = batch
    self.references = references
    projections = model.projections
    texts = try withTorchErrors {
      guard !adaptsText else { return nil }
      return withoutGrad { references.map { all in (0..<all.count).map { all.conditioning([$0], model: model) } } }
    }
  }

  public func draw(_ index: Int, generator: Generator) throws -> Input {
    try withTorchErrors {
      let chosen = Tensor.randint(0..<references[index].count, [batch], generator: generator).ints()
      let (noisy, timesteps) = references[index].noisy(chosen, model: model, generator: generator)
      let text = texts.map { texts in chosen.dropFirst().reduce(texts[index][chosen[0]]) { $0 + texts[index][$1] } }
      return Input(
        noisy: noisy, timesteps: timesteps, conditioning: text, lora: index, pictures: chosen)
    }
  }

  public func prediction(of input: Input) throws -> Tensor {
    try withTorchErrors {
      let text = input.conditioning ?? references[input.lora].conditioning(input.pictures, model: model)
      return model.prediction(input.noisy, input.timesteps, text)
    }
  }
}
