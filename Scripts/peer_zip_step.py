#!/usr/bin/env python3
"""Time and memory of one ZipLoRA step in PyTorch and diffusers, beside which Benchmarks/ZipStep is measured.

    peer_zip_step.py --way lowrank|public [--width 512] [--height 512] [--dtype bfloat16] [--steps 3] [--threads N]
                     [--checkpointing]

The U-Net of SDXL with random weights, two random LoRAs of rank 64 on its 560 attention projections. Both ways run 2 teacher
passes, 2 passes of the merged model and their backward passes, then update the merger coefficients:

  public   as mkshing/ziplora-pytorch does: both deltas of each layer dense and in float32, their weighted sum formed in every
           pass of the merged model, one backward pass for both fidelity terms together
  lowrank  the form that ziplora uses: rank-64 products, the two terms passed back one after the other

Needs the packages of Scripts/goldens/requirements.txt. Prints the figures that `make bench-zip` prints of ziplora.
"""

import argparse
import math
import os
import statistics
import sys
import time

import diffusers
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

SDXL = {
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
    """Random numbers drawn once and used many times, as in Benchmarks/ZipStep."""

    def __init__(self, dtype: torch.dtype, generator: torch.Generator):
        self.numbers = (torch.rand(1 << 25, generator=generator) * 2 - 1).to(dtype)
        self.next = 0

    def piece(self, shape: tuple[int, ...], bound: float) -> Tensor:
        count = math.prod(shape)
        self.next = (self.next + 1_000_003) % (len(self.numbers) - count + 1)
        return (self.numbers[self.next : self.next + count] * bound).reshape(shape)


def random_unet(dtype: torch.dtype, pool: NumberPool) -> UNet2DConditionModel:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SDXL).to(dtype)
    unet = unet.to_empty(device="cpu").requires_grad_(False)
    for path, parameter in unet.named_parameters():
        if parameter.dim() > 1:
            parameter.copy_(pool.piece(parameter.shape, 1 / math.sqrt(math.prod(parameter.shape[1:]))))
        else:
            parameter.fill_(1 if path.endswith(".weight") else 0)
    return unet


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


class Step:
    def __init__(self, unet, layers, height: int, width: int, dtype: torch.dtype, generator: torch.Generator):
        self.unet, self.layers, self.dtype, self.generator = unet, layers, dtype, generator
        self.size = (height, width)
        self.mergers = [merger for layer in layers for merger in layer.mergers]
        self.optimizer = torch.optim.AdamW(self.mergers, lr=0.01, weight_decay=0)
        self.forward_seconds = 0.0

    def draw(self) -> dict:
        height, width = self.size
        noise = lambda *shape: torch.randn(*shape, generator=self.generator).to(self.dtype)
        return {
            "sample": noise(1, 4, height // 8, width // 8),
            "timestep": torch.randint(0, 1000, (1,), generator=self.generator),
            "encoder_hidden_states": noise(1, 77, 2048),
            "added_cond_kwargs": {
                "text_embeds": noise(1, 1280),
                "time_ids": torch.tensor([[height, width, 0, 0, height, width]]),
            },
        }

    def predict(self, inputs: dict, mode: int) -> Tensor:
        for layer in self.layers:
            layer.mode = mode
        began = time.perf_counter()
        with torch.set_grad_enabled(mode == MERGED):
            prediction = self.unet(**inputs).sample.float()
        self.forward_seconds += time.perf_counter() - began
        return prediction

    def public(self):
        """Means of squares and of products, all terms in one loss."""
        inputs = [self.draw() for _ in range(2)]
        teachers = [self.predict(inputs[lora], lora) for lora in range(2)]
        merged = [self.predict(inputs[lora], MERGED) for lora in range(2)]
        loss = sum(F.mse_loss(prediction, teacher) for prediction, teacher in zip(merged, teachers))
        loss = loss + 0.01 * sum((layer.mergers[0] * layer.mergers[1]).abs().mean() for layer in self.layers)
        loss.backward()

    def lowrank(self):
        """Norms and cosines, term by term."""
        for lora in range(2):
            inputs = self.draw()
            teacher = self.predict(inputs, lora)
            (self.predict(inputs, MERGED) - teacher).norm().backward()
        cosines = [F.cosine_similarity(*layer.mergers, dim=0).abs() for layer in self.layers]
        (0.01 * torch.stack(cosines).sum()).backward()

    def __call__(self, way: str) -> float:
        began = time.perf_counter()
        self.forward_seconds = 0.0
        getattr(self, way)()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - began


def peak_memory() -> str:
    if sys.platform == "linux":
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("VmHWM:"))
        return f"{int(line.split()[1]) / 2**20:.2f} GiB"
    import resource

    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30:.2f} GiB"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=["public", "lowrank"], required=True)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpointing", action="store_true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    load = os.getloadavg()[0]
    dtype = getattr(torch, options.dtype)
    generator = torch.Generator().manual_seed(options.seed)
    with torch.no_grad():
        pool = NumberPool(dtype, generator)
        unet = random_unet(dtype, pool)
        layer_type = {"public": PublicLayer, "lowrank": LowRankLayer}[options.way]
        layers = attach(unet, layer_type, pool, options.rank)
    if options.checkpointing:
        unet.enable_gradient_checkpointing()
        unet.train()
    step = Step(unet, layers, options.height, options.width, dtype, generator)
    checkpointing = "with" if options.checkpointing else "no"
    print(f"peer on PyTorch {torch.__version__}, diffusers {diffusers.__version__}, way {options.way}: "
          f"sdxl with random weights, rank {options.rank}")
    print(f"  {len(layers)} layers, {sum(merger.numel() for merger in step.mergers)} coefficients")
    print(f"  {options.width}x{options.height}, {options.dtype}, cpu, {torch.get_num_threads()} threads, "
          f"{checkpointing} checkpointing, load average {load:.1f}")
    print(f"  after set-up: peak memory {peak_memory()}", flush=True)
    seconds, forward = [], []
    for index in range(options.steps):
        seconds.append(step(options.way))
        forward.append(step.forward_seconds)
        print(f"  step {index + 1}: {seconds[-1]:.2f} s, 4 forward passes {forward[-1]:.2f} s "
              f"({100 * forward[-1] / seconds[-1]:.0f} %)", flush=True)
    print(f"  median {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), "
          f"forward passes {statistics.median(forward):.2f} s, peak memory {peak_memory()}")


if __name__ == "__main__":
    main()
