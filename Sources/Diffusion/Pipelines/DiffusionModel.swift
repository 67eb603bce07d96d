public import OrderedCollections
public import Tokenization
public import Torch

/// A text-to-image model with all its parts.
public final class DiffusionModel {
  public struct TextEncoder {
    public let model: CLIPTextModel
    public let tokenizer: CLIPTokenizer

    public init(model: CLIPTextModel, tokenizer: CLIPTokenizer) {
      self.model = model
      self.tokenizer = tokenizer
    }
  }

  public let family: ModelFamily
  public let unet: UNet2DConditionModel
  public let vae: AutoencoderKL
  public let textEncoders: [TextEncoder]
  public let schedule: NoiseSchedule
  /// Which layer of the text encoders is read, counted from the end, 1 being the last.
  public let clipSkip: Int
  /// In how many parts of the text encoders' length a prompt is read; what is beyond is cut off.
  public let textParts: Int
  /// Whether no negative prompt means zeros instead of the states of an empty text.
  public let forceZerosForEmptyPrompt: Bool
  /// Weights and projections of each part: `unet`, `vae`, and text encoders under the names of their folders.
  public let stores: OrderedDictionary<String, WeightStore>

  /// - Parameter clipSkip: the family's own when nil.
  public init(
    family: ModelFamily, unet: UNet2DConditionModel, vae: AutoencoderKL, textEncoders: [TextEncoder],
    schedule: NoiseSchedule, clipSkip: Int? = nil, textParts: Int = 1, forceZerosForEmptyPrompt: Bool,
    stores: OrderedDictionary<String, WeightStore>
  ) {
    self.family = family
    self.unet = unet
    self.vae = vae
    self.textEncoders = textEncoders
    self.schedule = schedule
    precondition(textParts > 0, "a text of \(textParts) parts")
    self.clipSkip = clipSkip ?? family.clipSkip
    self.textParts = textParts
    self.forceZerosForEmptyPrompt = forceZerosForEmptyPrompt
    self.stores = stores
  }

  /// Loads a folder in diffusers' layout.
  ///
  /// - Parameters:
  ///   - dtype: of all parts; an autoencoder with `force_upcast` stays in float32 when this is a 16-bit type.
  ///   - variant: as in `Checkpoint.Choices`.
  /// - Throws: `CheckpointError`, `ConfigurationError`, `TokenizerError`, `LoadingError` or `SafeTensorsError`, each with the
  ///   file and what was expected of it.
  public convenience init(
    folder: String, dtype: DType = .float32, device: Device = .cpu, variant: String? = nil
  ) throws {
    try self.init(Checkpoint(folder: CheckpointFolder(path: folder, variant: variant)), dtype: dtype, device: device)
  }

  /// Loads a checkpoint in any layout; as `init(folder:)`.
  public convenience init(_ checkpoint: Checkpoint, dtype: DType = .float32, device: Device = .cpu) throws {
    let pipeline = try checkpoint.pipeline()
    let family = pipeline.family
    let (unetSource, vaeSource) = (try checkpoint.unetSource(), try checkpoint.vaeSource())
    let clipSkip = try checkpoint.clipSkip(of: family)
    var stores: OrderedDictionary<String, WeightStore> = [:]
    let textEncoders = try family.textEncoders.enumerated().map { index, parts in
      let source = try checkpoint.textEncoderSource(index, of: family)
      let (tokenizer, folder) = try checkpoint.tokenizer(index, of: family)
      try ConfigurationError.naming(source.file) { try Self.check(source.configuration, tokenizer, folder) }
      let (model, store) = try source.load(dtype: dtype, device: device)
      stores[parts.encoder] = store
      return TextEncoder(model: model, tokenizer: tokenizer)
    }
    try ConfigurationError.naming(unetSource.file) {
      try Self.check(unetSource.configuration, family, vaeSource, textEncoders.map(\.model.configuration))
    }
    try ConfigurationError.naming(vaeSource.file) { try Self.check(vaeSource.configuration) }
    let (unet, unetStore) = try unetSource.load(dtype: dtype, device: device)
    stores["unet"] = unetStore
    let upcast = vaeSource.configuration.forceUpcast && dtype.byteCount == 2
    let (vae, vaeStore) = try vaeSource.load(dtype: upcast ? .float32 : dtype, device: device)
    stores["vae"] = vaeStore
    self.init(
      family: family, unet: unet, vae: vae, textEncoders: textEncoders, schedule: NoiseSchedule(pipeline.schedule),
      clipSkip: clipSkip, textParts: checkpoint.choices.textParts ?? 1,
      forceZerosForEmptyPrompt: pipeline.forceZerosForEmptyPrompt, stores: stores)
  }

