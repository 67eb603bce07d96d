package import LayerNames
internal import OrderedCollections

/// A family as its makers publish it: one file with original names, which does not say what the parts are.
///
/// Configurations are those of diffusers' folders of the same models.
package struct OriginalFamily: Sendable {
  package struct TextEncoder: Sendable {
    /// Whether it is an OpenCLIP model; else one of transformers.
    let isOpenCLIP: Bool
    /// What the names of its tensors begin with.
    package let prefix: String
    package internal(set) var configuration: CLIPTextModel.Configuration
    /// What fills up its texts.
    let padToken: String
  }

  package let name: String
  let family: ModelFamily
  /// The repository of the Hugging Face hub with diffusers' folder.
  let repository: String
  package internal(set) var unet: UNet2DConditionModel.Configuration
  package internal(set) var vae: AutoencoderKL.Configuration
  package internal(set) var textEncoders: [TextEncoder]
  var schedule: NoiseSchedule.Configuration
  /// What the U-Net predicts where the file does not say; nil where only its maker knows.
  var predictionType: NoiseSchedule.PredictionType?
  /// Whether no negative prompt means zeros instead of the states of an empty text.
  var forceZerosForEmptyPrompt = true

  /// The family that the text encoders of a file belong to; nil for another kind of file.
  static func detect(_ keys: some Sequence<String>) -> OriginalFamily? {
    let prefixes = OrderedSet(all.flatMap(\.textEncoders).map(\.prefix))
    let found = Set(keys.compactMap { key in prefixes.first(where: key.hasPrefix) })
    return all.first { found.isSuperset(of: $0.textEncoders.map(\.prefix)) }
  }

  package static let all = [stableDiffusionXL, stableDiffusion2, stableDiffusion1]

  private static let clipL = CLIPTextModel.Configuration(bosTokenId: 0, eosTokenId: 2)

  package static let stableDiffusion1 = OriginalFamily(
    name: "Stable Diffusion 1.x", family: .stableDiffusion1, repository: "stable-diffusion-v1-5/stable-diffusion-v1-5",
    unet: .stableDiffusion(
      sampleSize: 64, crossAttentionDim: 768, attentionHeadDim: 8, useLinearProjection: false, upcastAttention: false),
    vae: AutoencoderKL.Configuration(sampleSize: 512, scalingFactor: 0.18215),
    textEncoders: [
      TextEncoder(
        isOpenCLIP: false, prefix: "cond_stage_model.transformer.", configuration: clipL, padToken: "<|endoftext|>")
    ],
    schedule: .stableDiffusion(className: "PNDMScheduler", timestepSpacing: nil), predictionType: .epsilon)

  /// The models for 512 pixels predict noise, those for 768 pixels velocity, and nothing else tells them apart.
  package static let stableDiffusion2 = OriginalFamily(
    name: "Stable Diffusion 2.x", family: .stableDiffusion1, repository: "stabilityai/stable-diffusion-2-1",
    unet: .stableDiffusion(
      sampleSize: 96, crossAttentionDim: 1024, attentionHeadDim: [5, 10, 20, 20], useLinearProjection: true,
      upcastAttention: true),
    vae: AutoencoderKL.Configuration(sampleSize: 768, scalingFactor: 0.18215),
    textEncoders: [
      TextEncoder(
        isOpenCLIP: true, prefix: "cond_stage_model.model.",
        // OpenCLIP's last layer but one is the last here; the file has all.
        configuration: CLIPTextModel.Configuration(
          hiddenSize: 1024, intermediateSize: 4096, projectionDim: 512, numHiddenLayers: 23, numAttentionHeads: 16,
          hiddenAct: .gelu, bosTokenId: 0, eosTokenId: 2), padToken: "!")
    ],
    schedule: .stableDiffusion(className: "DDIMScheduler", timestepSpacing: nil), predictionType: nil)

  package static let stableDiffusionXL = OriginalFamily(
    name: "Stable Diffusion XL", family: .stableDiffusionXL, repository: "stabilityai/stable-diffusion-xl-base-1.0",
    unet: UNet2DConditionModel.Configuration(), vae: AutoencoderKL.Configuration(),
    textEncoders: [
      TextEncoder(
        isOpenCLIP: false, prefix: "conditioner.embedders.0.transformer.", configuration: clipL,
        padToken: "<|endoftext|>"),
      TextEncoder(
        isOpenCLIP: true, prefix: "conditioner.embedders.1.model.",
        configuration: CLIPTextModel.Configuration(
          withProjection: true, hiddenSize: 1280, intermediateSize: 5120, projectionDim: 1280, numHiddenLayers: 32,
          numAttentionHeads: 20, hiddenAct: .gelu, bosTokenId: 0, eosTokenId: 2), padToken: "!"),
    ],
    schedule: .stableDiffusion, predictionType: .epsilon)

  /// The same with the configurations of a folder in diffusers' layout, whose weights are not looked at.
  func configured(by folder: CheckpointFolder) throws -> OriginalFamily {
    var configured = self
    configured.unet = try folder.part("unet").configuration(UNet2DConditionModel.Configuration.self)
    configured.vae = try folder.vaeConfiguration()
    for (index, parts) in family.textEncoders.enumerated() {
      configured.textEncoders[index].configuration = try folder.part(parts.encoder)
        .configuration(CLIPTextModel.Configuration.self)
    }
    configured.schedule = try folder.schedule(of: family)
    configured.predictionType = configured.schedule.predictionType
    configured.forceZerosForEmptyPrompt = try folder.pipeline().forceZerosForEmptyPrompt
    return configured
  }
}

