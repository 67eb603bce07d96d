internal import Torch

extension ModelFamily {
  /// Stable Diffusion 1.x and 2.x: the last states of one text encoder (diffusers:
  /// pipelines/stable_diffusion/pipeline_stable_diffusion.py, without `clip_skip`).
  public static let stableDiffusion1 = ModelFamily(
    name: "Stable Diffusion",
    pipelineClasses: [
      "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline",
    ],
    additionEmbedType: nil,
    textEncoders: [TextEncoderParts(encoder: "text_encoder", tokenizer: "tokenizer")],
    combine: { outputs in (outputs[0].lastHiddenState, nil) })
}
