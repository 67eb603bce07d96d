"""Text-to-image pipelines of both families with random weights, and pictures made with them: Tests/Goldens/pipelines."""

import contextlib
import json
import sys
from pathlib import Path
from unittest import mock

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import torch_utils
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from common import fresh_folder, generator, prefix_text_encoder, randomize, write_json, write_tensors
from models import SDXL_UNET
from schedules import SD15, SDXL
from tokenizer import save_tokenizer

# transformers 5 has dropped an attribute that diffusers 0.42.1 asks for where layers are skipped.
CLIPTextModel.text_model = property(lambda encoder: encoder)

SAMPLERS = {
    "ddim": (DDIMScheduler, {}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler-ancestral": (EulerAncestralDiscreteScheduler, {}),
    "dpm++2m": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
}
PROMPT = "a photo of a sbu cat on grass, in szn style"
NEGATIVE = "blurry, low quality"
LONG = ", ".join(f"{thing} number {number} on grass" for number, thing in enumerate(["a sbu cat", "a dog", "a house"] * 6))
SDXL_SIZES = dict(original_size=[64, 96], crops_coords_top_left=[3, 5], target_size=[40, 56])
SDXL_CASES = {
    "ddim": dict(sampler="ddim", num_inference_steps=5, negative_prompt=NEGATIVE, height=40, width=56, seed=11),
    "euler": dict(
        sampler="euler", num_inference_steps=4, negative_prompt=NEGATIVE, height=40, width=56, seed=12, **SDXL_SIZES
    ),
    # Without a negative prompt the unconditional embeddings are zeros (force_zeros_for_empty_prompt).
    "euler-ancestral": dict(sampler="euler-ancestral", num_inference_steps=5, height=40, width=56, seed=13),
    "dpm++2m": dict(sampler="dpm++2m", num_inference_steps=6, negative_prompt=NEGATIVE, height=56, width=40, seed=14),
    "unguided": dict(sampler="euler", num_inference_steps=4, guidance_scale=1.0, seed=15),
    # Of the prompt alone: diffusers reads the negative prompt to the usual layer.
    "clip-skip": dict(sampler="euler", num_inference_steps=3, guidance_scale=1.0, clip_skip=1, height=16, width=16, seed=16),
    "rescaled": dict(sampler="ddim", num_inference_steps=4, guidance_scale=8.0, guidance_rescale=0.7, height=16, width=16, seed=17),
    "long": dict(sampler="euler", num_inference_steps=2, prompt=LONG, negative_prompt=NEGATIVE, parts=2, height=16, width=16, seed=18),
}
SD_CASES = {
    "ddim": dict(sampler="ddim", num_inference_steps=5, negative_prompt=NEGATIVE, height=40, width=56, seed=21),
    "euler": dict(sampler="euler", num_inference_steps=4, negative_prompt=NEGATIVE, height=40, width=56, seed=22),
    "euler-ancestral": dict(sampler="euler-ancestral", num_inference_steps=5, height=40, width=56, seed=23),
    "dpm++2m": dict(sampler="dpm++2m", num_inference_steps=6, negative_prompt=NEGATIVE, height=56, width=40, seed=24),
    "unguided": dict(sampler="euler", num_inference_steps=4, guidance_scale=1.0, seed=25),
    "clip-skip": dict(sampler="euler", num_inference_steps=3, guidance_scale=1.0, clip_skip=1, height=32, width=32, seed=26),
    "rescaled": dict(sampler="ddim", num_inference_steps=4, guidance_scale=8.0, guidance_rescale=0.7, height=32, width=32, seed=27),
    "long": dict(sampler="euler", num_inference_steps=2, guidance_scale=1.0, prompt=LONG, parts=2, height=32, width=32, seed=28),
}


def text_config(hidden_size: int, **options) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=602,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=3,
        num_attention_heads=hidden_size // 8,
        max_position_embeddings=77,
        **options,
    )


def autoencoder(depth: int, seed: int, **options) -> AutoencoderKL:
    model = AutoencoderKL(
        block_out_channels=(8,) * depth,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        layers_per_block=1,
        norm_num_groups=2,
        sample_size=48,
        **options,
    )
    # Pictures shall lie within [-1, 1], where clamping hides nothing.
    return randomize(model, seed, {"decoder.conv_out": 0.3})


