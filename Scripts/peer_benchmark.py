#!/usr/bin/env python3
"""The work of Benchmarks/Model in PyTorch, diffusers and PEFT, with the same random weights' shapes and the same options.

    peer_benchmark.py --work unet|zip-step|zip-step-public|train-step|picture|decode [--model sdxl|sd15|FOLDER] [--size 512]
                      [--dtype bfloat16] [--rank 64] [--batch 1] [--sampling-steps 4] [--repetitions 3] [--no-warm-up] [--threads N]
                      [--checkpointing]

Of a folder in diffusers' layout the architecture is taken. LoRAs of rank 64 are on all attention projections, 560 in SDXL. A zip
step runs 2 teacher passes, 2 passes of the merged model and their backward passes, then updates the merger coefficients:

  zip-step         the form that ziplora uses: rank-64 products, the two terms passed back one after the other
  zip-step-public  as mkshing/ziplora-pytorch does: both deltas of each layer dense and in float32, their weighted sum formed in
                   every pass of the merged model, one backward pass for both fidelity terms together

Needs the packages of Scripts/goldens/requirements.txt. Prints the JSON that ModelBenchmark prints.
"""

import argparse
import json
import math
import os
import sys
import time

import diffusers
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from peft import LoraConfig
from torch import Tensor, nn

SDXL_UNET = {
    "sample_size": 128,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SD15_UNET = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
SDXL_VAE = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
}
SD15_VAE = SDXL_VAE | {"sample_size": 512, "scaling_factor": 0.18215}
MODELS = {"sdxl": (SDXL_UNET, SDXL_VAE), "sd15": (SD15_UNET, SD15_VAE)}
MERGED = 2  # which of the LoRAs a layer shall use: 0, 1, or both with their coefficients


class ZipLayer(nn.Module):
    """A frozen linear layer with two LoRAs and a vector of coefficients for each."""

    def __init__(self, base: nn.Linear, ups: list[Tensor], downs: list[Tensor]):
        super().__init__()
        self.base = base
        self.mode = MERGED
        self.mergers = nn.ParameterList(torch.ones(base.in_features) for _ in ups)
        self.prepare(ups, downs)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.change(x)


class PublicLayer(ZipLayer):
    def prepare(self, ups, downs):
        self.deltas = [up.float() @ down.float() for up, down in zip(ups, downs)]

    def change(self, x):
        if self.mode == MERGED:
            delta = self.deltas[0] * self.mergers[0] + self.deltas[1] * self.mergers[1]
        else:
            delta = self.deltas[self.mode]
        return F.linear(x.to(delta.dtype), delta).to(x.dtype)


class LowRankLayer(ZipLayer):
    def prepare(self, ups, downs):
        self.ups, self.downs = ups, downs
        self.up = torch.cat(ups, dim=1)
        self.precise_downs = [down.float() for down in downs]

    def change(self, x):
        if self.mode == MERGED:
            down = torch.cat([down * merger for down, merger in zip(self.precise_downs, self.mergers)])
            return F.linear(F.linear(x, down.to(x.dtype)), self.up)
        return F.linear(F.linear(x, self.downs[self.mode]), self.ups[self.mode])


class NumberPool:
    """Random numbers drawn once and used many times, as in Benchmarks/Model."""

    def __init__(self, dtype: torch.dtype, generator: torch.Generator):
        self.numbers = (torch.rand(1 << 25, generator=generator) * 2 - 1).to(dtype)
        self.next = 0

    def piece(self, shape: tuple[int, ...], bound: float) -> Tensor:
        count = math.prod(shape)
        self.next = (self.next + 1_000_003) % (len(self.numbers) - count + 1)
        return (self.numbers[self.next : self.next + count] * bound).reshape(shape)


