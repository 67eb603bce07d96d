public import Training

/// Everything that decides the Toybox base model: sizes, amounts, rates, seeds. Written beside the weights.
public struct BaseRecipe: Sendable, Codable, Equatable {
  /// Pictures drawn for the autoencoder and the base.
  public var pictures = 40_000
  public var worldSeed: UInt64 = 1
  public var vocabularySize = 2048

  public var autoencoder = TrainingLoop.Options(
    steps: 6_000, learningRate: LearningRate(peak: 1e-3, shape: .cosine, warmup: 100), weightDecay: 0.001, beta2: 0.99,
    averageDecay: 0.998, seed: 2)
  /// Pixels a side of the cut-outs that the autoencoder learns from, and the last steps, which see whole pictures: what an
  /// autoencoder learns is local, and four times the steps for the same time is worth more than the wider view.
  public var autoencoderCrop = 32
  public var autoencoderWholeSteps = 600
  public var autoencoderBatch = 16
  /// The decoder's further training on finished latents.
  public var decoder = TrainingLoop.Options(
    steps: 12_000, learningRate: LearningRate(peak: 1e-3, shape: .cosine, warmup: 100), weightDecay: 0.001, beta2: 0.99,
    averageDecay: 0.998, seed: 6)
  /// Weight of the divergence from a unit normal; only keeps the latents from running away.
  public var divergenceWeight = 1e-5
  /// Weight of the mean absolute difference beside the squared one: keeps edges sharp.
  public var absoluteWeight = 0.25

  public var base = TrainingLoop.Options(
    steps: 8_000, learningRate: LearningRate(peak: 1.2e-3, shape: .cosine, warmup: 300), weightDecay: 0.01, beta2: 0.99,
    averageDecay: 0.999, seed: 3)
  public var baseBatch = 48
  /// Share of pictures whose caption is left out, for classifier-free guidance.
  public var emptyCaptions = 0.1
  /// γ of min-SNR weighting (arXiv 2303.09556): without it small noise levels, where nothing is decided, take most of the loss.
  public var signalToNoiseLimit = 5.0

  public var oraclePictures = 40_000
  public var oracle = TrainingLoop.Options(
    steps: 6_000, learningRate: LearningRate(peak: 2e-3, shape: .cosine, warmup: 100), weightDecay: 0.02,
    averageDecay: 0.998, seed: 4)
  public var oracleBatch = 64

  public var clip = TrainingLoop.Options(
    steps: 2_000, learningRate: LearningRate(peak: 1e-3, shape: .cosine, warmup: 200), weightDecay: 0.05, beta2: 0.98,
    averageDecay: 0.998, seed: 7)
  public var clipBatch = 64
  /// The average is the teacher.
  public var dino = TrainingLoop.Options(
    steps: 1_500, learningRate: LearningRate(peak: 1e-3, shape: .cosine, warmup: 200), weightDecay: 0.05,
    averageDecay: 0.996, seed: 8)
  public var dinoBatch = 48

  /// Scenes that the finished base is judged on.
  public var evaluationPictures = 256
  public var evaluationSeed: UInt64 = 5

  /// Steps between previews of the unfinished base in the output folder.
  public var previewEvery = 1_000

  public init() {}
}

/// The configuration files of the base, in diffusers' own words.
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

  /// diffusers: UNet2DConditionModel, SDXL's block types and conditioning at a hundredth of its size.
  static let unet = """
    {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.42.1", "act_fn": "silu",
     "addition_embed_type": "text_time", "addition_time_embed_dim": 16, "attention_head_dim": [2, 4, 6],
     "block_out_channels": [64, 128, 192], "center_input_sample": false, "cross_attention_dim": 160,
     "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], "downsample_padding": 1,
     "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": 8, "layers_per_block": 1, "mid_block_scale_factor": 1,
     "norm_eps": 1e-05, "norm_num_groups": 16, "out_channels": 8, "projection_class_embeddings_input_dim": 192,
     "sample_size": 16, "transformer_layers_per_block": [1, 1, 1],
     "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "use_linear_projection": true}
    """

  /// transformers: CLIPTextModel.
  static func textEncoder(vocabulary: Int, end: Int) -> String {
    text(architecture: "CLIPTextModel", activation: "quick_gelu", width: 64, heads: 4, vocabulary: vocabulary, end: end)
  }

  /// transformers: CLIPTextModelWithProjection.
  static func textEncoder2(vocabulary: Int, end: Int) -> String {
    text(
      architecture: "CLIPTextModelWithProjection", activation: "gelu", width: 96, heads: 4, vocabulary: vocabulary, end: end)
  }

  private static func text(
    architecture: String, activation: String, width: Int, heads: Int, vocabulary: Int, end: Int
  ) -> String {
    """
    {"architectures": ["\(architecture)"], "model_type": "clip_text_model", "attention_dropout": 0.0,
     "bos_token_id": \(end - 1), "eos_token_id": \(end), "pad_token_id": \(end), "dropout": 0.0, "hidden_act": "\(activation)",
     "hidden_size": \(width), "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": \(width * 4),
     "layer_norm_eps": 1e-05, "max_position_embeddings": \(promptLength), "num_attention_heads": \(heads),
     "num_hidden_layers": 3, "projection_dim": 96, "vocab_size": \(vocabulary)}
    """
  }

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

  static let pipeline = """
    {"_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.42.1", "force_zeros_for_empty_prompt": false,
     "add_watermarker": false,
     "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
     "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"], "tokenizer": ["transformers", "CLIPTokenizer"],
     "tokenizer_2": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
     "vae": ["diffusers", "AutoencoderKL"]}
    """
}
