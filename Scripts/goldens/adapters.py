"""LoRAs for pipelines/sdxl in diffusers' and kohya's dialects with their noise predictions, one as diffusers' training scripts
save them, and peft's LoHa and LoKr: Tests/Goldens/adapters."""

import json
import re
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.training_utils import _collate_lora_metadata
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict

from common import GOLDENS, fresh_folder, generator, largest_relative_difference, sort_metadata, write_tensors

RANK, ALPHA = 4, 2
PROMPT = "a sbu cat in szn style"
BASE = GOLDENS / "pipelines" / "sdxl"
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
TRANSFORMER = [*ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]
CONVOLUTION = ["conv_in", "conv_out", "conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"]
TEXT = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
VARIANTS = {
    "attention": {"unet": ATTENTION},
    "text": {"unet": TRANSFORMER, "text_encoder": TEXT, "text_encoder_2": TEXT},
    "convolution": {"unet": [*ATTENTION, *CONVOLUTION]},
}
# What diffusers' training scripts can ask for, in few layers: targets beyond attention, DoRA, ranks and alphas that differ.
UNET_BLOCK = r"down_blocks\.1\.attentions\.0\.transformer_blocks\.0\."
SCRIPTS = {
    "unet": LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        use_dora=True,
        target_modules=UNET_BLOCK + r"(attn1\.to_q|attn2\.to_k|attn2\.to_out\.0|ff\.net\.2)",
        rank_pattern={"attn2.to_out.0": 2},
        alpha_pattern={"attn2.to_k": 3, r".*ff\.net\.\d": 6},
    ),
    "text_encoder": LoraConfig(r=RANK, lora_alpha=1, target_modules=r".*layers\.0\.(self_attn\.q_proj|mlp\.fc1)"),
    "text_encoder_2": LoraConfig(r=2, lora_alpha=3, use_rslora=True, target_modules=r".*layers\.1\.self_attn\.out_proj"),
}
# Alphas and ranks that differ, matrices and convolutions; a LoKr without halves has no rank but the configuration's.
FORM_TARGETS = UNET_BLOCK + r"(attn1\.to_q|attn2\.to_k|ff\.net\.2)|down_blocks\.1\.resnets\.0\.(conv1|conv_shortcut)"
PEFT_FORMS = {
    "peft-loha": LoHaConfig(
        r=RANK, alpha=ALPHA, target_modules=FORM_TARGETS, rank_pattern={"attn2.to_k": 2}, alpha_pattern={r".*ff\.net\.\d": 6}
    ),
    "peft-lokr": LoKrConfig(
        r=2,
        alpha=3,
        target_modules=FORM_TARGETS,
        decompose_both=True,
        use_effective_conv2d=True,
        rank_pattern={"attn2.to_k": 64, "ff.net.2": 1, "conv1": 1},
        alpha_pattern={"ff.net.2": 6},
    ),
}
SCALES = {"": 1.0, ".scale_0.7": 0.7, ".scale_0": 0.0}
RESNET = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def load_base() -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline.from_pretrained(BASE)


def sgm_path(path: str, layers_per_block: int = 2) -> str:
    """Where diffusers' U-Net module `path` stands in the module tree of Stability's sgm package, which kohya names."""
    if path in ("conv_in", "conv_out"):
        return {"conv_in": "input_blocks.0.0", "conv_out": "out.2"}[path]
    block, *numbers, kind, index, rest = re.fullmatch(
        r"(down|mid|up)_blocks?(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", path
    ).groups()
    index = int(index)
    width = layers_per_block + 1
    rest = RESNET[rest] if kind == "resnets" else rest
    if block == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * index}.{rest}"
    first = int(numbers[0]) * width
    if kind == "downsamplers":
        return f"input_blocks.{first + width}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{first + width - 1}.2.conv"
    place = f"input_blocks.{first + index + 1}" if block == "down" else f"output_blocks.{first + index}"
    return f"{place}.{0 if kind == 'resnets' else 1}.{rest}"