extension OriginalFamily {
  /// What a U-Net is for that is given more channels than those of a noisy picture.
  static func kind(ofChannels channels: Int) -> String? {
    switch channels {
    case 5: "a model that is given depth"
    case 8: "a model that edits pictures (instruct-pix2pix)"
    case 9: "a model for inpainting"
    default: nil
    }
  }
}

extension OriginalFamily.TextEncoder {
  /// Where the file has a parameter.
  package func place(_ parameter: String) -> OriginalParameter? {
    isOpenCLIP ? OpenCLIPNames.parameter(parameter) : OriginalParameter(parameter)
  }

  /// Tensors that files have beside the weights in use: the logit scale of contrastive training, a projection of the text and a
  /// last layer that Stable Diffusion 2 does without, and positions 0, 1, 2 …
  func isSpare(_ key: String) -> Bool {
    key == "logit_scale" || key.hasSuffix("embeddings.position_ids")
      || !configuration.withProjection && key.hasPrefix("text_projection")
      || isOpenCLIP && key.hasPrefix("transformer.resblocks.\(configuration.numHiddenLayers).")
  }
}

extension UNet2DConditionModel.Configuration {
  /// Stable Diffusion 1 and 2, which differ in these.
  fileprivate static func stableDiffusion(
    sampleSize: OneOrMany, crossAttentionDim: OneOrMany, attentionHeadDim: OneOrMany, useLinearProjection: Bool,
    upcastAttention: Bool
  ) -> Self {
    Self(
      sampleSize: sampleSize,
      downBlockTypes: [.crossAttnDownBlock2D, .crossAttnDownBlock2D, .crossAttnDownBlock2D, .downBlock2D],
      upBlockTypes: [.upBlock2D, .crossAttnUpBlock2D, .crossAttnUpBlock2D, .crossAttnUpBlock2D],
      blockOutChannels: [320, 640, 1280, 1280], crossAttentionDim: crossAttentionDim, transformerLayersPerBlock: 1,
      attentionHeadDim: attentionHeadDim, useLinearProjection: useLinearProjection, upcastAttention: upcastAttention,
      additionEmbedType: nil, additionTimeEmbedDim: nil, projectionClassEmbeddingsInputDim: nil)
  }
}

extension NoiseSchedule.Configuration {
  /// The noise of all Stable Diffusion, with what schedulers of other names were published with.
  fileprivate static func stableDiffusion(
    className: String, timestepSpacing: NoiseSchedule.TimestepSpacing?
  ) -> Self {
    var configuration = stableDiffusion
    configuration.className = className
    configuration.timestepSpacing = timestepSpacing
    return configuration
  }
}