def random_model(model_class, settings: dict, dtype: torch.dtype, pool: NumberPool):
    with torch.device("meta"):
        model = model_class.from_config(settings).to(dtype)
    model = model.to_empty(device="cpu").requires_grad_(False)
    for path, parameter in model.named_parameters():
        if parameter.dim() > 1:
            parameter.copy_(pool.piece(parameter.shape, 1 / math.sqrt(math.prod(parameter.shape[1:]))))
        else:
            parameter.fill_(1 if path.endswith(".weight") else 0)
    return model


def settings_of(model: str) -> tuple[dict, dict]:
    """Of U-Net and autoencoder."""
    if model in MODELS:
        return MODELS[model]
    return UNet2DConditionModel.load_config(model, subfolder="unet"), AutoencoderKL.load_config(model, subfolder="vae")


def random_inputs(options, dtype: torch.dtype, batch: int, generator: torch.Generator) -> dict:
    side, (unet, vae) = options.size, settings_of(options.model)
    latents = side >> len(vae["block_out_channels"]) - 1
    noise = lambda *shape: torch.randn(*shape, generator=generator).to(dtype)
    inputs = {
        "sample": noise(batch, unet.get("in_channels", 4), latents, latents),
        "timestep": torch.randint(0, 1000, (batch,), generator=generator),
        "encoder_hidden_states": noise(batch, 77, unet["cross_attention_dim"]),
    }
    if unet.get("addition_embed_type"):
        inputs["added_cond_kwargs"] = {
            "text_embeds": noise(batch, unet["projection_class_embeddings_input_dim"] - 6 * unet["addition_time_embed_dim"]),
            "time_ids": torch.tensor([[side, side, 0, 0, side, side]] * batch),
        }
    return inputs


def attach(unet: nn.Module, layer_type: type[ZipLayer], pool: NumberPool, rank: int) -> list[ZipLayer]:
    """Puts a zip layer in the place of every attention projection."""
    places = [
        (module, name)
        for path, module in unet.named_modules()
        if path.endswith(("attn1", "attn2", "attn1.to_out", "attn2.to_out"))
        for name, child in module.named_children()
        if isinstance(child, nn.Linear)
    ]
    layers = []
    for parent, name in places:
        base = getattr(parent, name)
        downs = [pool.piece((rank, base.in_features), 1 / math.sqrt(base.in_features)) for _ in range(2)]
        ups = [pool.piece((base.out_features, rank), 0.1 / math.sqrt(rank)) for _ in range(2)]
        layer = layer_type(base, ups, downs)
        setattr(parent, name, layer)
        layers.append(layer)
    return layers


class ZipStep:
    def __init__(self, unet, layers, draw):
        self.unet, self.layers, self.draw = unet, layers, draw
        self.mergers = [merger for layer in layers for merger in layer.mergers]
        self.optimizer = torch.optim.AdamW(self.mergers, lr=0.01, weight_decay=0)

    def predict(self, inputs: dict, mode: int) -> Tensor:
        for layer in self.layers:
            layer.mode = mode
        with torch.set_grad_enabled(mode == MERGED):
            return self.unet(**inputs).sample.float()

    def finish(self):
        self.optimizer.step()
        self.optimizer.zero_grad()


class PublicZipStep(ZipStep):
    """Means of squares and of products, all terms in one loss."""

    def __call__(self):
        inputs = [self.draw() for _ in range(2)]
        teachers = [self.predict(inputs[lora], lora) for lora in range(2)]
        merged = [self.predict(inputs[lora], MERGED) for lora in range(2)]
        loss = sum(F.mse_loss(prediction, teacher) for prediction, teacher in zip(merged, teachers))
        loss = loss + 0.01 * sum((layer.mergers[0] * layer.mergers[1]).abs().mean() for layer in self.layers)
        loss.backward()
        self.finish()


class LowRankZipStep(ZipStep):
    """Norms and cosines, term by term."""

    def __call__(self):
        for lora in range(2):
            inputs = self.draw()
            teacher = self.predict(inputs, lora)
            (self.predict(inputs, MERGED) - teacher).norm().backward()
        cosines = [F.cosine_similarity(*layer.mergers, dim=0).abs() for layer in self.layers]
        (0.01 * torch.stack(cosines).sum()).backward()
        self.finish()


