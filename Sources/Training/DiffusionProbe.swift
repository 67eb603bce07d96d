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
    let term: FidelityTerm
    let pictures: [Int]

    /// The upper left corner, in latents.
    func cropped(height: Int, width: Int) -> Input {
      Input(
        noisy: noisy.cropped(height: height, width: width), timesteps: timesteps, conditioning: conditioning, term: term,
        pictures: pictures)
    }
  }

  public let projections: Projections
  let model: DiffusionModel
  /// Of each LoRA, and last of the joint term where there is one.
  private let references: [any ReferenceLatents]
  public let hasJointInputs: Bool
  /// Text states of each picture of the references; nil where LoRAs change them.
  private let texts: [[Conditioning]]?
  /// Noisy pictures of one draw, of all processes together.
  public let batch: Int
  public let processes: ProcessGroup

  /// - Parameters:
  ///   - references: of each LoRA, in the order in which they are zipped.
  ///   - jointPrompts: that call all of them up. What is asked about them is these references, under these prompts.
  ///   - adaptsText: whether any of the LoRAs has layers in a text encoder.
  ///   - processes: those that split the batch; it has to be a multiple of their number.
  public init(
    _ references: [any ReferenceLatents], jointPrompts: [String] = [], model: DiffusionModel, adaptsText: Bool,
    batch: Int = 1, processes: ProcessGroup = ProcessGroup()
  ) throws {
    hasJointInputs = !jointPrompts.isEmpty
    let joint = RepromptedReferences(JoinedReferences(references), prompts: jointPrompts)
    let references = references + (hasJointInputs ? [joint] : [])
    self.model = model
    self.processes = processes
    self.batch = batch
    self.references = references
    projections = model.projections
    texts = try withTorchErrors {
      guard !adaptsText else { return nil }
      return withoutGrad { references.map { $0.conditionings(model: model) } }
    }
  }

  /// The place of a term's references.
  private func place(of term: FidelityTerm) -> Int {
    switch term {
    case .lora(let index): return index
    case .joint:
      precondition(hasJointInputs, "there are no joint prompts")
      return references.count - 1
    }
  }

  public func draw(of term: FidelityTerm, generator: Generator) throws -> Input {
    try draws(1, of: term, generator: generator)[0]
  }

  /// Each picture about as often, at noise levels that lie evenly: a few draws say more than a few independent ones.
  public func draws(_ count: Int, of term: FidelityTerm, generator: Generator) throws -> [Input] {
    try withTorchErrors {
      let place = place(of: term)
      let references = references[place]
      let pictures = Self.pictures(count * batch, of: references.count, generator: generator)
      let levels = Self.levels(count * batch, generator: generator)
      return (0..<count).map { draw in
        let whole = draw * batch..<(draw + 1) * batch
        let chosen = Array(pictures[whole])
        let (noisy, timesteps) = references.noisy(chosen, levels: Array(levels[whole]), model: model, generator: generator)
        // The whole batch is drawn, so that every process's generator goes on as that of one process would.
        let part = processes.part(of: batch)
        let own = Array(chosen[part])
        let text = texts.map { texts in Conditioning.concatenated(own.map { texts[place][$0] }) }
        return Input(
          noisy: noisy[part], timesteps: timesteps[part], conditioning: text, term: term, pictures: own)
      }
    }
  }

  /// All pictures in one order after another.
  private static func pictures(_ count: Int, of pictures: Int, generator: Generator) -> [Int] {
    let rounds = (count + pictures - 1) / pictures
    return Array((0..<rounds).flatMap { _ in Tensor.randperm(pictures, generator: generator).ints() }.prefix(count))
  }

  /// Numbers in 0..<1, each uniform, of which any that follow each other lie evenly: the multiples of the golden ratio from a
  /// random one on, less their whole parts.
  private static func levels(_ count: Int, generator: Generator) -> [Double] {
    let first = Tensor.rand([1], generator: generator, dtype: .float64).item()
    let ratio = (5.0.squareRoot() - 1) / 2
    return (0..<count).map { (first + Double($0) * ratio).truncatingRemainder(dividingBy: 1) }
  }

  public func prediction(of input: Input) throws -> Tensor {
    try withTorchErrors {
      let text = input.conditioning ?? references[place(of: input.term)].conditioning(input.pictures, model: model)
      return model.prediction(input.noisy, input.timesteps, text)
    }
  }
}

extension Adapter {
  /// Whether it changes a text encoder, so that a prompt has to be encoded anew with it.
  public var adaptsText: Bool { factors.keys.contains { Component(of: $0) != .unet } }
}
