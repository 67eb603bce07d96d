#!/usr/bin/env python3
"""Loads a LoRA that ziplora wrote into diffusers and compares the noise prediction with the one ziplora computed.

    check_merged.py BASE LORA EXPECTED [--scale 1] [--tolerance 1e-4]

BASE is a pipeline folder of diffusers' layout. EXPECTED is a safetensors file with input.sample, input.timestep and
output.sample, with either input.encoder_hidden_states (and input.text_embeds for SDXL) or input.input_ids (and
input.input_ids_2), and with input.time_ids for SDXL. Prints the largest absolute difference and exits with 1 if it exceeds the tolerance, or if diffusers
left out a module of the LoRA. Needs the packages of Scripts/goldens/requirements.txt.
"""

import argparse
import sys

import torch
from diffusers import DiffusionPipeline
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from safetensors.torch import load_file

ADAPTER = "merged"
DOWN_SUFFIXES = (
    ".lora_A.weight",
    ".lora_down.weight",
    ".lora.down.weight",
    "_lora.down.weight",
    ".lora_linear_layer.down.weight",
)


def conditioning(pipeline, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Prompt embeddings and, for SDXL, pooled embeddings: those of the file, or else encoded from its ids."""
    if "encoder_hidden_states" in inputs:
        return inputs["encoder_hidden_states"], inputs.get("text_embeds")
    first = pipeline.text_encoder(inputs["input_ids"], output_hidden_states=True)
    if "input_ids_2" not in inputs:
        return first.last_hidden_state, None
    second = pipeline.text_encoder_2(inputs["input_ids_2"], output_hidden_states=True)
    return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1), second.text_embeds


def loaded_modules(pipeline) -> int:
    models = [component for component in pipeline.components.values() if isinstance(component, torch.nn.Module)]
    layers = [layer for model in models for layer in model.modules() if isinstance(layer, BaseTunerLayer)]
    return sum(ADAPTER in layer.lora_A for layer in layers)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("lora")
    parser.add_argument("expected")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()

    tensors = load_file(arguments.expected)
    inputs = {key.removeprefix("input."): value for key, value in tensors.items() if key.startswith("input.")}
    pipeline = DiffusionPipeline.from_pretrained(arguments.base, torch_dtype=torch.float32)
    pipeline.load_lora_weights(arguments.lora, adapter_name=ADAPTER)
    pipeline.set_adapters(ADAPTER, arguments.scale)
    with safe_open(arguments.lora, "pt") as file:
        expected_modules = sum(key.endswith(DOWN_SUFFIXES) for key in file.keys())
    modules = loaded_modules(pipeline)

    with torch.no_grad():
        embeddings, pooled = conditioning(pipeline, inputs)
        added = None if pooled is None else {"text_embeds": pooled, "time_ids": inputs["time_ids"]}
        prediction = pipeline.unet(
            inputs["sample"], inputs["timestep"], encoder_hidden_states=embeddings, added_cond_kwargs=added
        ).sample
    expected = tensors["output.sample"]
    if prediction.shape != expected.shape:
        print(f"output.sample has shape {list(expected.shape)}, diffusers' prediction {list(prediction.shape)}", file=sys.stderr)
        return 1
    difference = (prediction - expected).abs().max().item()
    print(f"modules: {modules} of {expected_modules}; largest difference: {difference:.2e}; tolerance: {arguments.tolerance:.0e}")
    return 0 if difference <= arguments.tolerance and modules == expected_modules else 1


if __name__ == "__main__":
    sys.exit(main())
