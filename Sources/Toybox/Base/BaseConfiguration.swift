/// What bases of all architectures have in common, in the own words of diffusers and transformers.
enum BaseConfiguration {
  /// Longest prompt in tokens, with start and end. Toybox captions are short; 77 would spend most of the text
  /// encoders' time on padding.
  static let promptLength = 40

  /// diffusers: AutoencoderKL, four pixels a latent, eight channels.
  static let vae = """
    {"_class_name": "AutoencoderKL", "_diffusers_version": "0.42.1", "act_fn": "silu",
     "block_out_channels": [32, 64, 128], "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
     "force_upcast": false, "in_channels": 3, "latent_channels": 8, "layers_per_block": 1,
     "mid_block_add_attention": false, "norm_num_groups": 8,
     "out_channels": 3, "sample_size": 64, "scaling_factor": 1.0,
     "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]}
    """

  /// transformers: CLIPModel, of the base's tokenizer.
  static func clip(vocabulary: Int, end: Int) -> String {
    """
    {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 64, "logit_scale_init_value": 2.6592,
     "text_config": {"model_type": "clip_text_model", "attention_dropout": 0.0, "bos_token_id": \(end - 1),
      "eos_token_id": \(end), "pad_token_id": \(end), "hidden_act": "quick_gelu", "hidden_size": 96, "intermediate_size": 384,
      "layer_norm_eps": 1e-05, "max_position_embeddings": \(promptLength), "num_attention_heads": 4, "num_hidden_layers": 3,
      "projection_dim": 64, "vocab_size": \(vocabulary)},
     "vision_config": {"model_type": "clip_vision_model", "attention_dropout": 0.0, "hidden_act": "quick_gelu",
      "hidden_size": 128, "image_size": 64, "intermediate_size": 512, "layer_norm_eps": 1e-05, "num_attention_heads": 4,
      "num_channels": 3, "num_hidden_layers": 4, "patch_size": 8, "projection_dim": 64}}
    """
  }

  static let clipPreprocessor = """
    {"image_processor_type": "CLIPImageProcessor", "do_convert_rgb": true, "do_resize": true, "resample": 3,
     "size": {"shortest_edge": 64}, "do_center_crop": true, "crop_size": {"height": 64, "width": 64}, "do_rescale": true,
     "rescale_factor": 0.00392156862745098, "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    """

  /// transformers: ViTModel.
  static let dino = """
    {"architectures": ["ViTModel"], "model_type": "vit", "attention_probs_dropout_prob": 0.0, "hidden_act": "gelu",
     "hidden_dropout_prob": 0.0, "hidden_size": 128, "image_size": 64, "initializer_range": 0.02, "intermediate_size": 512,
     "layer_norm_eps": 1e-12, "num_attention_heads": 4, "num_channels": 3, "num_hidden_layers": 4, "patch_size": 8,
     "qkv_bias": true}
    """

  static let dinoPreprocessor = """
    {"image_processor_type": "ViTImageProcessor", "do_resize": true, "resample": 2, "size": {"height": 64, "width": 64},
     "do_rescale": true, "rescale_factor": 0.00392156862745098, "do_normalize": true, "image_mean": [0.5, 0.5, 0.5],
     "image_std": [0.5, 0.5, 0.5]}
    """

  static let scheduler = """
    {"_class_name": "EulerDiscreteScheduler", "_diffusers_version": "0.42.1", "beta_end": 0.012,
     "beta_schedule": "scaled_linear", "beta_start": 0.00085, "interpolation_type": "linear", "num_train_timesteps": 1000,
     "prediction_type": "epsilon", "sample_max_value": 1.0, "set_alpha_to_one": false, "skip_prk_steps": true,
     "steps_offset": 1, "timestep_spacing": "leading", "trained_betas": null, "use_karras_sigmas": false}
    """
}
