internal import Torch

extension ModelFamily {
  /// Two text encoders: their last states but one side by side, and the pooled text of the second (diffusers:
  /// pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py, whose `clip_skip` is two less).
  public static let stableDiffusionXL = ModelFamily(
    name: "Stable Diffusion XL",
    pipelineClasses: [
      "StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline",
    ],
    additionEmbedType: .textTime,
    textEncoders: [
      TextEncoderParts(encoder: "text_encoder", tokenizer: "tokenizer"),
      TextEncoderParts(encoder: "text_encoder_2", tokenizer: "tokenizer_2"),
    ],
    clipSkip: 2,
    combine: { outputs, clipSkip in
      let states = outputs.map { $0.states(clipSkip: clipSkip) }
      return (Tensor.concatenated(states, along: -1), outputs.last?.textEmbeds)
    })
}
