"""Small random encoders of pictures with their outputs, preprocessing, and scores from picture to figure:
Tests/Goldens/encoders."""

import json

import numpy as np
import torch
from PIL import Image
from transformers import (
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from common import GOLDENS, fresh_folder, generator, largest_relative_difference, randomize, sort_metadata, write_json
from common import write_tensors

FIXTURES = GOLDENS.parent / "ImagesTests" / "Fixtures"

CLIP = CLIPConfig(
    text_config=dict(
        vocab_size=602, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=600, eos_token_id=601, pad_token_id=601,
    ),
    vision_config=dict(
        hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, image_size=24, patch_size=8
    ),
    projection_dim=6,
)
VIT = ViTConfig(
    hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, image_size=24, patch_size=8
)
DINOV2 = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, image_size=20, patch_size=5)

# Pictures are scaled up and down, in one direction and in two, and cut in both.
SIZES = [(24, 37), (14, 9), (8, 44), (44, 13)]
PROCESSORS = {
    "clip": CLIPImageProcessor(size={"shortest_edge": 12}, crop_size={"height": 11, "width": 10}),
    "vit": ViTImageProcessor(size={"height": 10, "width": 12}),
    "bit": BitImageProcessor(
        size={"shortest_edge": 15}, crop_size={"height": 10, "width": 10}, image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ),
}

PROMPT = "a sbu dog in szn style"
PICTURES = ["rgb-8.png", "palette-8.png", "lossless.webp"]
SUBJECT = ["gray-8.png", "rgb-8-interlaced.png"]
STYLE = ["lossless.webp", "gray-alpha-8.png"]


def randomized(model, seed: int):
    """Parameters that are no layer's weights are filled as well: class tokens, positions, layer scales."""
    randomize(model, seed)
    random = generator(seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("lambda1", "class_embedding", "_token", "position_embeddings")):
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=random))
    return model


def save(model, folder, processor=None) -> None:
    model.save_pretrained(folder)
    sort_metadata(folder / "model.safetensors")
    if processor:
        processor.save_pretrained(folder)


def record(path, model, inputs, forward) -> None:
    """Writes inputs and outputs; the metadata say how far these are from the same in float64."""
    with torch.no_grad():
        outputs = forward(model, inputs)
        double = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
        exact = forward(model.double(), double)
        model.float()
    differences = {name: largest_relative_difference(value, exact[name]) for name, value in outputs.items()}
    assert max(differences.values()) < 5e-6, f"{path}: {differences}"
    write_tensors(
        path,
        {f"input.{k}": v for k, v in inputs.items()} | {f"output.{k}": v for k, v in outputs.items()},
        {"float64_difference": json.dumps({name: f"{value:.1e}" for name, value in sorted(differences.items())})},
    )
    print(f"{path.relative_to(GOLDENS)}: float32 differs from float64 by at most {max(differences.values()):.1e}")


def clip_forward(model, inputs):
    result = model(**inputs)
    return {
        "vision.last_hidden_state": result.vision_model_output.last_hidden_state,
        "image_embeds": result.image_embeds,
        "text_embeds": result.text_embeds,
        "logits_per_image": result.logits_per_image,
    }


def last_hidden_state(model, inputs):
    return {"last_hidden_state": model(**inputs).last_hidden_state}


def make_models() -> None:
    folder = fresh_folder("encoders", "clip")
    clip = randomized(CLIPModel(CLIP), 700)
    save(clip, folder, CLIPImageProcessor(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}))
    pixels = torch.randn(2, 3, 24, 24, generator=generator(701))
    # Ends at the first 601, whatever follows.
    ids = torch.tensor([[600, 5, 17, 90, 601, 601], [600, 42, 601, 99, 98, 601], [600, 11, 12, 13, 14, 601]])
    record(folder / "expected.safetensors", clip, {"pixel_values": pixels, "input_ids": ids}, clip_forward)

    folder = fresh_folder("encoders", "vit")
    vit = randomized(ViTModel(VIT), 710)
    save(vit, folder, ViTImageProcessor(size={"height": 24, "width": 24}))
    pixels = torch.randn(1, 3, 24, 24, generator=generator(711))
    record(folder / "expected.safetensors", vit, {"pixel_values": pixels}, last_hidden_state)
    # As transformers 5 calls its parameters.
    vit.save_pretrained(fresh_folder("encoders", "vit_renamed"), save_original_format=False)

    for seed, (name, swiglu) in enumerate({"dinov2": False, "dinov2_swiglu": True}.items(), start=720):
        folder = fresh_folder("encoders", name)
        dinov2 = randomized(Dinov2Model(Dinov2Config(**DINOV2, use_swiglu_ffn=swiglu)), seed)
        save(
            dinov2, folder,
            BitImageProcessor(size={"shortest_edge": 24}, crop_size={"height": 15, "width": 15}) if not swiglu else None,
        )
        # The size that the positions were trained on (once), and another one that is no square.
        for suffix, size in [("", (20, 20)), ("_other", (10, 25))][swiglu:]:
            pixels = torch.randn(1, 3, *size, generator=generator(seed + 10))
            record(folder / f"expected{suffix}.safetensors", dinov2, {"pixel_values": pixels}, last_hidden_state)
        if swiglu:
            dinov2.save_pretrained(fresh_folder("encoders", f"{name}_renamed"), save_original_format=False)
    for name in ["vit_renamed", "dinov2_swiglu_renamed"]:
        sort_metadata(GOLDENS / "encoders" / name / "model.safetensors")


