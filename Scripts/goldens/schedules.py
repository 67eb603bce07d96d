"""Noise schedules, sampling trajectories and training noise of diffusers' schedulers: Tests/Goldens/schedules."""

import inspect
import math

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)

from common import fresh_folder, generator, write_json, write_tensors

# The contents of the published scheduler_config.json files.
SDXL = {
    "_class_name": "EulerDiscreteScheduler",
    "_diffusers_version": "0.19.0.dev0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
# Names no timestep_spacing and no prediction_type: each scheduler then takes its own defaults.
SD15 = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
CONFIGS = {
    "sdxl": SDXL,
    "sd15": SD15,
    "leading_v": SDXL | {"prediction_type": "v_prediction"},
    "linspace": SDXL | {"timestep_spacing": "linspace"},
    "trailing": SDXL | {"timestep_spacing": "trailing"},
    "trailing_v": SDXL | {"timestep_spacing": "trailing", "prediction_type": "v_prediction"},
    "zero_snr": SDXL
    | {"timestep_spacing": "trailing", "prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
}
SAMPLERS = {
    "ddpm": (DDPMScheduler, {}),
    "ddim": (DDIMScheduler, {}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_karras": (EulerDiscreteScheduler, {"use_karras_sigmas": True}),
    "euler_ancestral": (EulerAncestralDiscreteScheduler, {}),
    "dpm++2m": (DPMSolverMultistepScheduler, {}),
    "dpm++2m_karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
}
STEPS = (4, 20, 30, 50)
NOISE_SEED = 7
SHAPE = (1, 4, 2, 2)


def toy_prediction(scheduler, latent: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    return 0.3 * scheduler.scale_model_input(latent, timestep) + 0.1 * math.sin(float(timestep) / 100)


def trajectory(scheduler, noise: torch.Tensor) -> torch.Tensor:
    """All latents [steps + 1, ...], the first one `noise` times init_noise_sigma. The schedulers draw their own noise from
    the generator that made the first one."""
    random = generator(NOISE_SEED)
    first = torch.randn(SHAPE, generator=random)
    assert torch.equal(first, noise[0])
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    options = {"generator": random} if takes_generator else {}
    # Karras spacing on zero_snr rounds its first sigmas to one timestep; without this, diffusers looks the timestep up,
    # takes the second match and runs past the end.
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    latents = [first * scheduler.init_noise_sigma]
    for timestep in scheduler.timesteps:
        prediction = toy_prediction(scheduler, latents[-1], timestep)
        latents.append(scheduler.step(prediction, timestep, latents[-1], **options).prev_sample)
    return torch.stack(latents)


def make_sampling() -> None:
    folder = fresh_folder("schedules")
    random = generator(NOISE_SEED)
    noise = torch.stack([torch.randn(SHAPE, generator=random) for _ in range(max(STEPS) + 1)])
    write_tensors(folder / "noise.safetensors", {"noise": noise})
    cases = {}
    for sampler, (kind, options) in SAMPLERS.items():
        tensors = {}
        for name, config in CONFIGS.items():
            resolved = {k: v for k, v in kind.from_config(config, **options).config.items() if not k.startswith("_")}
            accepted = inspect.signature(kind.__init__).parameters
            cases[f"{sampler}/{name}"] = {
                "class": kind.__name__,
                "options": options,
                "resolved": {key: value for key, value in resolved.items() if key in accepted},
            }
            for steps in STEPS:
                scheduler = kind.from_config(config, **options)
                scheduler.set_timesteps(steps)
                prefix = f"{name}.{steps}"
                tensors[f"{prefix}.timesteps"] = scheduler.timesteps
                if hasattr(scheduler, "sigmas"):
                    tensors[f"{prefix}.sigmas"] = scheduler.sigmas.float()
                tensors[f"{prefix}.init_noise_sigma"] = torch.tensor(float(scheduler.init_noise_sigma))
                tensors[f"{prefix}.latents"] = trajectory(scheduler, noise)
                assert tensors[f"{prefix}.latents"].isfinite().all(), f"{sampler} {prefix}"
        write_tensors(folder / f"{sampler}.safetensors", tensors)
    write_json(folder / "configs.json", CONFIGS)
    write_json(folder / "cases.json", cases)
    print(f"schedules: {len(cases)} cases at {STEPS} steps")


def make_training() -> None:
    """What training needs of DDPM: cumulative alphas, noised samples, the velocity target."""
    random = generator(8)
    timesteps = torch.tensor([0, 1, 500, 999])
    sample = torch.randn(4, 4, 3, 2, generator=random)
    noise = torch.randn(4, 4, 3, 2, generator=random)
    tensors = {"timesteps": timesteps, "sample": sample, "noise": noise}
    for name in ("sdxl", "zero_snr"):
        scheduler = DDPMScheduler.from_config(CONFIGS[name])
        tensors[f"{name}.betas"] = scheduler.betas
        tensors[f"{name}.alphas_cumprod"] = scheduler.alphas_cumprod
        tensors[f"{name}.noisy"] = scheduler.add_noise(sample, noise, timesteps)
        tensors[f"{name}.velocity"] = scheduler.get_velocity(sample, noise, timesteps)
    write_tensors(fresh_folder("schedules", "training") / "expected.safetensors", tensors)


if __name__ == "__main__":
    make_sampling()
    make_training()
