"""What other libraries call the layers of a LoRA of full size, and what they hash: Tests/Goldens/consumers.

Names and shapes in kohya's dialect are those of LyCORIS' network for sd-scripts, made over the models of diffusers; for SDXL,
which sd-scripts trains under its original names, over a tree of these names, found by diffusers' conversion of single files.
ComfyUI takes a U-Net's weights under the same names, from the original ones. diffusers' own conversion of LoRA files must lead
each name back to its layer. Names in diffusers' dialect are those that peft gives.
"""

import hashlib
import json
import logging
from io import BytesIO

import safetensors.torch
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_lora_to_diffusers, _maybe_map_sgm_blocks_to_diffusers
from diffusers.utils import convert_state_dict_to_peft, convert_unet_state_dict_to_peft
from lycoris.kohya import LycorisNetworkKohya
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from common import fresh_folder, write_json
from original import SD1_UNET, SDXL_UNET, UNET, unet as original_names

TRANSFORMERS = ["Transformer2DModel"]
BLOCKS = [*TRANSFORMERS, "ResnetBlock2D", "Downsample2D", "Upsample2D"]
# Layers outside of blocks, which only a LoRA of every layer has.
SINGLE = ["conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"]
SINGLE_XL = ["add_embedding.linear_1", "add_embedding.linear_2"]
# A layer of each kind of block in diffusers, and what it is called within the original block.
FIRST_LAYERS = {
    "Transformer2DModel": ("proj_in", "proj_in"), "ResnetBlock2D": ("conv1", "in_layers.2"),
    "Downsample2D": ("conv", "op"), "Upsample2D": ("conv", "conv"),
}  # fmt: skip
CLIP_L = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
OPEN_CLIP_G = CLIPTextConfig(
    hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, projection_dim=1280
)
Shapes = dict[str, list[int]]


def layers(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)}


def insert(tree: torch.nn.Module, path: str, leaf: torch.nn.Module) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in tree._modules:
            tree.add_module(parent, torch.nn.Module())
        tree = tree._modules[parent]
    tree.add_module(name, leaf)


def original_tree(model: UNet2DConditionModel, names: dict[str, str]) -> torch.nn.Module:
    """The layers of a U-Net in a tree of the original names, with blocks of the class names that LyCORIS looks for."""
    tree = torch.nn.Module()
    for path, module in model.named_modules():
        if (kind := type(module).__name__) in FIRST_LAYERS:
            layer, inside = FIRST_LAYERS[kind]
            block = names[f"{path}.{layer}"].removesuffix(f".{inside}")
            insert(tree, block, type(kind, (torch.nn.Module,), {})())
    for path, layer in layers(model).items():
        insert(tree, names[path], layer)
    return tree


def kohya(network: list) -> Shapes:
    return {f"{lora.lora_name}.{part}": list(value.shape) for lora in network for part, value in lora.state_dict().items()}


def lycoris(
    encoders: list | torch.nn.Module, unet: torch.nn.Module, blocks: list[str], single: list[str]
) -> tuple[Shapes, Shapes]:
    """Keys and shapes of the text encoders and of the U-Net, at rank 1."""
    LycorisNetworkKohya.UNET_TARGET_REPLACE_MODULE = blocks
    LycorisNetworkKohya.UNET_TARGET_REPLACE_NAME = single
    network = LycorisNetworkKohya(encoders, unet, lora_dim=1, conv_lora_dim=1, warn_on_unmatched=False)
    return kohya(network.text_encoder_loras), kohya(network.unet_loras)


def check_diffusers_reads(keys: Shapes, expected: dict[str, set[str]], config) -> None:
    """diffusers, given a file of these keys, finds just the layers that they were made of."""
    state = {key: torch.zeros(shape) for key, shape in keys.items()}
    mapped = _maybe_map_sgm_blocks_to_diffusers(state, config)
    converted, alphas = _convert_non_diffusers_lora_to_diffusers(mapped)
    assert len(alphas) == len(keys) // 3
    for component, paths in expected.items():
        part = {k.removeprefix(f"{component}."): v for k, v in converted.items() if k.startswith(f"{component}.")}
        peft = convert_unet_state_dict_to_peft(part) if component == "unet" else convert_state_dict_to_peft(part)
        found = {key.split(".lora_A.")[0] for key in peft if ".lora_A." in key}
        assert found == paths, sorted(found ^ paths)


def peft_keys(component: str, model: torch.nn.Module, paths: set[str]) -> Shapes:
    model.add_adapter(LoraConfig(r=1, target_modules=sorted(paths)))
    state = get_peft_model_state_dict(model)
    model.delete_adapters("default")
    return {f"{component}.{key}": list(value.shape) for key, value in state.items()}


def text_keys(component: str, linears: dict[str, torch.nn.Module], paths: set[str]) -> Shapes:
    """The same for a text encoder, under the names of published files, which peft cannot know."""
    down = {f"{component}.{path}.lora_A.weight": [1, linears[path].in_features] for path in paths}
    return down | {f"{component}.{path}.lora_B.weight": [linears[path].out_features, 1] for path in paths}