  /// The type in which U-Net and text encoders compute.
  public var dtype: DType { unet.dtype }
  public var device: Device { unet.device }
}

// MARK: what parts can be together

extension DiffusionModel {
  private static func check(
    _ model: CLIPTextModel.Configuration, _ tokenizer: CLIPTokenizer, _ folder: String
  ) throws {
    let (length, positions) = (tokenizer.configuration.modelMaxLength, model.maxPositionEmbeddings)
    try ConfigurationError.require(
      positions >= length, "max_position_embeddings", "\(positions)", "at least \(length), model_max_length of \(folder)")
    let words = model.vocabSize
    try ConfigurationError.require(
      words > tokenizer.largestID, "vocab_size", "\(words)", "at least \(tokenizer.largestID + 1), the ids of \(folder)")
  }

  /// - Parameter channels: of the autoencoder's latents.
  static func check(_ unet: UNet2DConditionModel.Configuration, channels expected: Int) throws {
    for (key, channels) in [("in_channels", unet.inChannels), ("out_channels", unet.outChannels)] {
      let kind = key == "in_channels" ? OriginalFamily.kind(ofChannels: channels).map { ", which is \($0)" } ?? "" : ""
      try ConfigurationError.require(
        channels == expected, key, "\(channels)\(kind)", "\(expected), latent_channels of the autoencoder")
    }
  }

  private static func check(_ vae: AutoencoderKL.Configuration) throws {
    for (key, channels) in [("in_channels", vae.inChannels), ("out_channels", vae.outChannels)] {
      try ConfigurationError.require(channels == 3, key, "\(channels)", "3, the colours of a picture")
    }
  }

  private static func check(
    _ unet: UNet2DConditionModel.Configuration, _ family: ModelFamily, _ vae: ModelSource<AutoencoderKL.Configuration>,
    _ textEncoders: [CLIPTextModel.Configuration]
  ) throws {
    func name(_ type: UNet2DConditionModel.AdditionEmbedType?) -> String { type.map { "\"\($0.rawValue)\"" } ?? "null" }
    try ConfigurationError.require(
      unet.additionEmbedType == family.additionEmbedType, "addition_embed_type", name(unet.additionEmbedType),
      "\(name(family.additionEmbedType)), as in all models of the family \(family.name)")
    try check(unet, channels: vae.configuration.latentChannels)
    if family.additionEmbedType == .textTime, let last = textEncoders.last, let parts = family.textEncoders.last {
      try ConfigurationError.require(
        last.withProjection, "addition_embed_type", "\"text_time\"",
        "null, or a CLIPTextModelWithProjection in \(parts.encoder), whose pooled text it takes")
      let width = last.projectionDim + 6 * (unet.additionTimeEmbedDim ?? 0)
      try ConfigurationError.require(
        unet.projectionClassEmbeddingsInputDim == width, "projection_class_embeddings_input_dim",
        unet.projectionClassEmbeddingsInputDim.map { "\($0)" } ?? "null",
        "\(width): projection_dim of \(parts.encoder) and six times addition_time_embed_dim")
    }
    let width = textEncoders.map(\.hiddenSize).reduce(0, +)
    let levels = unet.blockOutChannels.count
    try ConfigurationError.require(
      unet.crossAttentionDim.expanded(to: levels, key: "cross_attention_dim").allSatisfy { $0 == width },
      "cross_attention_dim", "\(unet.crossAttentionDim)",
      "\(width), hidden_size of \(family.textEncoders.map(\.encoder).joined(separator: " and "))")
  }
}