def kohya_key(component: str, path: str) -> str:
    if component == "unet":
        return "lora_unet_" + sgm_path(path).replace(".", "_")
    prefix = {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}[component]
    path = path if path.startswith("text_model.") else f"text_model.{path}"
    return prefix + path.replace(".", "_")


@torch.no_grad()
def add_adapters(pipeline, configs: dict[str, LoraConfig], seed: int) -> dict[str, dict[str, torch.Tensor]]:
    """Adds random LoRAs to the components and returns their weights by component."""
    random = generator(seed)
    states = {}
    for component, config in configs.items():
        model = getattr(pipeline, component)
        model.add_adapter(config)
        for name, parameter in model.named_parameters():
            if "lora_magnitude" in name:
                parameter.mul_(1 + 0.3 * torch.randn(parameter.shape, generator=random))
            elif "lora_" in name:
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=random) / fan_in**0.5)
        states[component] = get_peft_model_state_dict(model)
    return states


def save_diffusers(pipeline, states: dict, path: Path) -> None:
    metadata = _collate_lora_metadata({component: getattr(pipeline, component) for component in states})
    for entries in metadata.values():
        # PEFT keeps the targets in a set and the folder of this machine.
        if not isinstance(entries["target_modules"], str):
            entries["target_modules"] = sorted(entries["target_modules"])
        entries["base_model_name_or_path"] = None
    StableDiffusionXLPipeline.save_lora_weights(
        path.parent,
        weight_name=path.name,
        **{f"{component}_lora_layers": state for component, state in states.items()},
        **metadata,
    )
    sort_metadata(path)


def save_kohya(states: dict, folder: Path) -> None:
    tensors = {}
    for component, state in states.items():
        for key, value in state.items():
            path, half = re.fullmatch(r"(.+)\.lora_([AB])\.weight", key).groups()
            name = kohya_key(component, path)
            tensors[f"{name}.{'lora_down' if half == 'A' else 'lora_up'}.weight"] = value
            tensors[f"{name}.alpha"] = torch.tensor(float(ALPHA))
    metadata = {
        "ss_v2": "False",
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(RANK),
        "ss_network_alpha": str(ALPHA),
    }
    write_tensors(folder / "kohya.safetensors", tensors, metadata)


