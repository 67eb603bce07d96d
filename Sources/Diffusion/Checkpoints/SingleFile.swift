internal import Foundation
internal import LayerNames
internal import OrderedCollections
internal import SafeTensors
internal import Tokenization
internal import Torch

/// A whole model in one safetensors file with the names of the original code (sgm, ldm): `model.diffusion_model.…`,
/// `first_stage_model.…`, and text encoders in `cond_stage_model.…` or `conditioner.embedders.…`.
///
/// It is read as the same model in diffusers' folders is. The file says little about what is in it: its family is told by its
/// text encoders, and what the U-Net predicts by keys or metadata where there are any.
struct SingleFile: Sendable {
  let path: String
  private let original: OriginalFamily
  /// What the U-Net predicts; nil where that is not known.
  private let prediction: NoiseSchedule.PredictionType?
  /// The folder that replaces the family's configurations.
  private let configuration: String?

  private static let unetPrefix = "model.diffusion_model."
  private static let vaePrefixes = ["first_stage_model.", "vae."]

  /// - Throws: `CheckpointError` for a pickle or a file of another kind.
  init(path: String, configuration: String?, predictionType: NoiseSchedule.PredictionType?) throws {
    self.path = path
    self.configuration = configuration
    let file = try Self.open(path)
    guard let detected = OriginalFamily.detect(file.keys), file.keys.contains(where: { $0.hasPrefix(Self.unetPrefix) })
    else { throw CheckpointError(path: path, reason: .noOriginalCheckpoint(keys: Array(file.keys.prefix(3)))) }
    if let foreign = Self.foreign.first(where: { file.shape(of: $0.key) != nil }) {
      throw CheckpointError(path: path, reason: .foreign(foreign.value))
    }
    if let first = file.shape(of: "\(Self.unetPrefix)input_blocks.0.0.weight"), first.count == 4,
      let kind = OriginalFamily.kind(ofChannels: first[1])
    {
      throw CheckpointError(path: path, reason: .foreign(kind))
    }
    var family = try configuration.map { try detected.configured(by: CheckpointFolder(path: $0)) } ?? detected
    prediction = predictionType ?? Self.predictionType(of: file) ?? family.predictionType
    if family.predictionType == nil, prediction == .epsilon {
      (family.unet.sampleSize, family.vae.sampleSize) = (64, 512)
    }
    if file.shape(of: "ztsnr") != nil { family.schedule.rescaleBetasZeroSNR = true }
    original = family
  }

  /// Keys that only files of models have which sample in another way.
  private static let foreign: KeyValuePairs = [
    "edm_mean": "Playground 2.5", "edm_vpred.sigma_max": "an SDXL model with noise levels of its own (EDM)",
  ]

  /// What trainers of SDXL say with empty tensors, and Stability and sd-scripts in the metadata.
  private static func predictionType(of file: SafeTensorsCollection) -> NoiseSchedule.PredictionType? {
    if file.shape(of: "v_pred") != nil || file.shape(of: "ztsnr") != nil { return .velocity }
    switch file.file.metadata["modelspec.prediction_type"] {
    case "epsilon": return .epsilon
    case "v", "v_prediction": return .velocity
    default: return nil
    }
  }

  private static func open(_ path: String) throws -> SafeTensorsCollection {
    for ending in [".ckpt", ".pt", ".pth", ".bin"] where path.lowercased().hasSuffix(ending) {
      throw CheckpointError(path: path, reason: .pickledFile)
    }
    return try SafeTensorsCollection(path: path)
  }

  /// For messages: what the file ought to hold.
  private var expectation: String { configuration.map { "the model that \($0) describes" } ?? original.name }

  /// Where tokenizers are, beside the file or with the configurations; nil where they are not.
  var folderOfTokenizers: String? {
    let parent = (path as NSString).deletingLastPathComponent
    return [configuration, parent.isEmpty ? "." : parent].compactMap { $0 }.first { folder in
      original.family.textEncoders.allSatisfy { TokenizerFolders.isTokenizer("\(folder)/\($0.tokenizer)") }
    }
  }

  var repositoryOfTokenizers: String? { folderOfTokenizers == nil ? original.repository : nil }
}

extension SingleFile: CheckpointLayout {
  func family() -> ModelFamily { original.family }

  func pipeline() throws -> PipelineDescription {
    guard let prediction else {
      throw CheckpointError(path: path, reason: .unknownPredictionType(family: original.name))
    }
    var schedule = original.schedule
    schedule.predictionType = prediction
    try ConfigurationError.naming(path) { try schedule.validate() }
    return PipelineDescription(
      family: original.family, schedule: schedule,
      forceZerosForEmptyPrompt: original.family.additionEmbedType != nil && original.forceZerosForEmptyPrompt)
  }

