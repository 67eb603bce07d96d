internal import Diffusion
internal import LoRA
internal import OrderedCollections
internal import SafeTensors
internal import Tokenization
internal import Torch
public import Training

/// `ziplora predict`, for developers: the noise prediction for a random sample with its inputs, to be compared with that of
/// diffusers (Scripts/check_consumers.py; keys as in Tests/Goldens/SCHEMA.md, adapters).
public struct PredictNoise: Workflow {
  public static let name = "predict"

  public var base: BaseModel
  public var loras: [WeightedFile]
  public var prompt: String
  public var seed: UInt64
  public var output: String
  public var overwrite: Bool

  public init(
    base: BaseModel, loras: [WeightedFile], prompt: String, seed: UInt64 = 0, output: String, overwrite: Bool = false
  ) {
    self.base = base
    self.loras = loras
    self.prompt = prompt
    self.seed = seed
    self.output = output
    self.overwrite = overwrite
  }

  public func validate() throws {
    try base.validate()
    for lora in loras { try lora.validate() }
  }

  /// - Returns: the path of the file.
  public func perform(progress: ProgressHandler) throws -> String {
    try Paths.checkWritable([output], overwrite: overwrite)
    let model = try base.locate(progress: progress).load()
    let projections = model.projections
    for lora in loras {
      let adapter = try AdapterFile(path: lora.path).adapter(for: projections)
      try Attachment(adapter, weight: lora.weight, to: projections).attach()
    }
    let size = try model.pictureSize(width: nil, height: nil)
    let (height, width) = (size.height, size.width)
    let sizes = SizeConditioning(height: height, width: width)
    var tensors: OrderedDictionary<String, Tensor> = [:]
    for (index, encoder) in model.textEncoders.enumerated() {
      let ids = Tensor.stacked(encoder.tokenizer.encode(prompt, parts: model.textParts).map { Tensor($0) })
      tensors[index == 0 ? "input.input_ids" : "input.input_ids_\(index + 1)"] = ids
    }
    try withTorchErrors {
      withoutGrad {
        let shape = [1, model.unet.configuration.inChannels, height / model.vae.scale, width / model.vae.scale]
        let sample = Tensor.randn(shape, generator: Generator(seed: seed), device: model.device)
        let timestep = Tensor([601]).to(device: model.device)
        let conditioning = model.conditioning([prompt], sizes: sizes)
        tensors["input.sample"] = sample
        tensors["input.timestep"] = timestep
        if let added = conditioning.added { tensors["input.time_ids"] = added.timeIds.to(dtype: .float32) }
        tensors["output.sample"] = model.unet(
          sample: sample.to(dtype: model.dtype), timestep: timestep, encoderHiddenStates: conditioning.states,
          addedConditions: conditioning.added
        ).to(dtype: .float32)
      }
    }
    try saveSafeTensors(tensors, to: output, overwrite: overwrite)
    return output
  }
}
