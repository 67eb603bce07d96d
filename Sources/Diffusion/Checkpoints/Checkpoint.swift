internal import Foundation
public import OrderedCollections
internal import Tokenization
public import Torch

/// A text-to-image model on disk, in whichever layout, with what the user chose for it.
///
/// ```swift
/// let checkpoint = try Checkpoint(path: "juggernautXL.safetensors", .init(vae: "sdxl-vae-fp16-fix"))
/// let model = try DiffusionModel(checkpoint, dtype: .bfloat16)
/// ```
public struct Checkpoint: Sendable {
  /// What a user can choose. A choice replaces what the checkpoint says, or is an error.
  public struct Choices: Sendable, Equatable, Codable {
    /// Which weights of a folder to read, such as those in `fp16`, for the parts that have them; nil for the full ones. Where a
    /// part has no full ones, those in `fp16` are read.
    public var variant: String?
    /// Another autoencoder: a folder with its `config.json`, or a safetensors file.
    public var vae: String?
    /// Other tokenizers: a folder with `tokenizer` and `tokenizer_2`, or one tokenizer for all text encoders, each of which keeps
    /// what fills up its texts.
    public var tokenizer: String?
    /// For a checkpoint in one file: a folder in diffusers' layout whose configurations hold instead of the family's own.
    /// Weights need not be there.
    public var configuration: String?
    public var predictionType: NoiseSchedule.PredictionType?
    /// Which timesteps samplers visit: of a distilled model in one file, that it was made for (`trailing` for SDXL Turbo and Lightning).
    public var timestepSpacing: NoiseSchedule.TimestepSpacing?
    /// Which layer of the text encoders is read, counted from the end, 1 being the last: 2 for many models that come of Stable Diffusion
    /// 1.x. The family's own when nil, which of SDXL is 2.
    public var clipSkip: Int?
    /// In how many parts of 75 tokens prompts are read, as A1111 and ComfyUI do; one when nil.
    public var textParts: Int?

    public init(
      variant: String? = nil, vae: String? = nil, tokenizer: String? = nil, configuration: String? = nil,
      predictionType: NoiseSchedule.PredictionType? = nil, timestepSpacing: NoiseSchedule.TimestepSpacing? = nil,
      clipSkip: Int? = nil, textParts: Int? = nil
    ) {
      self.variant = variant
      self.vae = vae
      self.tokenizer = tokenizer
      self.configuration = configuration
      self.predictionType = predictionType
      self.timestepSpacing = timestepSpacing
      self.clipSkip = clipSkip
      self.textParts = textParts
    }
  }

  public let path: String
  public let choices: Choices
  private let layout: any CheckpointLayout

  /// - Parameter path: a folder in diffusers' layout, or a safetensors file in the original one.
  /// - Throws: `CheckpointError`, `ConfigurationError` or `SafeTensorsError`.
  public init(path: String, _ choices: Choices = .init()) throws {
    self.path = path
    self.choices = choices
    guard FileManager.default.fileExists(atPath: path) else { throw CheckpointError(path: path, reason: .nothingThere) }
    guard ModelFolder.isFile(path) else {
      guard choices.configuration == nil else { throw CheckpointError(path: path, reason: .configurationOfFolder) }
      layout = try CheckpointFolder(path: path, variant: choices.variant)
      return
    }
    guard choices.variant == nil else { throw CheckpointError(path: path, reason: .variantOfFile) }
    layout = try SingleFile(
      path: path, configuration: choices.configuration, predictionType: choices.predictionType)
  }

  /// A folder without any choices.
  init(folder: CheckpointFolder) {
    (path, choices, layout) = (folder.path, Choices(variant: folder.variant), folder)
  }

  private init(path: String, choices: Choices, layout: any CheckpointLayout) {
    (self.path, self.choices, self.layout) = (path, choices, layout)
  }

  /// The same checkpoint with tokenizers of another folder, in diffusers' layout; nil for its own.
  public func with(tokenizer: String?) -> Checkpoint {
    var choices = choices
    choices.tokenizer = tokenizer
    return Checkpoint(path: path, choices: choices, layout: layout)
  }

  /// The repository of the Hugging Face hub that has the tokenizers which this checkpoint lacks; nil where it has them.
  public var repositoryOfTokenizers: String? {
    choices.tokenizer == nil ? (layout as? SingleFile)?.repositoryOfTokenizers : nil
  }

  /// Refuses a model in diffusers' layout that is none of those here by its configurations, before its weights are fetched.
  ///
  /// - Throws: `CheckpointError`, `ConfigurationError`.
  package static func check(configurations path: String) throws {
    try CheckpointFolder(path: path).checkConfigurations()
  }