  func unetSource() throws -> ModelSource<UNet2DConditionModel.Configuration> {
    let parameters = try ConfigurationError.naming(configuration ?? path) {
      try parameterNames { try UNet2DConditionModel(original.unet, $0) }
    }
    let names = OriginalUNetNames(parameters)
    let weights = OriginalTensors(
      try Self.open(path), prefix: Self.unetPrefix, expectation: expectation, parameters: parameters,
      place: names.parameter, isSpare: { _ in false })
    return ModelSource(configuration: original.unet, file: configuration ?? path, weights: weights)
  }

  func textEncoderSource(_ index: Int, of _: ModelFamily) throws -> ModelSource<CLIPTextModel.Configuration> {
    let encoder = original.textEncoders[index]
    let parameters = try ConfigurationError.naming(configuration ?? path) {
      try parameterNames { try CLIPTextModel(encoder.configuration, $0) }
    }
    let file = try Self.open(path)
    func has(_ key: String) -> Bool { file.shape(of: encoder.prefix + key) != nil }
    // Files of 2022 leave `text_model.` away, and tools that convert from diffusers leave the projection as it is there.
    let isBare = !encoder.isOpenCLIP && has("embeddings.token_embedding.weight")
    let weights = OriginalTensors(
      file, prefix: encoder.prefix, expectation: expectation, parameters: parameters,
      place: { parameter in
        if has("text_projection.weight"), parameter == "text_projection.weight" { return OriginalParameter(parameter) }
        return encoder.place(isBare ? parameter.replacing("text_model.", with: "", maxReplacements: 1) : parameter)
      }, isSpare: encoder.isSpare)
    return ModelSource(configuration: encoder.configuration, file: configuration ?? path, weights: weights)
  }

  func vaeSource() throws -> ModelSource<AutoencoderKL.Configuration> {
    let file = try Self.open(path)
    let prefix = Self.vaePrefixes.first { prefix in file.keys.contains { $0.hasPrefix(prefix) } }
    guard let prefix else { throw CheckpointError(path: path, reason: .noAutoencoder) }
    return try Self.autoencoder(file, prefix: prefix, original.vae, expectation)
  }

  func vaeConfiguration() throws -> AutoencoderKL.Configuration { original.vae }

  func tokenizer(_ index: Int, of _: ModelFamily, in folder: String?) throws -> (CLIPTokenizer, folder: String) {
    guard let folder = folder ?? folderOfTokenizers else {
      throw CheckpointError(path: path, reason: .noTokenizer(repository: original.repository))
    }
    return try TokenizerFolders(path: folder).tokenizer(
      original.family.textEncoders[index].tokenizer, padToken: original.textEncoders[index].padToken)
  }
}

// MARK: autoencoders

extension SingleFile {
  /// An autoencoder in a file of its own, with original names or diffusers'.
  ///
  /// - Parameter configuration: that of the model it is for, as the file has none.
  static func autoencoder(
    _ path: String, _ configuration: AutoencoderKL.Configuration
  ) throws -> ModelSource<AutoencoderKL.Configuration> {
    let file = try open(path)
    let prefix = vaePrefixes.first { prefix in file.keys.contains { $0.hasPrefix(prefix) } } ?? ""
    if prefix.isEmpty, file.keys.contains(where: { $0.hasPrefix("encoder.down_blocks.") }) {
      return ModelSource(configuration: configuration, file: path, weights: RenamedTensors.ofAutoencoder(file))
    }
    return try autoencoder(file, prefix: prefix, configuration, "the autoencoder of the base model")
  }

  private static func autoencoder(
    _ file: SafeTensorsCollection, prefix: String, _ configuration: AutoencoderKL.Configuration, _ expectation: String
  ) throws -> ModelSource<AutoencoderKL.Configuration> {
    let names = OriginalAutoencoderNames(levels: configuration.blockOutChannels.count)
    let weights = OriginalTensors(
      file, prefix: prefix, expectation: expectation,
      parameters: try parameterNames { try AutoencoderKL(configuration, $0) }, place: names.parameter,
      // The loss and the average of its training.
      isSpare: { $0.hasPrefix("loss.") || $0.hasPrefix("model_ema.") })
    return ModelSource(configuration: configuration, file: file.name, weights: weights)
  }
}
