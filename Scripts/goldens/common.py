"""What all golden scripts share: where goldens lie, seeded weights and inputs, and the writing of files."""

import copy
import json
import logging
import math
import os
import shutil
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
logging.getLogger("transformers").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")

import diffusers
import torch
import transformers
from safetensors.torch import load_file, save_file

GOLDENS = Path(__file__).resolve().parents[2] / "Tests" / "Goldens"

diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

NORMALIZATIONS = (torch.nn.GroupNorm, torch.nn.LayerNorm)
# The last layers of residual branches. Halved, they keep a deep random network from amplifying rounding errors.
BRANCH_ENDS = ("conv2", "to_out.0", "net.2", "proj_out")


def generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def fresh_folder(*parts: str) -> Path:
    folder = GOLDENS.joinpath(*parts)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@torch.no_grad()
def randomize(module: torch.nn.Module, seed: int, gains: dict[str, float] | None = None) -> torch.nn.Module:
    """Fills every parameter with seeded normal numbers, so that activations stay O(1) and no weight or bias is
    zero or one: a forgotten bias, or a norm's weight applied to the wrong layer, shows."""
    random = generator(seed)
    for path, layer in module.named_modules():
        for name, parameter in layer.named_parameters(recurse=False):
            noise = torch.randn(parameter.shape, generator=random)
            if isinstance(layer, NORMALIZATIONS):
                parameter.copy_(1 + 0.2 * noise if name == "weight" else 0.2 * noise)
            elif isinstance(layer, torch.nn.Embedding):
                parameter.copy_(0.5 * noise)
            elif parameter.ndim <= 1:
                parameter.copy_(0.1 * noise)
            else:
                gain = (gains or {}).get(path, 0.5 if path.endswith(BRANCH_ENDS) else 1.0)
                parameter.copy_(gain * noise / math.sqrt(parameter[0].numel()))
    return module.eval().requires_grad_(False)


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()}, path, metadata)
    sort_metadata(path)


def sort_metadata(path: Path) -> None:
    """Puts the metadata entries of a safetensors file in order; the library writes them in a random one."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    metadata = {"__metadata__": dict(sorted(header.pop("__metadata__").items()))} if "__metadata__" in header else {}
    text = json.dumps(metadata | header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def largest_relative_difference(value: torch.Tensor, reference: torch.Tensor) -> float:
    """max |value - reference| / max |reference|, the measure that the tests use too."""
    return ((value.double() - reference.double()).abs().max() / reference.abs().max().clamp_min(1e-30)).item()


def values_and_gradients(module, inputs, forward, cotangents, weights=()):
    """Runs `forward(module, inputs)`, a dictionary of outputs, and back-propagates sum(output * cotangent).

    Returns `output.NAME` for every output, `grad.input.NAME` for every floating input and `grad.weight.NAME` for the
    named weights."""
    leaves = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in inputs.items()}
    parameters = {name: module.get_parameter(name).requires_grad_(True) for name in weights}
    outputs = forward(module, leaves)
    total = sum((outputs[name] * cotangent).sum() for name, cotangent in cotangents.items())
    targets = {f"grad.input.{k}": v for k, v in leaves.items() if v.requires_grad}
    targets |= {f"grad.weight.{k}": v for k, v in parameters.items()}
    gradients = torch.autograd.grad(total, list(targets.values()), allow_unused=True)
    for parameter in parameters.values():
        parameter.requires_grad_(False)
    missing = [name for name, gradient in zip(targets, gradients) if gradient is None]
    assert not missing, f"no gradient reaches {missing}"
    return {f"output.{k}": v.detach() for k, v in outputs.items()} | dict(zip(targets, gradients))


def record(path: Path, module, inputs, forward, seed: int, differentiated: list[str], weights=()) -> None:
    """Writes inputs, cotangents, outputs and gradients of one model at one set of inputs.

    The same computation in float64 tells how far float32 itself is from the truth; that goes into the metadata."""
    with torch.no_grad():
        outputs = forward(module, inputs)
    random = generator(seed)
    cotangents = {name: torch.randn(outputs[name].shape, generator=random) for name in differentiated}
    values = values_and_gradients(module, inputs, forward, cotangents, weights)

    def double(tensors):
        return {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}

    exact = values_and_gradients(copy.deepcopy(module).double(), double(inputs), forward, double(cotangents), weights)
    differences = {name: largest_relative_difference(value, exact[name]) for name, value in values.items()}
    worst = max(differences, key=differences.get)
    assert differences[worst] < 5e-6, f"{path}: {worst} is ill-conditioned: {differences[worst]:.1e}"
    for name, value in values.items():
        assert value.isfinite().all(), name
        assert name.startswith("grad") or 0.05 < value.std() < 20, f"{path}: {name} is not O(1): {value.std()}"
    write_tensors(
        path,
        {f"input.{k}": v for k, v in inputs.items()} | {f"cotangent.{k}": v for k, v in cotangents.items()} | values,
        {"float64_difference": json.dumps({name: f"{value:.1e}" for name, value in sorted(differences.items())})},
    )
    print(f"{path.relative_to(GOLDENS)}: float32 differs from float64 by at most {differences[worst]:.1e}")


def prefix_text_encoder(folder: Path) -> None:
    """transformers 5 saves CLIPTextModel without the `text_model.` that all published checkpoints have; puts it back."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    kept = ("text_model.", "text_projection.")
    save_file({k if k.startswith(kept) else f"text_model.{k}": v for k, v in tensors.items()}, path, {"format": "pt"})