def finish(folder: Path, scheduler: dict, prefixed: list[str]) -> None:
    """Gives the saved folder the form of the published ones."""
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    for name in prefixed:
        prefix_text_encoder(folder / name)


def make_sdxl() -> Path:
    folder = fresh_folder("pipelines", "sdxl")
    first = text_config(16, hidden_act="quick_gelu", bos_token_id=0, pad_token_id=1, eos_token_id=2)
    second = text_config(24, hidden_act="gelu", bos_token_id=0, pad_token_id=1, eos_token_id=2, projection_dim=20)
    unet = UNet2DConditionModel(
        **SDXL_UNET | {"sample_size": 12},
        block_out_channels=(4, 8, 12),
        norm_num_groups=2,
        attention_head_dim=[1, 2, 3],
        cross_attention_dim=16 + 24,
        projection_class_embeddings_input_dim=20 + 6 * 8,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=autoencoder(3, 401, scaling_factor=0.13025, force_upcast=True),
        text_encoder=randomize(CLIPTextModel(first), 402),
        text_encoder_2=randomize(CLIPTextModelWithProjection(second), 403),
        tokenizer=save_tokenizer(folder / "tokenizer"),
        tokenizer_2=save_tokenizer(folder / "tokenizer_2", pad_token="!"),
        unet=randomize(unet, 404),
        scheduler=EulerDiscreteScheduler.from_config(SDXL),
    )
    pipeline.save_pretrained(folder)
    finish(folder, SDXL, ["text_encoder"])
    for name in ("tokenizer", "tokenizer_2"):
        (folder / name / "tokenizer.json").unlink()
    return folder


