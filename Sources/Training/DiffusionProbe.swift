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

    /// The upper left corner, in latents.
    func cropped(_ height: Int, _ width: Int) -> Input {
      Input(
        noisy: noisy.cropped(height, width), timesteps: timesteps, conditioning: conditioning, lora: lora,
        pictures: pictures)
    }
  }

  public let projections: Projections
  let model: DiffusionModel
  /// Of each LoRA, and of all together.
  private let references: [any ReferenceLatents]
  public let hasJointInputs: Bool
  /// Text states of each picture of each LoRA; nil where LoRAs change them.
  private let texts: [[Conditioning]]?
  /// Noisy pictures of one draw, of all processes together.
  public let batch: Int
  public let processes: ProcessGroup

  /// - Parameters:
  ///   - references: of each LoRA, in the order in which they are zipped.
  ///   - joint: of prompts that call all of them up.
  ///   - adaptsText: whether any of the LoRAs has layers in a text encoder.
  ///   - processes: those that split the batch; it has to be a multiple of their number.
  public init(
    _ references: [any ReferenceLatents], joint: (any ReferenceLatents)? = nil, model: DiffusionModel, adaptsText: Bool,
    batch: Int = 1, processes: ProcessGroup = ProcessGroup()
  ) throws {
    let references = references + (joint.map { [$0] } ?? [])
    hasJointInputs = joint != nil
    self.model = model
    self.processes = processes
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
      // The whole batch is drawn, so that every process's generator goes on as that of one process would.
      let part = processes.part(of: batch)
      let own = Array(chosen[part])
      let text = texts.map { texts in own.dropFirst().reduce(texts[index][own[0]]) { $0 + texts[index][$1] } }
      return Input(
        noisy: noisy[part], timesteps: timesteps[part], conditioning: text, lora: index, pictures: own)
    }
  }

  public func prediction(of input: Input) throws -> Tensor {
    try withTorchErrors {
      let text = input.conditioning ?? references[input.lora].conditioning(input.pictures, model: model)
      return model.prediction(input.noisy, input.timesteps, text)
    }
  }
}
