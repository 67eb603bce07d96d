internal import Torch

extension ModelFamily {
  /// Stable Diffusion 1.x and 2.x: the last states of one text encoder, or those of an earlier layer through the same norm (diffusers:
  /// pipelines/stable_diffusion/pipeline_stable_diffusion.py, whose `clip_skip` is one less).
  public static let stableDiffusion1 = ModelFamily(
    name: "Stable Diffusion",
    pipelineClasses: [
      "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline",
    ],
    additionEmbedType: nil,
    textEncoders: [TextEncoderParts(encoder: "text_encoder", tokenizer: "tokenizer")], clipSkip: 1,
    combine: { outputs, clipSkip in (outputs[0].normalizedStates(clipSkip: clipSkip), nil) })
}
