import Tokenization
public import Torch

/// A whole text-to-image model in diffusers' layout: a folder for each of its parts.
///
/// ```swift
/// let checkpoint = try CheckpointFolder(path: "stable-diffusion-xl-base-1.0")
/// let (unet, weights) = try checkpoint.unet(dtype: .bfloat16, device: .cuda)
/// ```
public struct CheckpointFolder: Sendable {
  public let path: String
  /// Which of several precisions of the weights to read, `fp16` say; nil for the full one, or `fp16` where there is no other.
  public let variant: String?

  static let indexFile = "model_index.json"

  /// - Throws: `CheckpointError` where there is no such folder.
  public init(path: String, variant: String? = nil) throws {
    self.path = try ModelFolder(path: path).path
    self.variant = variant
  }

  /// The folder of one part, such as `unet`.
  ///
  /// - Throws: `CheckpointError` where there is none.
  public func part(_ name: String) throws -> ModelFolder { try ModelFolder(path: "\(path)/\(name)", variant: variant) }

  /// Whether there is a second text encoder, as in Stable Diffusion XL.
  public var hasTextEncoder2: Bool { (try? part("text_encoder_2")) != nil }

  /// The U-Net and its weights; errors as in `ModelFolder.unet`, and so on for the others.
  public func unet(dtype: DType = .float32, device: Device = .cpu) throws -> (UNet2DConditionModel, WeightStore) {
    try part("unet").unet(dtype: dtype, device: device)
  }

  public func vae(dtype: DType = .float32, device: Device = .cpu) throws -> (AutoencoderKL, WeightStore) {
    try part("vae").vae(dtype: dtype, device: device)
  }

  public func textEncoder(dtype: DType = .float32, device: Device = .cpu) throws -> (CLIPTextModel, WeightStore) {
    try part("text_encoder").textEncoder(dtype: dtype, device: device)
  }

  public func textEncoder2(dtype: DType = .float32, device: Device = .cpu) throws -> (CLIPTextModel, WeightStore) {
    try part("text_encoder_2").textEncoder(dtype: dtype, device: device)
  }
}

extension CheckpointFolder: CheckpointLayout {
  func family() throws -> ModelFamily { try familyAndIndex().family }

  private func familyAndIndex() throws -> (family: ModelFamily, index: ModelIndex?) {
    let hasIndex = ModelFolder.isFile("\(path)/\(Self.indexFile)")
    let index = try hasIndex ? ModelFolder(path: path).configuration(ModelIndex.self, file: Self.indexFile) : nil
    let unet = try part("unet").configuration(UNet2DConditionModel.Configuration.self)
    return (try ConfigurationError.naming("\(path)/\(Self.indexFile)") { try ModelFamily.detect(index, unet) }, index)
  }

  func pipeline() throws -> PipelineDescription {
    let (family, index) = try familyAndIndex()
    return PipelineDescription(
      family: family, schedule: try schedule(),
      forceZerosForEmptyPrompt: family.additionEmbedType != nil && index?.forceZerosForEmptyPrompt ?? true)
  }

  func schedule() throws -> NoiseSchedule.Configuration {
    try part("scheduler").configuration(NoiseSchedule.Configuration.self, file: "scheduler_config.json")
  }

  func unetSource() throws -> ModelSource<UNet2DConditionModel.Configuration> { try part("unet").unetSource() }

  func vaeSource() throws -> ModelSource<AutoencoderKL.Configuration> { try part("vae").vaeSource() }

  func vaeConfiguration() throws -> AutoencoderKL.Configuration {
    try part("vae").configuration(AutoencoderKL.Configuration.self)
  }

  func textEncoderSource(_ index: Int, of family: ModelFamily) throws -> ModelSource<CLIPTextModel.Configuration> {
    try part(family.textEncoders[index].encoder).textEncoderSource()
  }

  func tokenizer(_ index: Int, of family: ModelFamily, in folder: String?) throws -> (CLIPTokenizer, folder: String) {
    let tokenizers = try TokenizerFolders(path: folder ?? path)
    let found = tokenizers.folder(family.textEncoders[index].tokenizer)
    return (try CLIPTokenizer(folderPath: found), found)
  }
}