  /// What the model consists of and how it was trained.
  func pipeline() throws -> PipelineDescription {
    var pipeline = try layout.pipeline()
    if let chosen = choices.timestepSpacing { pipeline.schedule.timestepSpacing = chosen }
    if let chosen = choices.predictionType {
      pipeline.schedule.predictionType = chosen
      try ConfigurationError.naming(path) { try pipeline.schedule.validate() }
    }
    return pipeline
  }

  /// Which layer of the text encoders is read; no weight is read for it.
  ///
  /// - Throws: `CheckpointError` for a choice of a layer that they do not have, or that the U-Net could not read.
  func clipSkip(of family: ModelFamily) throws -> Int {
    guard let chosen = choices.clipSkip else { return family.clipSkip }
    for (index, parts) in family.textEncoders.enumerated() {
      let possible =
        family.clipSkip...max(family.clipSkip, try textEncoderSource(index, of: family).configuration.numHiddenLayers)
      guard possible.contains(chosen) else {
        throw CheckpointError(path: path, reason: .clipSkip(chosen, possible: possible, textEncoder: parts.encoder))
      }
    }
    return chosen
  }

  /// The same where it is another than the family's own; nil where it is not.
  package func unusualClipSkip() throws -> Int? {
    let family = try layout.family()
    let clipSkip = try clipSkip(of: family)
    return clipSkip == family.clipSkip ? nil : clipSkip
  }

  /// The noise levels that the model was trained on; no weight is read for it.
  package func schedule() throws -> NoiseSchedule { NoiseSchedule(try pipeline().schedule) }

  func unetSource() throws -> ModelSource<UNet2DConditionModel.Configuration> { try layout.unetSource() }

  func textEncoderSource(_ index: Int, of family: ModelFamily) throws -> ModelSource<CLIPTextModel.Configuration> {
    try layout.textEncoderSource(index, of: family)
  }

  func tokenizer(_ index: Int, of family: ModelFamily) throws -> (CLIPTokenizer, folder: String) {
    try layout.tokenizer(index, of: family, in: choices.tokenizer)
  }

  func vaeSource() throws -> ModelSource<AutoencoderKL.Configuration> {
    guard let chosen = choices.vae else { return try layout.vaeSource() }
    guard ModelFolder.isFile(chosen) else { return try ModelFolder(path: Self.autoencoderFolder(chosen)).vaeSource() }
    return try SingleFile.autoencoder(chosen, try layout.vaeConfiguration())
  }

  /// A folder with an autoencoder: of a whole model its part.
  private static func autoencoderFolder(_ path: String) -> String {
    let part = "\(path)/\(CheckpointFolder.autoencoder)"
    let isWhole = !ModelFolder.isFile("\(path)/config.json") && ModelFolder.isFile("\(part)/config.json")
    return isWhole ? part : path
  }

  /// The U-Net and its weights.
  ///
  /// - Throws: errors as of `ModelSource.load`.
  public func unet(dtype: DType = .float32, device: Device = .cpu) throws -> (UNet2DConditionModel, WeightStore) {
    try unetSource().load(dtype: dtype, device: device)
  }

  /// The autoencoder and its weights.
  ///
  /// - Throws: errors as of `ModelSource.load`.
  public func vae(dtype: DType = .float32, device: Device = .cpu) throws -> (AutoencoderKL, WeightStore) {
    try vaeSource().load(dtype: dtype, device: device)
  }

  /// A text encoder and its weights.
  ///
  /// - Parameter index: among the text encoders of the family.
  /// - Throws: errors as of `ModelSource.load`.
  public func textEncoder(
    _ index: Int = 0, dtype: DType = .float32, device: Device = .cpu
  ) throws -> (CLIPTextModel, WeightStore) {
    try textEncoderSource(index, of: layout.family()).load(dtype: dtype, device: device)
  }

  /// Weight shapes of the linear and convolution layers of U-Net and text encoders by full path, in the model's order. They
  /// follow from the configurations: no weight is read.
  public func projectionShapes() throws -> OrderedDictionary<String, [Int]> {
    let family = try layout.family()
    var shapes: OrderedDictionary<String, [Int]> = [:]
    func add<Configuration, Model>(
      _ part: String, _ source: ModelSource<Configuration>, _ make: (Configuration, Weights) throws -> Model
    ) throws {
      let store = WeightStore(.shapes, device: .meta)
      _ = try ConfigurationError.naming(source.file) { try make(source.configuration, store.root) }
      for (path, projection) in store.projections { shapes["\(part).\(path)"] = projection.weightShape }
    }
    try add("unet", unetSource()) { try UNet2DConditionModel($0, $1) }
    for (index, parts) in family.textEncoders.enumerated() {
      try add(parts.encoder, textEncoderSource(index, of: family)) { try CLIPTextModel($0, $1) }
    }
    return shapes
  }

