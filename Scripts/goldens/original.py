"""Where original checkpoints (one file) keep the parameters of diffusers' models: Tests/Goldens/original.

The original names are counted as the original code makes its layers (sgm: openaimodel.py, model.py; open_clip). Each gets a tensor
that no other has; diffusers' own conversion then says which parameter of the model becomes of which. A name that diffusers does
not take, or a parameter that none becomes of, stops the script.
"""

import copy
import hashlib
import json

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from common import GOLDENS, fresh_folder, write_json

UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP, OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
CLIP_XL, OPEN_CLIP_XL = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."


def both(*layers: str) -> list[str]:
    return [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def unet_names(config: dict) -> list[str]:
    """sgm: UNetModel.__init__, with blocks and transformers where the configuration has them."""

    def resnet(block: str, changes_width: bool) -> list[str]:
        layers = ["in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3"]
        return both(*(f"{block}.{layer}" for layer in layers + ["skip_connection"] * changes_width))

    def transformer(block: str, depth: int) -> list[str]:
        names = both(f"{block}.norm", f"{block}.proj_in", f"{block}.proj_out")
        for index in range(depth):
            inner = f"{block}.transformer_blocks.{index}"
            names += both(*(f"{inner}.{layer}" for layer in ("norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2")))
            for attention in ("attn1", "attn2"):
                names += [f"{inner}.{attention}.{layer}.weight" for layer in ("to_q", "to_k", "to_v")]
                names += both(f"{inner}.{attention}.to_out.0")
        return names

    widths = list(config["block_out_channels"])
    levels = range(len(widths))
    layers = config["layers_per_block"]
    depths = config.get("transformer_layers_per_block", 1)
    depths = [depths] * len(widths) if isinstance(depths, int) else depths
    attends = ["CrossAttn" in kind for kind in config["down_block_types"]]
    names = both("time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2")
    if config.get("addition_embed_type") == "text_time":
        names += both("label_emb.0.0", "label_emb.0.2")
    skips, width, number = [widths[0]], widths[0], 1
    for level in levels:
        for _ in range(layers):
            names += resnet(f"input_blocks.{number}.0", width != widths[level])
            if attends[level]:
                names += transformer(f"input_blocks.{number}.1", depths[level])
            width, number = widths[level], number + 1
            skips.append(width)
        if level < levels[-1]:
            names += both(f"input_blocks.{number}.0.op")
            number += 1
            skips.append(width)
    names += resnet("middle_block.0", False) + transformer("middle_block.1", depths[-1]) + resnet("middle_block.2", False)
    number = 0
    for level in reversed(levels):
        for index in range(layers + 1):
            names += resnet(f"output_blocks.{number}.0", width + skips.pop() != widths[level])
            width, place = widths[level], 1
            if attends[level]:
                names += transformer(f"output_blocks.{number}.1", depths[level])
                place = 2
            if level and index == layers:
                names += both(f"output_blocks.{number}.{place}.conv")
            number += 1
    return [UNET + name for name in names]


def vae_names(config: dict) -> list[str]:
    """sgm: modules/diffusionmodules/model.py Encoder and Decoder."""

    def resnet(block: str, changes_width: bool) -> list[str]:
        return both(*(f"{block}.{layer}" for layer in ["norm1", "conv1", "norm2", "conv2"] + ["nin_shortcut"] * changes_width))

    widths = list(config["block_out_channels"])
    names = both("quant_conv", "post_quant_conv")
    for side in ("encoder", "decoder"):
        names += both(f"{side}.conv_in", f"{side}.norm_out", f"{side}.conv_out")
        names += resnet(f"{side}.mid.block_1", False) + resnet(f"{side}.mid.block_2", False)
        names += both(*(f"{side}.mid.attn_1.{layer}" for layer in ("norm", "q", "k", "v", "proj_out")))
    width = widths[0]
    for level, target in enumerate(widths):
        for index in range(config["layers_per_block"]):
            names += resnet(f"encoder.down.{level}.block.{index}", width != target)
            width = target
        if level < len(widths) - 1:
            names += both(f"encoder.down.{level}.downsample.conv")
    for level in reversed(range(len(widths))):
        for index in range(config["layers_per_block"] + 1):
            names += resnet(f"decoder.up.{level}.block.{index}", width != widths[level])
            width = widths[level]
        if level:
            names += both(f"decoder.up.{level}.upsample.conv")
    return [VAE + name for name in names]


def open_clip_names(prefix: str, layers: int, projects: bool) -> list[str]:
    names = ["positional_embedding", "token_embedding.weight"] + ["text_projection"] * projects + both("ln_final")
    for index in range(layers):
        block = f"transformer.resblocks.{index}"
        names += both(*(f"{block}.{layer}" for layer in ("ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj", "attn.out_proj")))
        names += [f"{block}.attn.in_proj_weight", f"{block}.attn.in_proj_bias"]
    return [prefix + name for name in names]


def tagged(names: list[str], width: int = 2) -> dict[str, torch.Tensor]:
    """A tensor for each name that no other has: small, but of the rank that the conversion looks at."""
    assert len(set(names)) == len(names)
    shapes = {"in_proj_weight": (3 * width, 1), "in_proj_bias": (3 * width,), "text_projection": (width, 3)}
    tensors = {}
    for index, name in enumerate(names):
        projects = ".attn_1." in name and name.endswith("weight") and ".norm." not in name
        shape = (2, 2, 1, 1) if projects else next((s for end, s in shapes.items() if name.endswith(end)), (2,))
        tensors[name] = (torch.arange(torch.Size(shape).numel()) + 1000 * index).reshape(shape)
    return tensors


def places(converted: dict[str, torch.Tensor], original: dict[str, torch.Tensor], model: set[str]) -> dict[str, tuple[str, str]]:
    """The original name of each parameter, and what is made of the tensor: nothing, `0` to `2` for a third, `T` for a
    transposition, `P` for a 1×1 convolution made a linear layer."""
    assert set(converted) == model, set(converted) ^ model
    names = list(original)
    found = {}
    for key, tensor in converted.items():
        name = names[int(tensor.flatten()[0]) // 1000]
        source = original[name]
        thirds = source.chunk(3) if "in_proj" in name else ()
        forms = {"": source, "T": source.mT if source.ndim == 2 else None, "P": source.flatten(2)[..., 0] if source.ndim == 4 else None}
        forms |= {str(index): third for index, third in enumerate(thirds)}
        found[key] = (name, next(form for form, value in forms.items() if value is not None and torch.equal(value, tensor)))
    assert {name for name, _ in found.values()} == set(original)
    return found


def text_encoder(prefix: str, config: CLIPTextConfig, projects: bool) -> dict[str, tuple[str, str]]:
    with torch.device("meta"):
        model = CLIPTextModelWithProjection(copy.deepcopy(config))
    parameters = {key for key in model.state_dict() if projects or not key.startswith("text_projection")}
    if prefix in (CLIP, CLIP_XL):
        original = tagged([prefix + key for key in parameters])
        return places(convert_ldm_clip_checkpoint(original), original, parameters)
    original = tagged(open_clip_names(prefix, config.num_hidden_layers, projects))
    model.config.hidden_size = 2  # the width of the tensors here, where no projection tells it
    return places(convert_open_clip_checkpoint(model, original, prefix), original, parameters)


def unet(config: dict) -> dict[str, tuple[str, str]]:
    with torch.device("meta"):
        model = UNet2DConditionModel(**config)
    original = tagged(unet_names(config))
    return places(convert_ldm_unet_checkpoint(original, model.config), original, set(model.state_dict()))


def vae(config: dict) -> dict[str, tuple[str, str]]:
    with torch.device("meta"):
        model = AutoencoderKL(**config)
    original = tagged(vae_names(config))
    return places(convert_ldm_vae_checkpoint(original, model.config), original, set(model.state_dict()))


def published(repository: str, **parts) -> dict:
    """Where the published models of full size have their parameters: how many there are, and a digest of the lines."""
    return {"like": repository} | {
        name: {"parameters": len(found), "sha256": hashlib.sha256("".join(lines(found)).encode()).hexdigest()}
        for name, found in parts.items()
    }


def lines(found: dict[str, tuple[str, str]]) -> list[str]:
    return [f"{key}\t{name}\t{form}\n" for key, (name, form) in sorted(found.items())]


def front_coded(found: dict[str, tuple[str, str]]) -> str:
    """The lines, each name without what it has in common with the beginning of the one above, but for the number of these
    letters."""
    text, previous = "", ["", ""]
    for line in lines(found):
        *names, form = line.split("\t")
        for above, name in zip(previous, names):
            common = next((i for i, (a, b) in enumerate(zip(above, name)) if a != b), min(len(above), len(name)))
            text += f"{common} {name[common:]}\t"
        text += form
        previous = names
    return text


def config(path: str) -> dict:
    return {k: v for k, v in json.loads((GOLDENS / path / "config.json").read_text()).items() if not k.startswith("_")}


DOWN, UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
SD1_UNET = dict(
    down_block_types=(DOWN, DOWN, DOWN, "DownBlock2D"), up_block_types=("UpBlock2D", UP, UP, UP),
    block_out_channels=(320, 640, 1280, 1280), layers_per_block=2, cross_attention_dim=768,
)  # fmt: skip
SD2_UNET = SD1_UNET | dict(cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20], use_linear_projection=True)
SDXL_UNET = dict(
    down_block_types=("DownBlock2D", DOWN, DOWN), up_block_types=(UP, UP, "UpBlock2D"), block_out_channels=(320, 640, 1280),
    layers_per_block=2, transformer_layers_per_block=[1, 2, 10], cross_attention_dim=2048, attention_head_dim=[5, 10, 20],
    use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816,
)  # fmt: skip
PUBLISHED_VAE = dict(
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(128, 256, 512, 512), layers_per_block=2,
)  # fmt: skip


def main() -> None:
    folder = fresh_folder("original")
    pipelines = {
        "sd15": {"text_encoder": (CLIP, False)},
        "sdxl": {"text_encoder": (CLIP_XL, False), "text_encoder_2": (OPEN_CLIP_XL, True)},
    }
    for name, encoders in pipelines.items():
        path = f"pipelines/{name}"
        parts = {"unet": unet(config(f"{path}/unet")), "vae": vae(config(f"{path}/vae"))}
        for encoder, (prefix, projects) in encoders.items():
            parts[encoder] = text_encoder(prefix, CLIPTextConfig(**config(f"{path}/{encoder}")), projects)
        for part, found in parts.items():
            (folder / f"{name}.{part}.txt").write_text(front_coded(found))
    (folder / "sd2.unet.txt").write_text(front_coded(unet(config("models/unet_sd2"))))
    sd2_text = CLIPTextConfig(**config("models/clip_text_sd15"))
    (folder / "sd2.text_encoder.txt").write_text(front_coded(text_encoder(OPEN_CLIP, sd2_text, False)))

    large, big = CLIPTextConfig(num_hidden_layers=12), CLIPTextConfig(num_hidden_layers=32)
    write_json(
        folder / "published.json",
        {
            "Stable Diffusion 1.x": published(
                "stable-diffusion-v1-5/stable-diffusion-v1-5", unet=unet(SD1_UNET), vae=vae(PUBLISHED_VAE),
                text_encoder=text_encoder(CLIP, large, False),
            ),
            "Stable Diffusion 2.x": published(
                "stabilityai/stable-diffusion-2-1", unet=unet(SD2_UNET), vae=vae(PUBLISHED_VAE),
                text_encoder=text_encoder(OPEN_CLIP, CLIPTextConfig(num_hidden_layers=23), False),
            ),
            "Stable Diffusion XL": published(
                "stabilityai/stable-diffusion-xl-base-1.0", unet=unet(SDXL_UNET), vae=vae(PUBLISHED_VAE),
                text_encoder=text_encoder(CLIP_XL, large, False), text_encoder_2=text_encoder(OPEN_CLIP_XL, big, True),
            ),
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
