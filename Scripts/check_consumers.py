#!/usr/bin/env python3
"""Lets diffusers and PEFT load what ziplora writes, and compares their noise predictions with ziplora's.

    check_consumers.py [--keep] [--only TEXT]

For the small SDXL and SD 1.5 pipelines of Tests/Goldens and LoRAs of several scopes, every dialect and type that ziplora
writes is loaded, and what train, merge, zip, resize and reweight write. A consumer must load every module of the file,
say nothing of keys that it leaves out, and predict the same noise. What diffusers is known not to read is expected to fail in
that way, so that the list in Docs/Parity.md stays true. Prints a line for each file; exits with 1 if one is wrong.

--only takes the lines whose name contains TEXT. --keep makes the zipped files the goldens of Tests/Goldens/merged. ZIPLORA
names the command (.build/release/ziplora). Needs the packages of Scripts/goldens/requirements.txt (`make check-consumers`).
"""

import argparse
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

for library in (diffusers, transformers):
    library.utils.logging.disable_progress_bar()
    library.utils.logging.disable_default_handler()

ROOT = Path(__file__).resolve().parents[1]
GOLDENS = ROOT / "Tests" / "Goldens"
ZIPLORA = os.environ.get("ZIPLORA", str(ROOT / ".build" / "release" / "ziplora"))
PICTURES = ROOT / "Tests" / "ImagesTests" / "Fixtures"
PROMPT = "a sbu dog in szn style"
# The largest difference of a prediction over its largest element. In 16 bits, that of the rounded LoRA from the exact one.
TOLERANCES = {"float32": 2e-5, "float16": 5e-3, "bfloat16": 5e-2}
DOWN = re.compile(r"\.lora_(A|down)\.weight$")
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TRANSFORMER = (*ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
# What is said of a part of the model that the file has no layers of (were there any, their number would tell), and of the
# libraries themselves.
HARMLESS = re.compile(
    r"No LoRA keys associated to (UNet2DConditionModel|CLIPTextModel|CLIPTextModelWithProjection) found|is deprecated and will be"
)


def ziplora(*arguments: str | Path) -> None:
    words = [str(argument) for argument in arguments]
    run = subprocess.run([ZIPLORA, *words], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if run.returncode:
        sys.exit(f"ziplora {' '.join(words)}\n{run.stderr}")


class Base:
    """A pipeline of the goldens, as ziplora and diffusers see it."""

    def __init__(self, name: str, work: Path):
        self.name, self.path, self.work = name, GOLDENS / "pipelines" / name, work
        self.pipeline()  # once before warnings are looked at

    def pipeline(self) -> DiffusionPipeline:
        return DiffusionPipeline.from_pretrained(self.path, dtype=torch.float32)

    def predict(self, lora: Path) -> dict[str, torch.Tensor]:
        output = self.work / "predicted.safetensors"
        options = ("--base", self.path, "--lora", lora, "--prompt", PROMPT, "--seed", 5)
        ziplora("predict", *options, "--output", output, "--overwrite")
        return load_file(output)


@torch.no_grad()
def prediction(pipeline, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """diffusers' noise prediction for the inputs in a file of `ziplora predict`."""
    inputs = {key.removeprefix("input."): value for key, value in tensors.items() if key.startswith("input.")}
    first = pipeline.text_encoder(inputs["input_ids"], output_hidden_states=True)
    embeddings, added = first.last_hidden_state, None
    if "input_ids_2" in inputs:
        second = pipeline.text_encoder_2(inputs["input_ids_2"], output_hidden_states=True)
        embeddings = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        added = {"text_embeds": second.text_embeds, "time_ids": inputs["time_ids"]}
    return pipeline.unet(
        inputs["sample"], inputs["timestep"], encoder_hidden_states=embeddings, added_cond_kwargs=added
    ).sample


# MARK: consumers


class Complaints(logging.Handler):
    """Collects what libraries say while they load a file."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())

    def __enter__(self):
        self.caught = warnings.catch_warnings(record=True)
        self.warned = self.caught.__enter__()
        warnings.simplefilter("always")
        for name in ("diffusers", "peft", "transformers"):
            logging.getLogger(name).addHandler(self)
        return self

    def __exit__(self, *exception):
        for name in ("diffusers", "peft", "transformers"):
            logging.getLogger(name).removeHandler(self)
        self.caught.__exit__(*exception)
        self.texts += [str(warning.message) for warning in self.warned]


def load_with_diffusers(pipeline: DiffusionPipeline, file: Path) -> None:
    pipeline.load_lora_weights(file, adapter_name="checked")
    pipeline.set_adapters("checked", 1.0)


def load_with_peft(pipeline: DiffusionPipeline, file: Path) -> None:
    """PEFT's own reading of a folder, into the one model that its keys are of."""
    with safe_open(file, "pt") as opened:
        is_text = any(".self_attn." in key for key in opened.keys())
    part = "text_encoder" if is_text else "unet"
    model = PeftModel.from_pretrained(getattr(pipeline, part), file.parent, adapter_name="checked")
    setattr(pipeline, part, model.base_model.model)


CONSUMERS = {"kohya": load_with_diffusers, "diffusers": load_with_diffusers, "peft": load_with_peft}


def active_layers(pipeline) -> list[BaseTunerLayer]:
    models = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    models += [pipeline.unet, pipeline.text_encoder]
    layers = {id(layer): layer for model in models for layer in model.modules() if isinstance(layer, BaseTunerLayer)}
    return [layer for layer in layers.values() if "checked" in layer.lora_A and "checked" in layer.active_adapters]


@dataclass
class Check:
    """What a consumer made of a file."""

    name: str
    consumer: str
    expected: int
    tolerance: float
    loaded: int = 0
    difference: float = float("inf")
    complaints: tuple[str, ...] = ()
    # What the consumer is known to say, where it is known not to read such a file.
    limit: str | None = None

    @property
    def succeeded(self) -> bool:
        return self.loaded == self.expected and self.difference <= self.tolerance and not self.complaints

    @property
    def is_as_expected(self) -> bool:
        if self.limit is None:
            return self.succeeded
        return not self.succeeded and any(self.limit in text for text in self.complaints)

    def __str__(self) -> str:
        verdict = "ok" if self.succeeded else "known limit" if self.is_as_expected else "WRONG"
        modules = f"{self.loaded}/{self.expected}"
        line = f"{self.name:<44} {self.consumer:<10} {modules:>9} {self.difference:>9.1e} {self.tolerance:>9.0e}  {verdict}"
        return "\n".join([line] + [f"    {self.consumer}: {' '.join(text.split())[:240]}" for text in self.complaints])


def check(
    base: Base, name: str, file: Path, dialect: str, expected: dict[str, torch.Tensor], dtype: str, limit: str | None = None
) -> Check:
    """Loads a file that ziplora wrote as its consumer does."""
    with safe_open(file, "pt") as opened:
        modules = sum(bool(DOWN.search(key)) for key in opened.keys())
    result = Check(f"{base.name} {name}", "peft" if dialect == "peft" else "diffusers", modules, TOLERANCES[dtype], limit=limit)
    pipeline = base.pipeline()
    with Complaints() as complaints:
        try:
            CONSUMERS[dialect](pipeline, file)
        except Exception as error:  # whatever a consumer throws at a user is what is to be shown
            complaints.texts = [f"{type(error).__name__}: {error}"]
    result.complaints = tuple(text for text in complaints.texts if not HARMLESS.search(text))
    layers = active_layers(pipeline)
    result.loaded = len(layers)
    if layers:
        reference = expected["output.sample"]
        result.difference = ((prediction(pipeline, expected) - reference).abs().max() / reference.abs().max()).item()
    return result


# MARK: LoRAs


def kohya_name(component: str, path: str, is_xl: bool) -> str:
    """sd-scripts' name of a layer, with U-Net blocks as diffusers names them, which ziplora reads for every family."""
    if component == "unet":
        return "lora_unet_" + path.replace(".", "_")
    prefix = {"text_encoder": "lora_te1_" if is_xl else "lora_te_", "text_encoder_2": "lora_te2_"}[component]
    path = path if path.startswith("text_") else f"text_model.{path}"
    return prefix + path.replace(".", "_")


def random_lora(base: Base, file: Path, layers, seed: int, alphas: tuple[float, ...] = (1.0, 0.7, 4.0, 2.0)) -> None:
    """A LoRA with another rank and alpha from layer to layer, in kohya's dialect."""
    generator = torch.Generator().manual_seed(seed)
    pipeline = base.pipeline()
    is_xl = hasattr(pipeline, "text_encoder_2")
    tensors, count = {}, 0
    for component in ("unet", "text_encoder", "text_encoder_2"):
        for path, module in getattr(pipeline, component, torch.nn.Module()).named_modules():
            if not isinstance(module, torch.nn.Linear | torch.nn.Conv2d) or not layers(component, path):
                continue
            rank, alpha = 1 + count % 3, alphas[count % len(alphas)]
            count += 1
            shape = list(module.weight.shape)
            down = torch.randn([rank, *shape[1:]], generator=generator) / (module.weight[0].numel() ** 0.5)
            up = torch.randn([shape[0], rank, *[1] * len(shape[2:])], generator=generator) * 0.3
            name = kohya_name(component, path, is_xl)
            tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(alpha)}
    save_file(tensors, file)


SCOPES = {
    "attention": lambda component, path: component == "unet" and path.endswith(ATTENTION),
    "whole U-Net": lambda component, path: component == "unet",
    "transformers and text": lambda component, path: component != "unet" or path.endswith(TRANSFORMER),
    "text encoder": lambda component, path: component == "text_encoder",
    "everything": lambda component, path: True,
    "added conditions": lambda component, path: path.startswith("add_embedding") or path.endswith("to_q"),
}
# Those that are of one model and so fit into a file of PEFT's.
OF_ONE_MODEL = ("attention", "whole U-Net", "convolution", "text encoder")
# Those that are written in 16 bits, too.
IN_ALL_TYPES = ("everything", "whole U-Net", "transformers and text")


def sources(base: Base) -> dict[str, Path]:
    """LoRAs to be written in every dialect: those that diffusers saved, and some of mixed ranks and alphas."""
    files = {}
    if base.name == "sdxl":
        names = ("attention", "convolution", "text")
        files = {f"golden {name}": GOLDENS / "adapters" / name / "kohya.safetensors" for name in names}
    scopes = ["everything"] if base.name == "sdxl" else ["attention", "whole U-Net", "transformers and text", "text encoder"]
    for seed, scope in enumerate(scopes):
        files[f"mixed {scope}"] = base.work / f"mixed {scope}.safetensors"
        random_lora(base, files[f"mixed {scope}"], SCOPES[scope], seed)
    return files


def conversions(base: Base, wanted):
    for name, source in sources(base).items():
        expected = None
        for dialect in CONSUMERS:
            if dialect == "peft" and not name.endswith(OF_ONE_MODEL):
                continue
            for dtype in TOLERANCES if name.endswith(IN_ALL_TYPES) else ["float32"]:
                title = f"{name} {dialect} {dtype}"
                if not wanted(f"{base.name} {title}"):
                    continue
                expected = expected or base.predict(source)
                folder = base.work / title
                folder.mkdir()
                file = folder / "adapter_model.safetensors"
                ziplora("convert", source, "--base", base.path, "--to", dialect, "--dtype", dtype, "--output", file)
                yield check(base, title, file, dialect, expected, dtype)


def outcomes(base: Base, wanted):
    """What the other commands write. Ranks, scales and layers differ, so that every part of the format is used."""
    subject, style = base.work / "subject.safetensors", base.work / "style.safetensors"
    pictures = {subject: PICTURES / "rgb-8.png", style: PICTURES / "lossy.webp"}
    prompts = {subject: "a sbu dog", style: "a house in szn style"}
    training = ("train", "--base", base.path, "--steps", 20, "--learning-rate", "1e-2")
    for seed, (file, options) in enumerate(
        {subject: ("--rank", 2, "--alpha", 3, "--targets", "attention+conv"), style: ("--rank", 1)}.items(), start=1
    ):
        ziplora(*training, "--images", pictures[file], "--prompt", prompts[file], "--seed", seed, *options, "--output", file)
    zipping = ("zip", "--base", base.path, "--subject", subject, "--style", style, "--steps", 20, "--learning-rate", 0.02)
    zipping += ("--subject-images", pictures[subject], "--style-images", pictures[style])
    zipping += ("--subject-prompt", prompts[subject], "--style-prompt", prompts[style])
    merging = ("merge", "--base", base.path, "--lora", subject, "--lora", f"{style}:0.8")
    commands = {
        "train": None,
        "merge direct": (*merging, "--method", "direct"),
        "merge svd": (*merging, "--method", "svd", "--rank", 2),
        "merge ties": (*merging, "--method", "ties"),
        "zip": zipping,
        "reweight": ("reweight", base.work / "zip.DIALECT.safetensors", "--style-weight", 0.4),
        "resize": ("resize", base.work / "zip.DIALECT.safetensors", "--base", base.path, "--rank", 2),
    }
    for name, command in commands.items():
        for dialect in ("kohya", "diffusers"):
            file = base.work / f"{name.replace(' ', '-')}.{dialect}.safetensors"
            if name == "train":
                file = subject
                if dialect != "kohya":
                    continue
            else:
                named = [str(part).replace("DIALECT", dialect) for part in command]
                # What is reweighted without a base stays in its dialect.
                option = {"reweight": (), "resize": ("--to", dialect)}.get(name, ("--dialect", dialect))
                dtype = ("--save-dtype", "float16") if name == "zip" else ()
                ziplora(*named, *option, *dtype, "--output", file)
            if wanted(f"{base.name} {name} {dialect}"):
                yield check(base, f"{name} {dialect}", file, dialect, base.predict(file), "float32")


def limits(base: Base, wanted):
    """What diffusers does not read, and what it says of it: the reason for what ziplora writes instead."""
    cases = {"alphas that differ, not restated, kohya": ("attention", (1.0, 4.0), "alpha_pattern keys did not match")}
    if base.name == "sdxl":
        complaint = "unexpected keys found in the model: add.embedding"
        cases["add_embedding by diffusers' name, kohya"] = ("added conditions", (1.0,), complaint)
    for name, (scope, alphas, complaint) in cases.items():
        if wanted(f"{base.name} {name}"):
            file = base.work / f"{name}.safetensors"
            random_lora(base, file, SCOPES[scope], seed=9, alphas=alphas)
            yield check(base, name, file, "kohya", base.predict(file), "float32", limit=complaint)


def keep(base: Base) -> None:
    folder = GOLDENS / "merged"
    folder.mkdir(exist_ok=True)
    for dialect in ("kohya", "diffusers"):
        shutil.copy(base.work / f"zip.{dialect}.safetensors", folder / f"{dialect}.safetensors")
    save_file(base.predict(folder / "kohya.safetensors"), folder / "expected.safetensors")
    for script in ("merged", "manifest"):
        subprocess.run([sys.executable, ROOT / "Scripts" / "goldens" / f"{script}.py"], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    counts = Counter()
    print(f"{'file':<44} {'consumer':<10} {'modules':>9} {'differs':>9} {'at most':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("sdxl", "sd15"):
            work = Path(folder) / name
            work.mkdir()
            base = Base(name, work)
            for part in (conversions, outcomes, limits):
                for result in part(base, lambda title: arguments.only in title):
                    print(result, flush=True)
                    counts[result.is_as_expected] += 1
            if arguments.keep and name == "sdxl":
                keep(base)
    print(f"{counts[True]} files as expected, {counts[False]} not")
    return 0 if counts[True] and not counts[False] else 1


if __name__ == "__main__":
    sys.exit(main())