// MARK: text

extension DiffusionModel {
  /// What the U-Net is told about pictures with these prompts.
  ///
  /// - Parameters:
  ///   - prompts: one a picture; text that stands there several times is encoded once.
  ///   - sizes: for SDXL; ignored by families that are told no sizes.
  public func conditioning(_ prompts: [String], sizes: SizeConditioning) -> Conditioning {
    let texts = OrderedSet(prompts)
    let outputs = textEncoders.map { encoder in
      let parts = texts.flatMap { encoder.tokenizer.encode($0, parts: textParts) }
      return encoder.model(Tensor.stacked(parts.map { Tensor($0) }).to(device: device))
    }
    let (states, textEmbeds) = inOnePiece(family.combine(outputs, clipSkip), count: texts.count)
    let conditioning = Conditioning(states: states, added: textEmbeds.map { ($0, timeIds(sizes, count: texts.count)) })
    return conditioning.selected(prompts.map { texts.firstIndex(of: $0)! })
  }

  /// States of the parts of a text one after the other, and the pooled text of the first part (A1111: modules/sd_hijack_clip.py).
  private func inOnePiece(
    _ ofParts: (states: Tensor, textEmbeds: Tensor?), count: Int
  ) -> (states: Tensor, textEmbeds: Tensor?) {
    guard textParts > 1 else { return ofParts }
    let (states, textEmbeds) = ofParts
    return (
      states.reshaped([count, textParts * states.dim(1), states.dim(2)]),
      textEmbeds?.reshaped([count, textParts, -1]).select(1, 0)
    )
  }

  /// The same for pictures without a prompt, to be guided away from.
  ///
  /// - Parameter negativePrompt: what they show instead; nil for nothing, which is an empty text, or zeros where the model
  ///   was trained so.
  public func unconditional(_ negativePrompt: String?, count: Int, sizes: SizeConditioning) -> Conditioning {
    let conditioning = conditioning(Array(repeating: negativePrompt ?? "", count: count), sizes: sizes)
    guard negativePrompt == nil, forceZerosForEmptyPrompt else { return conditioning }
    return Conditioning(
      states: .zeros(like: conditioning.states),
      added: conditioning.added.map { (.zeros(like: $0.textEmbeds), $0.timeIds) })
  }

  /// [count, 6], rounded to the model's type as diffusers does.
  private func timeIds(_ sizes: SizeConditioning, count: Int) -> Tensor {
    Tensor(sizes.timeIds).to(dtype: dtype, device: device).unsqueezed(0).tiled([count, 1])
  }
}

// MARK: pictures

extension DiffusionModel {
  /// The U-Net as a denoiser for N samples. Samples are float32; the network computes in its own type.
  public func denoiser(_ conditioning: Conditioning) -> any Denoiser {
    schedule.configuration.predictionType.denoiser { [unet, dtype] sample, level in
      let timestep = Tensor([Float(level.timestep)]).to(device: sample.device).expanded([sample.dim(0)])
      return unet(
        sample: sample.to(dtype: dtype), timestep: timestep, encoderHiddenStates: conditioning.states,
        addedConditions: conditioning.added
      ).to(dtype: .float32)
    }
  }

  /// Latents [N, C, h, w] of unit variance → pictures [N, 3, H, W] in [0, 1], float32. One at a time: memory for a batch in full
  /// resolution would be the largest of all.
  public func decode(_ latents: Tensor) -> Tensor {
    let dtype = stores["vae"]?.dtype ?? .float32
    let pictures = (0..<latents.dim(0)).map { index in
      let decoded = vae.decode(vae.denormalized(latents[index..<index + 1].to(dtype: dtype)))
      return (decoded.to(dtype: .float32) / 2 + 0.5).clamped(min: 0, max: 1)
    }
    return Tensor.concatenated(pictures)
  }
}