def digest(keys: Shapes, parts: int) -> dict:
    text = "".join(f"{key} {shape}\n" for key, shape in sorted(keys.items()))
    return {"modules": len(keys) // parts, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def text_model(config: CLIPTextConfig, projects: bool) -> torch.nn.Module:
    """A text encoder under the names of published files: transformers 5 has dropped text_model from the first."""
    with torch.device("meta"):
        model = CLIPTextModelWithProjection(config) if projects else CLIPTextModel(config)
    if not hasattr(model, "text_model"):
        model, inner = torch.nn.Module(), model
        model.text_model = inner
    return model


def family(config: dict, encoders: dict[str, torch.nn.Module], is_xl: bool) -> dict:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    names = {path: path for path in layers(unet)}
    if is_xl:
        places = original_names(config)
        names = {path: places[f"{path}.weight"][0].removeprefix(UNET).removesuffix(".weight") for path in names}
    tree = original_tree(unet, names) if is_xl else unet
    listed = list(encoders.values())
    outside = SINGLE + (SINGLE_XL if is_xl else [])
    text, transformers = lycoris(listed if is_xl else listed[0], tree, TRANSFORMERS, [])
    _, blocks = lycoris([], tree, BLOCKS, [])
    _, everything = lycoris([], tree, BLOCKS, [names[path] for path in outside])
    by_encoder = dict(zip(encoders, ("lora_te1_", "lora_te2_") if is_xl else ("lora_te_",)))
    texts = {part: {k: v for k, v in text.items() if k.startswith(prefix)} for part, prefix in by_encoder.items()}

    ends = (".q_proj", ".k_proj", ".v_proj", ".out_proj", ".fc1", ".fc2")
    paths = {part: {path for path in layers(model) if path.endswith(ends)} for part, model in encoders.items()}
    blocky = {path for path in names if path not in outside}
    within = {path for path in names if ".attentions." in path}
    for keys, expected in ((transformers, within), (blocks, blocky), (everything, set(names))):
        check_diffusers_reads(keys | text, {"unet": expected} | paths, unet.config)
    return {
        "kohya": {"transformers": digest(transformers, 3), "blocks": digest(blocks, 3), "unet": digest(everything, 3)}
        | {part: digest(keys, 3) for part, keys in texts.items()},
        "diffusers": {
            name: digest(peft_keys("unet", unet, members), 2)
            for name, members in (("transformers", within), ("blocks", blocky), ("unet", set(names)))
        }
        | {part: digest(text_keys(part, layers(model), paths[part]), 2) for part, model in encoders.items()},
    }


# MARK: hashes


def ramp(*shape: int) -> torch.Tensor:
    """Numbers that tell places apart, exact in every type."""
    return ((torch.arange(torch.Size(shape).numel()) * 31) % 251).reshape(shape) / 16


def lora(shapes: dict[str, tuple[int, int, int]]) -> dict[str, torch.Tensor]:
    """Layers of (outputs, rank, inputs) in kohya's dialect with alpha 2."""
    tensors = {}
    for name, (outputs, rank, inputs) in shapes.items():
        tensors[f"{name}.lora_down.weight"] = ramp(rank, inputs)
        tensors[f"{name}.lora_up.weight"] = ramp(outputs, rank)
        tensors[f"{name}.alpha"] = torch.tensor(2.0)
    return tensors


def hashes(tensors: dict[str, torch.Tensor], training: dict[str, str]) -> dict[str, str]:
    """By the rules of sd-scripts (the whole file in memory) and of the model specification."""
    file = safetensors.torch.save(tensors, training)
    stream = BytesIO(file)
    stream.seek(8 + int.from_bytes(file[:8], "little"))
    content = hashlib.sha256(stream.read()).hexdigest()
    stream.seek(1 << 20)
    legacy = hashlib.sha256(stream.read(1 << 16)).hexdigest()[:8]
    return {"sshs_model_hash": content, "sshs_legacy_hash": legacy, "modelspec.hash_sha256": f"0x{content}"}


def hash_cases() -> dict[str, dict[str, str]]:
    attention = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    training = {
        "ss_network_module": "networks.lora", "ss_network_dim": "2", "ss_network_alpha": "2.0", "ss_network_args": "{}",
        "ss_base_model_version": "sd_v1", "ss_v2": "False", "ss_training_comment": "für \"Katze\"",
    }  # fmt: skip
    small = {attention: (8, 2, 768)}
    # Long enough for all of the part from 1 MiB to 1 MiB + 64 KiB.
    large = {attention: (70000, 2, 768), "lora_unet_mid_block_attentions_0_proj_in": (50000, 2, 60000)}
    return {name: hashes(lora(shapes), training) for name, shapes in (("small", small), ("large", large))}


def main() -> None:
    logging.getLogger("LyCORIS").setLevel(logging.WARNING)
    folder = fresh_folder("consumers")
    write_json(folder / "hashes.json", hash_cases())
    clip, open_clip = text_model(CLIP_L, False), text_model(OPEN_CLIP_G, True)
    keys = {
        "Stable Diffusion 1.x": family(SD1_UNET, {"text_encoder": clip}, False),
        "Stable Diffusion XL": family(SDXL_UNET, {"text_encoder": clip, "text_encoder_2": open_clip}, True),
    }
    write_json(folder / "keys.json", keys)
    for name, dialects in keys.items():
        print(f"consumers {name}:", json.dumps({part: entry["modules"] for part, entry in dialects["kohya"].items()}))


if __name__ == "__main__":
    main()
