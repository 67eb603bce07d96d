"""Writes Tests/Goldens/MANIFEST.json: what made the goldens, and the SHA-256 of each file."""

import hashlib
import platform
from importlib.metadata import version

from common import GOLDENS, write_json

SCRIPTS = {
    "safetensors": "safetensors_golden.py",
    "models": "models.py",
    "schedules": "schedules.py",
    "tokenizer": "tokenizer.py",
    "tokenization": "tokenization.py",
    "pipelines": "pipelines.py",
    "adapters": "adapters.py",
    "merged": "merged.py",
    "original": "original.py",
    "consumers": "consumers.py",
    "encoders": "encoders.py",
}
PACKAGES = ["accelerate", "diffusers", "lycoris-lora", "numpy", "peft", "pillow", "safetensors", "tokenizers", "torch", "transformers"]
LIMIT = 6_700_000


def main() -> None:
    files = {}
    for path in sorted(GOLDENS.rglob("*")):
        name = path.relative_to(GOLDENS).as_posix()
        if path.is_file() and "/" in name:
            content = path.read_bytes()
            script = f"Scripts/goldens/{SCRIPTS[name.split('/')[0]]}"
            files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "script": script}
    total = sum(entry["bytes"] for entry in files.values())
    assert files and total < LIMIT, f"{len(files)} goldens take {total} bytes; at most {LIMIT} are wanted"
    versions = {name: version(name).split("+")[0] for name in PACKAGES}
    made_with = {"python": platform.python_version(), "machine": platform.machine(), "packages": versions}
    write_json(GOLDENS / "MANIFEST.json", {"made_with": made_with, "files": files})
    print(f"MANIFEST.json: {len(files)} files, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