def make_sd15() -> Path:
    """Keeps what transformers 5 writes today: tokenizer.json alone, a text encoder without the prefix `text_model.`."""
    folder = fresh_folder("pipelines", "sd15")
    text = text_config(16, hidden_act="quick_gelu", bos_token_id=600, pad_token_id=1, eos_token_id=601)
    unet = UNet2DConditionModel(
        sample_size=6,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(8, 8, 8),
        norm_num_groups=2,
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=16,
    )
    pipeline = StableDiffusionPipeline(
        vae=autoencoder(4, 501, scaling_factor=0.18215),
        text_encoder=randomize(CLIPTextModel(text), 502),
        tokenizer=save_tokenizer(folder / "tokenizer"),
        unet=randomize(unet, 503),
        scheduler=PNDMScheduler.from_config(SD15),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    finish(folder, SD15, [])
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json"):
        (folder / "tokenizer" / name).unlink()
    return folder


@contextlib.contextmanager
def noise_in_float32():
    """Lets a float64 pipeline draw the same noise as a float32 one."""

    def randn_tensor(shape, generator=None, device=None, dtype=None, layout=None):
        return torch_utils.randn_tensor(shape, generator, device, torch.float32, layout).to(dtype)

    users = [name for name, module in sys.modules.items() if name.startswith("diffusers.") and "randn_tensor" in vars(module)]
    with contextlib.ExitStack() as stack:
        for name in users:
            if name != torch_utils.__name__:
                stack.enter_context(mock.patch(f"{name}.randn_tensor", randn_tensor))
        yield


def in_parts(pipeline, text: str, parts: int) -> list[torch.Tensor]:
    """States of a text in parts of 75 tokens, one after the other, and the pooled text of the first where there is one (A1111)."""
    states, pooled = [], None
    for name in ("", "_2"):
        encoder, tokenizer = getattr(pipeline, f"text_encoder{name}", None), getattr(pipeline, f"tokenizer{name}", None)
        if encoder is None:
            continue
        ids = tokenizer(text, add_special_tokens=False).input_ids[: parts * 75]
        rows = [[tokenizer.bos_token_id, *ids[part * 75 : part * 75 + 75], tokenizer.eos_token_id] for part in range(parts)]
        rows = torch.tensor([row + [tokenizer.pad_token_id] * (77 - len(row)) for row in rows])
        with torch.no_grad():
            output = encoder(rows, output_hidden_states=True)
        is_sdxl = hasattr(pipeline, "text_encoder_2")
        states.append((output.hidden_states[-2] if is_sdxl else output.last_hidden_state).flatten(0, 1)[None])
        pooled = output.text_embeds[:1] if is_sdxl and name else None
    return [torch.cat(states, -1)] + ([] if pooled is None else [pooled])


def generate(pipeline, case: dict, scheduler: dict) -> dict[str, torch.Tensor]:
    """Runs one case and returns its conditioning, the latents before the first and after each step, and the picture."""
    arguments = dict(case)
    kind, options = SAMPLERS[arguments.pop("sampler")]
    seed = arguments.pop("seed")
    prompt, parts = arguments.pop("prompt", PROMPT), arguments.pop("parts", 1)
    if parts > 1:
        keys = ("prompt_embeds", "pooled_prompt_embeds")
        arguments |= zip(keys, in_parts(pipeline, prompt, parts))
        if negative := arguments.pop("negative_prompt", None):
            arguments |= zip((f"negative_{key}" for key in keys), in_parts(pipeline, negative, parts))
        prompt = None
    pipeline.scheduler = kind.from_config(scheduler, **options)
    recorded = {}

    def record_conditioning(_, positional, named):
        if "encoder_hidden_states" not in recorded:
            recorded["encoder_hidden_states"] = named["encoder_hidden_states"]
            recorded.update(named["added_cond_kwargs"] or {})

    def record_latents(_, step, timestep, tensors):
        latents.append(tensors["latents"])
        return tensors

    latents = []
    hook = pipeline.unet.register_forward_pre_hook(record_conditioning, with_kwargs=True)
    prepare = pipeline.prepare_latents

    def prepare_latents(*positional, **named):
        latents.append(prepare(*positional, **named))
        return latents[0]

    with mock.patch.object(pipeline, "prepare_latents", prepare_latents):
        final = pipeline(
            prompt,
            generator=generator(seed),
            output_type="latent",
            callback_on_step_end=record_latents,
            **{"guidance_scale": 5.0} | arguments,
        ).images
    hook.remove()
    assert torch.equal(final, latents[-1])
    with torch.no_grad():
        decoded = pipeline.vae.decode(final / pipeline.vae.config.scaling_factor).sample
    picture = pipeline.image_processor.postprocess(decoded, output_type="np")[0]
    image = torch.from_numpy((picture * 255).round().astype("uint8"))
    return recorded | {"latents": torch.stack(latents), "decoded": decoded, "image": image}


def make_pictures(folder: Path, kind, cases: dict[str, dict], scheduler: dict) -> None:
    tensors, descriptions, differences = {}, {}, {}
    for name, case in cases.items():
        pipeline = kind.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        result = generate(pipeline, case, scheduler)
        resolved = {k: v for k, v in pipeline.scheduler.config.items() if not k.startswith("_")}
        with noise_in_float32():
            exact = generate(pipeline.to(torch.float64), case, scheduler)
        differences[name] = (result["decoded"].double() - exact["decoded"]).abs().max().item()
        spread = result["decoded"].std().item()
        assert differences[name] < 1e-3 and 0.1 < spread < 0.8, f"{name}: {differences[name]:.1e}, spread {spread:.2f}"
        tensors |= {f"{name}.{key}": value for key, value in result.items()}
        descriptions[name] = {"prompt": PROMPT, "guidance_scale": 5.0} | case | {"scheduler": resolved}
        final = result["latents"][-1]
        print(f"{folder.name} {name}: float32 differs by {differences[name]:.1e}, spread {spread:.2f}, latents {final.std():.1f}")
    metadata = {"float64_difference": json.dumps({name: f"{value:.1e}" for name, value in differences.items()})}
    write_tensors(folder / "expected.safetensors", tensors, metadata)
    write_json(folder / "cases.json", descriptions)


if __name__ == "__main__":
    make_pictures(make_sdxl(), StableDiffusionXLPipeline, SDXL_CASES, SDXL)
    make_pictures(make_sd15(), StableDiffusionPipeline, SD_CASES, SD15)