def make_inputs(pipeline) -> dict[str, torch.Tensor]:
    random = generator(600)

    def ids(tokenizer):
        return tokenizer(PROMPT, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids

    return {
        "sample": torch.randn(1, 4, 10, 14, generator=random),
        "timestep": torch.tensor([601]),
        "time_ids": torch.tensor([[40.0, 56, 0, 0, 40, 56]]),
        "input_ids": ids(pipeline.tokenizer),
        "input_ids_2": ids(pipeline.tokenizer_2),
    }


@torch.no_grad()
def predict(pipeline, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The noise prediction, with SDXL's conditioning computed from the ids as its pipeline does."""
    first = pipeline.text_encoder(inputs["input_ids"], output_hidden_states=True)
    second = pipeline.text_encoder_2(inputs["input_ids_2"], output_hidden_states=True)
    embeddings = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    sample = pipeline.unet(
        inputs["sample"],
        inputs["timestep"],
        encoder_hidden_states=embeddings,
        added_cond_kwargs={"text_embeds": second.text_embeds, "time_ids": inputs["time_ids"]},
    ).sample
    return {"encoder_hidden_states": embeddings, "text_embeds": second.text_embeds, "sample": sample}


def predict_with(path: Path, inputs: dict[str, torch.Tensor], scale: float) -> dict[str, torch.Tensor]:
    pipeline = load_base()
    pipeline.load_lora_weights(path, adapter_name="golden")
    pipeline.set_adapters("golden", scale)
    return predict(pipeline, inputs)


def make_variant(name: str, targets: dict[str, list[str]], seed: int) -> None:
    folder = fresh_folder("adapters", name)
    pipeline = load_base()
    inputs = make_inputs(pipeline)
    base = predict(pipeline, inputs)
    configs = {part: LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=modules) for part, modules in targets.items()}
    states = add_adapters(pipeline, configs, seed)
    save_diffusers(pipeline, states, folder / "peft.safetensors")
    save_kohya(states, folder)
    outputs = {}
    for suffix, scale in SCALES.items():
        result = predict_with(folder / "peft.safetensors", inputs, scale)
        kohya = predict_with(folder / "kohya.safetensors", inputs, scale)
        for key in result:
            difference = largest_relative_difference(kohya[key], result[key])
            assert difference < 2e-6, f"{name}: kohya's dialect changes {key} at scale {scale} by {difference:.1e}"
        outputs |= {f"output.{key}{suffix}": value for key, value in result.items()}
    trained = predict(pipeline, inputs)
    assert largest_relative_difference(outputs["output.sample"], trained["sample"]) < 2e-6
    assert largest_relative_difference(outputs["output.sample.scale_0"], base["sample"]) < 2e-6
    effect = {suffix: largest_relative_difference(outputs[f"output.sample{suffix}"], base["sample"]) for suffix in SCALES}
    assert effect[""] > 0.05 and effect[".scale_0.7"] > 0.05, effect
    write_tensors(folder / "expected.safetensors", {f"input.{k}": v for k, v in inputs.items()} | outputs)
    modules = sum(len(state) for state in states.values()) // 2
    print(f"adapters {name}: {modules} modules change the prediction by {effect['']:.2f}")


@torch.no_grad()
def make_scripts(seed: int) -> None:
    """The file that a training script of diffusers leaves, and how it changes each weight where diffusers fuses it."""
    folder = fresh_folder("adapters", "scripts")
    pipeline = load_base()
    states = add_adapters(pipeline, SCRIPTS, seed)
    states = {component: convert_state_dict_to_diffusers(state) for component, state in states.items()}
    save_diffusers(pipeline, states, folder / "scripts.safetensors")

    def weights(pipeline) -> dict[str, torch.Tensor]:
        return {
            f"{component}.{name}": value.clone()
            for component in SCRIPTS
            for name, value in getattr(pipeline, component).state_dict().items()
            if name.endswith(".weight")
        }

    # In 64 bits, so that the differences are as exact as the file.
    pipeline = load_base().to(torch.float64)
    base = weights(pipeline)
    pipeline.load_lora_weights(folder / "scripts.safetensors")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    deltas = {name: value - base[name] for name, value in weights(pipeline).items() if not torch.equal(value, base[name])}
    assert len(deltas) == 7, sorted(deltas)
    write_tensors(folder / "expected.safetensors", {f"delta.{name}": delta.float() for name, delta in deltas.items()})
    print(f"adapters scripts: {len(deltas)} modules, {sum(len(state) for state in states.values())} keys")


@torch.no_grad()
def make_peft_form(name: str, config, seed: int) -> None:
    """What peft saves of an adapter that is no LoRA, and what it adds to each weight."""
    folder = fresh_folder("adapters", name)
    random = generator(seed)
    model = get_peft_model(load_base().unet, config)
    for key, parameter in model.named_parameters():
        if any(part in key for part in ["hada_", "lokr_"]):
            parameter.copy_(torch.randn(parameter.shape, generator=random) / parameter[0].numel() ** 0.5)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    path = folder / "adapter_config.json"
    fields = json.loads(path.read_text()) | {"base_model_name_or_path": None}
    path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")
    sort_metadata(folder / "adapter_model.safetensors")
    deltas = {
        module.removeprefix("base_model.model."): layer.double().get_delta_weight("default").float()
        for module, layer in model.named_modules()
        if hasattr(layer, "get_delta_weight")
    }
    assert len(deltas) == 5, sorted(deltas)
    write_tensors(folder / "expected.safetensors", {f"delta.unet.{module}": delta for module, delta in deltas.items()})
    print(f"adapters {name}: {len(deltas)} modules")


if __name__ == "__main__":
    for seed, (name, targets) in enumerate(VARIANTS.items(), start=601):
        make_variant(name, targets, seed)
    make_scripts(604)
    for seed, (name, config) in enumerate(PEFT_FORMS.items(), start=605):
        make_peft_form(name, config, seed)
