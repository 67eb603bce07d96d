"""Small random models of both families with their outputs and gradients: Tests/Goldens/models."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from common import fresh_folder, generator, prefix_text_encoder, randomize, record

SDXL_UNET = dict(
    sample_size=16,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    layers_per_block=2,
    transformer_layers_per_block=[1, 1, 2],
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=8,
)

UNETS = {
    "unet_sdxl": SDXL_UNET
    | dict(
        block_out_channels=(8, 8, 12),
        norm_num_groups=2,
        attention_head_dim=[1, 2, 3],
        cross_attention_dim=40,
        projection_class_embeddings_input_dim=20 + 6 * 8,
    ),
    "unet_sd15": dict(
        sample_size=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(8, 16, 16),
        norm_num_groups=4,
        layers_per_block=1,
        attention_head_dim=8,  # the number of heads, whatever its name says
        cross_attention_dim=32,
    ),
    "unet_sd2": dict(
        sample_size=16,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(8, 12),
        norm_num_groups=4,
        layers_per_block=1,
        attention_head_dim=[2, 3],
        cross_attention_dim=32,
        use_linear_projection=True,
        upcast_attention=True,
    ),
}

AUTOENCODERS = {
    "vae_sd": dict(block_out_channels=(4, 8, 8, 8), layers_per_block=1, latent_channels=4, scaling_factor=0.18215),
    "vae_sdxl": dict(
        block_out_channels=(8, 12), layers_per_block=2, latent_channels=4, scaling_factor=0.13025, force_upcast=True
    ),
    "vae_f4_c8": dict(block_out_channels=(8, 8, 12), layers_per_block=1, latent_channels=8, scaling_factor=1.0),
}

# eos_token_id 2 is what the published files say; transformers then takes the largest id. Any other value is looked for.
TEXT_MODELS = {
    "clip_text_sd15": (CLIPTextModel, dict(hidden_act="quick_gelu", eos_token_id=2)),
    "clip_text_projection_sdxl": (
        CLIPTextModelWithProjection,
        dict(hidden_act="gelu", eos_token_id=2, projection_dim=24),
    ),
    "clip_text_projection_eos": (
        CLIPTextModelWithProjection,
        dict(hidden_act="gelu", eos_token_id=90, projection_dim=24),
    ),
}


def unet_forward(unet, inputs):
    added = {name: inputs[name] for name in ("text_embeds", "time_ids") if name in inputs}
    sample = unet(
        inputs["sample"],
        inputs["timestep"],
        encoder_hidden_states=inputs["encoder_hidden_states"],
        added_cond_kwargs=added or None,
    ).sample
    return {"sample": sample}


def unet_inputs(unet, height: int, width: int, seed: int) -> dict[str, torch.Tensor]:
    random = generator(seed)
    config = unet.config
    inputs = {
        "sample": torch.randn(2, config.in_channels, height, width, generator=random),
        "timestep": torch.tensor([37, 801]),
        "encoder_hidden_states": torch.randn(2, 7, config.cross_attention_dim, generator=random),
    }
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        inputs["text_embeds"] = torch.randn(2, pooled, generator=random)
        inputs["time_ids"] = torch.tensor([[80.0, 112, 0, 0, 80, 112], [64, 96, 3, 5, 40, 56]])
    return inputs


def make_unets() -> None:
    for seed, (name, config) in enumerate(UNETS.items(), start=130):
        folder = fresh_folder("models", name)
        unet = randomize(UNet2DConditionModel(**config), seed)
        unet.save_pretrained(folder)
        record(folder / "expected.safetensors", unet, unet_inputs(unet, 8, 12, seed + 10), unet_forward, seed, ["sample"])
        # Neither side divides by the U-Net's factor of 4, so up blocks must follow the sizes of the skips.
        odd = unet_inputs(unet, 10, 14, seed + 20) if name == "unet_sdxl" else unet_inputs(unet, 9, 7, seed + 20)
        record(folder / "expected_odd.safetensors", unet, odd, unet_forward, seed, ["sample"])


def encode_forward(autoencoder, inputs):
    posterior = autoencoder.encode(inputs["sample"]).latent_dist
    return {
        "moments": posterior.parameters,
        "mode": posterior.mode(),
        "latent": posterior.mean + posterior.std * inputs["noise"],
    }


def decode_forward(autoencoder, inputs):
    return {"sample": autoencoder.decode(inputs["latent"]).sample}


def make_autoencoders() -> None:
    for seed, (name, config) in enumerate(AUTOENCODERS.items(), start=200):
        folder = fresh_folder("models", name)
        depth = len(config["block_out_channels"])
        autoencoder = randomize(
            AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * depth,
                up_block_types=("UpDecoderBlock2D",) * depth,
                norm_num_groups=4,
                sample_size=32,
                **config,
            ),
            seed,
        )
        autoencoder.save_pretrained(folder)
        random = generator(seed + 10)
        height, width, factor = 3, 4, 2 ** (depth - 1)
        sample = torch.randn(2, 3, height * factor, width * factor, generator=random)
        latent = torch.randn(2, config["latent_channels"], height, width, generator=random)
        noise = torch.randn(latent.shape, generator=random)
        encode = {"sample": sample, "noise": noise}
        record(folder / "expected_encode.safetensors", autoencoder, encode, encode_forward, seed, ["moments", "latent"])
        record(folder / "expected_decode.safetensors", autoencoder, {"latent": latent}, decode_forward, seed, ["sample"])


def text_forward(model, inputs):
    result = model(inputs["input_ids"], output_hidden_states=True)
    outputs = {f"hidden_states.{index}": state for index, state in enumerate(result.hidden_states)}
    outputs["last_hidden_state"] = result.last_hidden_state
    if isinstance(model, CLIPTextModelWithProjection):
        outputs["text_embeds"] = result.text_embeds
    else:
        outputs["pooler_output"] = result.pooler_output
    return outputs


def make_text_models() -> None:
    for seed, (name, (kind, options)) in enumerate(TEXT_MODELS.items(), start=300):
        folder = fresh_folder("models", name)
        config = CLIPTextConfig(
            vocab_size=100,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=20,
            bos_token_id=98,
            pad_token_id=1,
            **options,
        )
        model = randomize(kind(config), seed)
        model.save_pretrained(folder)
        prefix_text_encoder(folder)
        # 98 starts, 99 ends a text as in CLIP; rows padded with the end token, with 0, and filled to the brim. For
        # eos_token_id 90 the id 90 stands before, after and without larger ids.
        rows = [
            [98, 5, 17, 90, 23, 99, 99, 99, 99, 99, 99, 99],
            [98, 42, 7, 99, 90, 0, 0, 0, 0, 0, 0, 0],
            [98, 11, 12, 13, 14, 15, 16, 17, 18, 90, 91, 99],
        ]
        pooled = "text_embeds" if kind is CLIPTextModelWithProjection else "pooler_output"
        states = [f"hidden_states.{config.num_hidden_layers - 1}", "last_hidden_state", pooled]
        embedding = "text_model.embeddings.token_embedding.weight"
        weight = embedding if kind is CLIPTextModelWithProjection else embedding.removeprefix("text_model.")
        record(
            folder / "expected.safetensors", model, {"input_ids": torch.tensor(rows)}, text_forward, seed, states, [weight]
        )


if __name__ == "__main__":
    make_unets()
    make_autoencoders()
    make_text_models()
