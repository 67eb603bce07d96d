internal import Torch

extension ModelFamily {
  /// Two text encoders: their last states but one side by side, and the pooled text of the second (diffusers:
  /// pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py).
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
    combine: { outputs in
      let states = outputs.map { $0.hiddenStates[$0.hiddenStates.count - 2] }
      return (Tensor.concatenated(states, along: -1), outputs.last?.textEmbeds)
    })
}
