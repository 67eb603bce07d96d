internal import Diffusion

/// What a base of the world is built like: which published model it is a miniature of.
public enum BaseArchitecture: String, Sendable, Codable, CaseIterable {
  case stableDiffusionXL = "stable-diffusion-xl"
  case stableDiffusion1 = "stable-diffusion-1"

  /// One text encoder of the base.
  struct TextEncoder {
    var isProjected = false
    var activation: CLIPTextModel.Activation
    var width: Int
  }

  var family: ModelFamily {
    switch self {
    case .stableDiffusionXL: .stableDiffusionXL
    case .stableDiffusion1: .stableDiffusion1
    }
  }

  /// In the order of the family's folders.
  var textEncoders: [TextEncoder] {
    switch self {
    case .stableDiffusionXL:
      [TextEncoder(activation: .quickGelu, width: 64), TextEncoder(isProjected: true, activation: .gelu, width: 96)]
    case .stableDiffusion1: [TextEncoder(activation: .quickGelu, width: 128)]
    }
  }

  /// diffusers: UNet2DConditionModel, block types and conditioning of the published model at a hundredth of its size.
  var unet: String {
    switch self {
    case .stableDiffusionXL:
      """
      {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.42.1", "act_fn": "silu",
       "addition_embed_type": "text_time", "addition_time_embed_dim": 16, "attention_head_dim": [2, 4, 6],
       "block_out_channels": [64, 128, 192], "center_input_sample": false, "cross_attention_dim": 160,
       "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], "downsample_padding": 1,
       "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": 8, "layers_per_block": 1, "mid_block_scale_factor": 1,
       "norm_eps": 1e-05, "norm_num_groups": 16, "out_channels": 8, "projection_class_embeddings_input_dim": 192,
       "sample_size": 16, "transformer_layers_per_block": [1, 1, 1],
       "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "use_linear_projection": true}
      """
    case .stableDiffusion1:
      """
      {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.42.1", "act_fn": "silu", "attention_head_dim": 4,
       "block_out_channels": [64, 128, 192], "center_input_sample": false, "cross_attention_dim": 128,
       "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"], "downsample_padding": 1,
       "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": 8, "layers_per_block": 1, "mid_block_scale_factor": 1,
       "norm_eps": 1e-05, "norm_num_groups": 16, "out_channels": 8, "sample_size": 16,
       "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]}
      """
    }
  }

  /// diffusers: `model_index.json`.
  var pipeline: String {
    switch self {
    case .stableDiffusionXL:
      """
      {"_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.42.1", "force_zeros_for_empty_prompt": false,
       "add_watermarker": false,
       "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
       "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"], "tokenizer": ["transformers", "CLIPTokenizer"],
       "tokenizer_2": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
       "vae": ["diffusers", "AutoencoderKL"]}
      """
    case .stableDiffusion1:
      """
      {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.42.1", "requires_safety_checker": false,
       "feature_extractor": [null, null], "safety_checker": [null, null], "image_encoder": [null, null],
       "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
       "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
       "vae": ["diffusers", "AutoencoderKL"]}
      """
    }
  }
}

extension BaseArchitecture.TextEncoder {
  /// transformers: CLIPTextModel or CLIPTextModelWithProjection.
  func configuration(vocabulary: Int, end: Int) -> String {
    """
    {"architectures": ["\(isProjected ? "CLIPTextModelWithProjection" : "CLIPTextModel")"], "model_type": "clip_text_model", "attention_dropout": 0.0,
     "bos_token_id": \(end - 1), "eos_token_id": \(end), "pad_token_id": \(end), "dropout": 0.0, "hidden_act": "\(activation.rawValue)",
     "hidden_size": \(width), "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": \(width * 4),
     "layer_norm_eps": 1e-05, "max_position_embeddings": \(BaseConfiguration.promptLength), "num_attention_heads": 4,
     "num_hidden_layers": 3, "projection_dim": 96, "vocab_size": \(vocabulary)}
    """
  }
}