def make_preprocessing() -> None:
    random = np.random.default_rng(730)
    pictures = []
    for height, width in SIZES:
        y, x = np.mgrid[0:height, 0:width].astype(float)
        smooth = np.stack([255 * x / width, 255 * y / height, 127 + 120 * np.sin(x / 3 + y / 5)], axis=2)
        smooth[height // 2 :, : width // 3] = random.integers(0, 256, (height - height // 2, width // 3, 3))
        pictures.append(smooth.round().astype(np.uint8))
    tensors = {f"input.{index}": torch.from_numpy(picture) for index, picture in enumerate(pictures)}
    for name, processor in PROCESSORS.items():
        processor.save_pretrained(fresh_folder("encoders", "preprocessing", name))
        for index, picture in enumerate(pictures):
            pixels = processor(Image.fromarray(picture), return_tensors="pt")["pixel_values"]
            tensors[f"output.{name}.{index}"] = pixels
    write_tensors(GOLDENS / "encoders" / "preprocessing" / "expected.safetensors", tensors)


def make_scores() -> None:
    """Every score of every picture, with transformers from the file to the figure."""

    def opened(name):
        picture = Image.open(FIXTURES / name).convert("RGBA")
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture)
        return white

    def directions(embeddings):
        return torch.nn.functional.normalize(embeddings, dim=-1)

    @torch.no_grad()
    def embedded(names, processor, embed):
        pixels = [processor(opened(name), return_tensors="pt")["pixel_values"] for name in names]
        return directions(embed(torch.cat(pixels)))

    root = GOLDENS / "encoders"
    clip = CLIPModel.from_pretrained(root / "clip").eval()
    tokenizer = CLIPTokenizer.from_pretrained(GOLDENS / "tokenizer")

    @torch.no_grad()
    def text(prompt):
        ids = tokenizer(prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        return directions(clip.get_text_features(ids).pooler_output)

    def image(names):
        return embedded(
            names, CLIPImageProcessor.from_pretrained(root / "clip"), lambda x: clip.get_image_features(x).pooler_output
        )

    plain = PROMPT.replace("sbu ", "").replace("szn ", "")
    scores = {
        "style": (image(PICTURES) @ image(STYLE).T).mean(dim=1),
        "text": (image(PICTURES) @ text(PROMPT).T)[:, 0],
        "plainText": (image(PICTURES) @ text(plain).T)[:, 0],
    }
    for name, model, processor in [("vit", ViTModel, ViTImageProcessor), ("dinov2", Dinov2Model, BitImageProcessor)]:
        network = model.from_pretrained(root / name).eval()
        processor = processor.from_pretrained(root / name)

        def classes(x):
            return network(x).last_hidden_state[:, 0]

        found = embedded(PICTURES, processor, classes) @ embedded(SUBJECT, processor, classes).T
        scores[f"subject.{name}"] = found.mean(dim=1)
    values = {name: [round(value, 6) for value in found.tolist()] for name, found in scores.items()}
    write_json(
        root / "scores.json",
        {"prompt": PROMPT, "plainPrompt": plain, "pictures": PICTURES, "subject": SUBJECT, "style": STYLE, "scores": values},
    )
    print(json.dumps(values))


if __name__ == "__main__":
    make_models()
    make_preprocessing()
    make_scores()
