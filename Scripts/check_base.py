#!/usr/bin/env python3
"""Generates a picture with diffusers and compares it with the PNG that `ziplora generate` made with the same settings.

    check_base.py BASE IMAGE --prompt P [--negative-prompt N] [--sampler euler] [--steps 50] [--guidance 5] [--seed 0]
                  [--lora FILE[:WEIGHT] ...] [--tolerance 1] [--output FILE]

BASE is a pipeline folder of diffusers' layout; width and height are those of IMAGE. Prints the largest and the mean difference
in steps of 1/255 and exits with 1 if the largest exceeds the tolerance. Needs the packages of Scripts/goldens/requirements.txt.
"""

import argparse
import sys

import numpy
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)
from PIL import Image

SAMPLERS = {
    "ddim": (DDIMScheduler, {}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler-ancestral": (EulerAncestralDiscreteScheduler, {}),
    "dpm++2m": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
}


def load_loras(pipeline, specifications: list[str]) -> None:
    names, weights = [], []
    for index, specification in enumerate(specifications):
        path, _, weight = specification.rpartition(":") if ":" in specification else (specification, "", "1")
        names.append(f"lora_{index}")
        weights.append(float(weight))
        pipeline.load_lora_weights(path, adapter_name=names[-1])
    if names:
        pipeline.set_adapters(names, weights)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("image")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--negative-prompt")
    parser.add_argument("--sampler", choices=SAMPLERS, default="euler")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lora", action="append", default=[])
    parser.add_argument("--tolerance", type=float, default=1.0)
    parser.add_argument("--output", help="where to write diffusers' picture")
    arguments = parser.parse_args()

    picture = numpy.asarray(Image.open(arguments.image).convert("RGB"), dtype=numpy.int16)
    height, width, _ = picture.shape
    pipeline = DiffusionPipeline.from_pretrained(arguments.base, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    kind, options = SAMPLERS[arguments.sampler]
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **options)
    load_loras(pipeline, arguments.lora)
    image = pipeline(
        arguments.prompt,
        negative_prompt=arguments.negative_prompt,
        num_inference_steps=arguments.steps,
        guidance_scale=arguments.guidance,
        height=height,
        width=width,
        generator=torch.Generator("cpu").manual_seed(arguments.seed),
    ).images[0]
    if arguments.output:
        image.save(arguments.output)
    differences = numpy.abs(numpy.asarray(image, dtype=numpy.int16) - picture)
    print(f"{width}×{height}: largest difference {differences.max()}/255, mean {differences.mean():.4f}/255")
    return 0 if differences.max() <= arguments.tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
