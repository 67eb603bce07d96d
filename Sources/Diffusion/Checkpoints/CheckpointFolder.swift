internal import OrderedCollections
internal import Tokenization
internal import Torch

/// A whole text-to-image model in diffusers' layout: a folder for each of its parts.
struct CheckpointFolder: Sendable {
  let path: String
  /// As in `Checkpoint.Choices`.
  let variant: String?

  static let indexFile = "model_index.json"
  private static let scheduleFile = "scheduler_config.json"
  static let autoencoder = "vae"
  private static let textEncoders = OrderedSet(ModelFamily.all.flatMap(\.textEncoders).map(\.encoder))
  private static let networks = ["unet", autoencoder] + textEncoders
  static let tokenizers = OrderedSet(ModelFamily.all.flatMap(\.textEncoders).map(\.tokenizer))

  /// - Throws: `CheckpointError` where there is no such folder, or none of its networks is there in the variant.
  init(path: String, variant: String? = nil) throws {
    self.path = try ModelFolder(path: path).path
    self.variant = variant
    // diffusers: pipelines/pipeline_loading_utils.py _identify_model_variants
    guard let variant, !Self.networks.contains(where: { (try? part($0))?.variant != nil }) else { return }
    throw CheckpointError(path: path, reason: .noVariant(variant, expected: ModelFolder.weightNames(variant)))
  }

  /// What says how the model is put together: the files of settings and of tokenizers.
  var descriptions: [String] {
    let settings = [Self.indexFile, "scheduler/\(Self.scheduleFile)"] + Self.networks.map { "\($0)/config.json" }
    return settings.map { "\(path)/\($0)" }.filter(ModelFolder.isFile) + ((try? TokenizerFolders(path: path))?.files ?? [])
  }

  /// All files that the model is made of, as far as they are there. A whole model in one file beside the folders is not read.
  var files: [String] {
    descriptions + Self.networks.flatMap { network in (try? part(network))?.files(of: network) ?? [] }
  }

  /// The folder of one part, such as `unet`, in the variant where it has that.
  ///
  /// - Throws: `CheckpointError` where there is none.
  func part(_ name: String) throws -> ModelFolder {
    let folder = try ModelFolder(path: "\(path)/\(name)", variant: variant)
    return folder.hasVariant ? folder : try ModelFolder(path: folder.path)
  }
}

extension CheckpointFolder: CheckpointLayout {
  func family() throws -> ModelFamily { try familyAndIndex().family }

  private func familyAndIndex() throws -> (family: ModelFamily, index: ModelIndex?) {
    let hasIndex = ModelFolder.isFile("\(path)/\(Self.indexFile)")
    let index = try hasIndex ? ModelFolder(path: path).configuration(ModelIndex.self, file: Self.indexFile) : nil
    // Pipelines of other kinds have no U-Net to look at.
    let unet = try index == nil ? part("unet").configuration(UNet2DConditionModel.Configuration.self) : nil
    let family = try ConfigurationError.naming("\(path)/\(Self.indexFile)") { try ModelFamily.detect(index, unet) }
    if family.textEncoders.count > 1, index?.lacks(family.textEncoders[0].encoder) == true {
      throw CheckpointError(path: path, reason: .foreign("the refiner of Stable Diffusion XL"))
    }
    return (family, index)
  }

  /// Refuses by its configurations alone a model that is none of those here, before there are any weights.
  ///
  /// - Throws: `CheckpointError`, `ConfigurationError`.
  func checkConfigurations() throws {
    let family = try pipeline().family
    let unet = try part("unet").configuration(UNet2DConditionModel.Configuration.self)
    let vae = try vaeConfiguration()
    try ConfigurationError.naming("\(path)/unet/config.json") { try DiffusionModel.check(unet, channels: vae.latentChannels) }
    for parts in family.textEncoders { _ = try part(parts.encoder).configuration(CLIPTextModel.Configuration.self) }
  }

  func pipeline() throws -> PipelineDescription {
    let (family, index) = try familyAndIndex()
    return PipelineDescription(
      family: family, schedule: try schedule(of: family),
      forceZerosForEmptyPrompt: family.additionEmbedType != nil && index?.forceZerosForEmptyPrompt ?? true)
  }

  /// What the pipeline of the family makes of the file: that of Stable Diffusion 1.x and 2.x sets right what early schedulers were saved
  /// with (diffusers: pipelines/stable_diffusion/pipeline_stable_diffusion.py __init__), that of XL does not.
  func schedule(of family: ModelFamily) throws -> NoiseSchedule.Configuration {
    var schedule = try part("scheduler").configuration(NoiseSchedule.Configuration.self, file: Self.scheduleFile)
    if family.additionEmbedType == nil {
      (schedule.stepsOffset, schedule.clipSample) = (1, false)
    }
    try ConfigurationError.naming("\(path)/scheduler/\(Self.scheduleFile)") {
      try ConfigurationError.require(
        !schedule.clipSample, "clip_sample", "true, as it is for \(schedule.className) where nothing is said",
        "false, as latents go beyond ±1")
    }
    return schedule
  }

  func unetSource() throws -> ModelSource<UNet2DConditionModel.Configuration> { try part("unet").unetSource() }

  func vaeSource() throws -> ModelSource<AutoencoderKL.Configuration> { try part(Self.autoencoder).vaeSource() }

  func vaeConfiguration() throws -> AutoencoderKL.Configuration {
    try part(Self.autoencoder).configuration(AutoencoderKL.Configuration.self)
  }

  func textEncoderSource(_ index: Int, of family: ModelFamily) throws -> ModelSource<CLIPTextModel.Configuration> {
    var source = try part(family.textEncoders[index].encoder).textEncoderSource()
    // diffusers asks the pipeline and not what the part says of itself, which may be anything; its weights tell.
    source.configuration.withProjection = source.weights.keys.contains("text_projection.weight")
    return source
  }

  func tokenizer(_ index: Int, of family: ModelFamily, in folder: String?) throws -> (CLIPTokenizer, folder: String) {
    let name = family.textEncoders[index].tokenizer
    return try TokenizerFolders(path: folder ?? path).tokenizer(name, padToken: try padToken(of: name))
  }

  /// What the folder's own tokenizer fills up texts with; nil where there is none.
  private func padToken(of tokenizer: String) throws -> String? {
    let own = "\(path)/\(tokenizer)"
    return TokenizerFolders.isTokenizer(own) ? try CLIPTokenizer(folderPath: own).configuration.padToken.content : nil
  }
}
