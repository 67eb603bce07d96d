#!/usr/bin/env python3
"""Measures how long loading a model takes and how much memory, in both layouts, next to diffusers on the same files.

    measure_loading.py make FOLDER                       writes SDXL with random weights in float16 (6.9 GB for each layout):
                                                         FOLDER/diffusers and FOLDER/original.safetensors
    measure_loading.py FOLDER --ziplora BINARY [--dtype float16 ...] [--rounds 3]

BINARY is `.build/release/ziplora`; what is timed is its hidden command `load`, which reads a model and says what that took. Each load runs
in a process of its own, so that the peak of its memory is its own. Two figures are told: the peak of resident memory, in which pages of the files
that are mapped and could be dropped count too, and the peak of anonymous memory, which is what the model itself takes. Files are read once
before, so that the disk is not measured. Needs the packages of Scripts/goldens/requirements.txt, 14 GB of disk and, in float32, 16 GB of
memory.
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

CLIP = dict(
    hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768, bos_token_id=0, eos_token_id=2
)
OPEN_CLIP = dict(
    hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, projection_dim=1280,
    hidden_act="gelu", bos_token_id=0, eos_token_id=2,
)  # fmt: skip
LAYOUTS = {"diffusers": "diffusers", "one file": "original.safetensors"}


def make(folder: Path) -> None:
    """SDXL's parts of full size. Original names come from the places that diffusers' conversion finds."""
    import torch
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    sys.path.insert(0, str(Path(__file__).parent / "goldens"))
    import original
    from pipelines import SDXL
    from tokenizer import save_tokenizer

    random = torch.Generator().manual_seed(0)

    def filled(make):
        with torch.device("meta"):
            model = make()
        model = model.half().to_empty(device="cpu")
        for tensor in model.state_dict().values():
            # One draw repeated: random enough to be moved and converted, and quick.
            noise = torch.randn(65_536, generator=random).mul_(0.02).half()
            tensor.copy_(noise.repeat(tensor.numel() // noise.numel() + 1)[: tensor.numel()].reshape(tensor.shape))
        return model

    clip, open_clip = CLIPTextConfig(**CLIP), CLIPTextConfig(**OPEN_CLIP)
    parts = {
        "unet": filled(lambda: UNet2DConditionModel(sample_size=128, **original.SDXL_UNET)),
        "vae": filled(lambda: AutoencoderKL(sample_size=1024, scaling_factor=0.13025, **original.PUBLISHED_VAE)),
        "text_encoder": filled(lambda: CLIPTextModel(clip)),
        "text_encoder_2": filled(lambda: CLIPTextModelWithProjection(open_clip)),
    }
    places = {
        "unet": original.unet(original.SDXL_UNET),
        "vae": original.vae(original.PUBLISHED_VAE),
        "text_encoder": original.text_encoder(original.CLIP_XL, clip, False),
        "text_encoder_2": original.text_encoder(original.OPEN_CLIP_XL, open_clip, True),
    }
    tensors = {}
    for part, model in parts.items():
        # transformers 5 has no `text_model.` in CLIPTextModel.
        state = {key if key in places[part] else f"text_model.{key}": value for key, value in model.state_dict().items()}
        for key, (name, form) in sorted(places[part].items(), key=lambda item: item[1]):
            value = {"T": lambda x: x.T, "P": lambda x: x[..., None, None]}.get(form, lambda x: x)(state[key])
            # Thirds come in the order of their numbers.
            tensors[name] = torch.cat([tensors[name], value]) if name in tensors else value.contiguous()
    save_file(tensors, folder / "original.safetensors")
    del tensors
    StableDiffusionXLPipeline(
        **parts,
        tokenizer=save_tokenizer(folder / "diffusers" / "tokenizer"),
        tokenizer_2=save_tokenizer(folder / "diffusers" / "tokenizer_2", pad_token="!"),
        scheduler=EulerDiscreteScheduler.from_config(SDXL),
    ).save_pretrained(folder / "diffusers")


LOAD_WITH_DIFFUSERS = """
import json, sys, time
import torch
from diffusers import StableDiffusionXLPipeline
path, folder, dtype = sys.argv[1:]
start = time.perf_counter()
options = {"torch_dtype": getattr(torch, dtype), "local_files_only": True}
if path.endswith(".safetensors"):
    pipeline = StableDiffusionXLPipeline.from_single_file(path, config=folder, **options)
else:
    pipeline = StableDiffusionXLPipeline.from_pretrained(path, **options)
# Whatever is still only mapped is read now.
for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
    for tensor in part.state_dict().values():
        tensor.sum()
print(json.dumps({"seconds": time.perf_counter() - start}))
"""


def status(pid: int) -> dict[str, int]:
    """Memory of a process in kB (Linux: /proc/PID/status)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "VmHWM"))}


def run(command: list[str]) -> dict[str, float]:
    """Runs a load and watches its memory."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peaks = {"RssAnon": 0, "VmHWM": 0}

    def watch():
        while process.poll() is None:
            for key, value in status(process.pid).items():
                peaks[key] = max(peaks[key], value)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output = process.communicate()[0]
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    seconds = json.loads(output.splitlines()[-1])["seconds"]
    return {"seconds": seconds, "resident GB": peaks["VmHWM"] / 1e6, "anonymous GB": peaks["RssAnon"] / 1e6}


def measure(folder: Path, ziplora: str, dtypes: list[str], rounds: int) -> None:
    config = str(folder / "diffusers")
    for path in [folder / "original.safetensors", *sorted((folder / "diffusers").rglob("*.safetensors"))]:
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
    print(f"{'dtype':10} {'layout':10} {'program':10} {'seconds':>16} {'resident GB':>12} {'anonymous GB':>13}")
    for dtype in dtypes:
        for layout, name in LAYOUTS.items():
            path = str(folder / name)
            options = ["--config", config] if layout == "one file" else []
            commands = {
                "ziplora": [ziplora, "load", "--base", path, "--dtype", dtype, *options],
                "diffusers": [sys.executable, "-c", LOAD_WITH_DIFFUSERS, path, config, dtype],
            }
            # In turns, so that a change of the machine meets both.
            results = {program: [] for program in commands}
            for _ in range(rounds):
                for program, command in commands.items():
                    results[program].append(run(command))
            for program, runs in results.items():
                seconds = [run["seconds"] for run in runs]
                peak = {key: max(run[key] for run in runs) for key in ("resident GB", "anonymous GB")}
                spread = f"{statistics.median(seconds):.2f} ({min(seconds):.2f}–{max(seconds):.2f})"
                print(
                    f"{dtype:10} {layout:10} {program:10} {spread:>16} {peak['resident GB']:12.2f} {peak['anonymous GB']:13.2f}",
                    flush=True,
                )


def main() -> None:
    if sys.argv[1:2] == ["make"]:
        folder = Path(sys.argv[2])
        folder.mkdir(parents=True, exist_ok=True)
        make(folder)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ziplora", required=True, help="the command to measure")
    parser.add_argument("--dtype", nargs="+", default=["float16", "bfloat16", "float32"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    measure(arguments.folder, arguments.ziplora, arguments.dtype, arguments.rounds)


if __name__ == "__main__":
    main()