def train_step(unet, options, draw, generator):
    """As diffusers' examples/dreambooth/train_dreambooth_lora_sdxl.py, with latents and text embeddings cached."""
    targets = ["to_k", "to_q", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=options.rank, lora_alpha=options.rank, init_lora_weights="gaussian", target_modules=targets))
    leaves = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    for leaf in leaves:
        leaf.data = leaf.data.float()
    optimizer = torch.optim.AdamW(leaves, lr=1e-4, weight_decay=0.01)

    def step():
        inputs = draw()
        target = torch.randn(inputs["sample"].shape, generator=generator)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.dtype == "bfloat16"):
            prediction = unet(**inputs).sample
        F.mse_loss(prediction.float(), target).backward()
        torch.nn.utils.clip_grad_norm_(leaves, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def picture(unet, vae, options, dtype, inputs):
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading",
                                       steps_offset=1)

    @torch.no_grad()
    def step():
        scheduler.set_timesteps(options.sampling_steps)
        latents = inputs["sample"][: options.batch].float() * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            twice = scheduler.scale_model_input(torch.cat([latents] * 2), timestep).to(dtype)
            unconditional, conditional = unet(**{**inputs, "sample": twice, "timestep": timestep}).sample.float().chunk(2)
            latents = scheduler.step(unconditional + 5 * (conditional - unconditional), timestep, latents).prev_sample
        vae.decode((latents / vae.config.scaling_factor).to(dtype))

    return step


def prepared(options, dtype: torch.dtype, generator: torch.Generator):
    """One repetition of the work."""
    with torch.no_grad():
        pool = NumberPool(dtype, generator)
        draw = lambda batch=options.batch: random_inputs(options, dtype, batch, generator)
        unet_settings, vae_settings = settings_of(options.model)
        if options.work == "decode":
            vae = random_model(AutoencoderKL, vae_settings, dtype, pool)
            latents = draw()["sample"]
            return torch.no_grad()(lambda: vae.decode(latents))
        unet = random_model(UNet2DConditionModel, unet_settings, dtype, pool)
        if options.checkpointing:
            unet.enable_gradient_checkpointing()
            unet.train()
        if options.work == "unet":
            inputs = draw()
            return torch.no_grad()(lambda: unet(**inputs))
        if options.work == "picture":
            return picture(unet, random_model(AutoencoderKL, vae_settings, dtype, pool), options, dtype, draw(2 * options.batch))
        if options.work == "train-step":
            return train_step(unet, options, draw, generator)
        layer_type, step_type = {
            "zip-step": (LowRankLayer, LowRankZipStep), "zip-step-public": (PublicLayer, PublicZipStep)
        }[options.work]
        return step_type(unet, attach(unet, layer_type, pool, options.rank), draw)


def peak_memory() -> int:
    if sys.platform == "linux":
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = ["unet", "zip-step", "zip-step-public", "train-step", "picture", "decode"]
    parser.add_argument("--work", choices=works, required=True)
    parser.add_argument("--model", default="sdxl")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--sampling-steps", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--no-warm-up", action="store_true")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpointing", action="store_true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    load = os.getloadavg()[0]
    work = prepared(options, getattr(torch, options.dtype), torch.Generator().manual_seed(options.seed))
    figures = {"memoryAfterSetUp": peak_memory(), "seconds": []}
    for repetition in range(1 if options.no_warm_up else 0, options.repetitions + 1):
        began = time.perf_counter()
        work()
        if repetition:
            figures["seconds"].append(time.perf_counter() - began)
    engine = f"PyTorch {torch.__version__}, diffusers {diffusers.__version__}"
    print(json.dumps({"engine": engine, "threads": torch.get_num_threads(), **figures, "peakMemory": peak_memory(), "load": load}))


if __name__ == "__main__":
    main()