  /// The files that the model is made of: of several precisions of a part, those of the one that is read.
  public var files: [String] {
    var found = (layout as? CheckpointFolder)?.files ?? [path]
    if let vae = choices.vae {
      found += (try? ModelFolder(path: Self.autoencoderFolder(vae)))?.files(of: CheckpointFolder.autoencoder) ?? [vae]
    }
    if let folder = choices.configuration.flatMap({ try? CheckpointFolder(path: $0) }) { found += folder.descriptions }
    if let folder = choices.tokenizer ?? (layout as? SingleFile)?.folderOfTokenizers {
      found += (try? TokenizerFolders(path: folder))?.files ?? []
    }
    return Array(OrderedSet(found))
  }
}

/// What a pipeline must know beside its networks.
struct PipelineDescription: Sendable {
  let family: ModelFamily
  var schedule: NoiseSchedule.Configuration
  /// Whether no negative prompt means zeros instead of the states of an empty text.
  let forceZerosForEmptyPrompt: Bool
}

/// A way in which a model lies on disk.
protocol CheckpointLayout: Sendable {
  func family() throws -> ModelFamily
  func pipeline() throws -> PipelineDescription
  func unetSource() throws -> ModelSource<UNet2DConditionModel.Configuration>
  func vaeSource() throws -> ModelSource<AutoencoderKL.Configuration>
  func vaeConfiguration() throws -> AutoencoderKL.Configuration
  /// - Parameter index: among the family's text encoders.
  func textEncoderSource(_ index: Int, of family: ModelFamily) throws -> ModelSource<CLIPTextModel.Configuration>
  /// - Parameter folder: where the user says that tokenizers are.
  func tokenizer(_ index: Int, of family: ModelFamily, in folder: String?) throws -> (CLIPTokenizer, folder: String)
}

/// A folder with tokenizers in folders of their own, or with one tokenizer itself.
struct TokenizerFolders {
  private let path: String
  /// Whether the folder is itself the only tokenizer.
  private let isShared: Bool

  /// - Throws: `CheckpointError` where there is no such folder.
  init(path: String) throws {
    self.path = try ModelFolder(path: path).path
    isShared = Self.isTokenizer(path)
  }

  /// The tokenizer of one text encoder.
  ///
  /// - Parameter padToken: what this text encoder was trained with, for a tokenizer that is for all; nil for the tokenizer's own.
  func tokenizer(
    _ name: String, padToken: @autoclosure () throws -> String?
  ) throws -> (CLIPTokenizer, folder: String) {
    let folder = isShared ? path : "\(path)/\(name)"
    let tokenizer = try CLIPTokenizer(folderPath: folder)
    guard isShared, let token = try padToken() else { return (tokenizer, folder) }
    return (try tokenizer.padding(with: token), folder)
  }

  /// Texts of all tokenizers.
  var files: [String] {
    (isShared ? [path] : CheckpointFolder.tokenizers.map { "\(path)/\($0)" }).flatMap { folder in
      let names = (try? FileManager.default.contentsOfDirectory(atPath: folder))?.sorted() ?? []
      return names.filter { $0.hasSuffix(".json") || $0.hasSuffix(".txt") }.map { "\(folder)/\($0)" }
    }
  }

  static func isTokenizer(_ path: String) -> Bool {
    ["vocab.json", "tokenizer.json"].contains { ModelFolder.isFile("\(path)/\($0)") }
  }
}

extension CLIPTokenizer {
  init(folderPath: String) throws { try self.init(folder: URL(filePath: folderPath)) }

  /// The same tokenizer with another token that fills up texts. The former one is found in texts no more, unless it has a further
  /// use.
  fileprivate func padding(with token: String) throws -> CLIPTokenizer {
    var configuration = configuration
    let former = configuration.padToken.content
    configuration.padToken = AddedToken(token)
    let uses = [configuration.bosToken, configuration.eosToken, configuration.unkToken, configuration.padToken]
    if vocabulary[former] != nil, !uses.contains(where: { $0.content == former }) {
      configuration.addedTokens.removeAll { $0.content == former }
    }
    return try CLIPTokenizer(vocabulary: vocabulary, merges: merges, configuration: configuration)
  }
}
