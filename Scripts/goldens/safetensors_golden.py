"""Writes Tests/Goldens/safetensors with the reference implementation.

    python3 -m venv VENV && VENV/bin/pip install safetensors==0.8.0
    VENV/bin/python Scripts/goldens/safetensors_golden.py

Tests/SafeTensorsTests makes the same contents by the same formula and expects the same bytes.
"""

import ctypes
import hashlib
import json
import pathlib
import platform

import safetensors
from safetensors import TensorSpec, serialize

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "Tests" / "Goldens" / "safetensors"

# Every dtype that the Python binding writes (all of the format's but the six-bit floats), with bits per element.
DTYPES = {
    "bool": 8, "float4_e2m1fn_x2": 4, "uint8": 8, "int8": 8, "float8_e5m2": 8, "float8_e4m3fn": 8, "float8_e8m0fnu": 8,
    "float8_e4m3fnuz": 8, "float8_e5m2fnuz": 8, "int16": 16, "uint16": 16, "float16": 16, "bfloat16": 16, "int32": 32,
    "uint32": 32, "float32": 32, "complex64": 64, "float64": 64, "int64": 64, "uint64": 64,
}


def pattern(name: str, count: int) -> bytes:
    """Bytes that tell tensors and places apart."""
    seed = len(name.encode())
    return bytes((31 * index + seed) % 251 for index in range(count))


def write(file: str, tensors: list[tuple[str, str, list[int]]], metadata: dict[str, str] | None) -> None:
    specs, buffers = {}, []
    for name, dtype, shape in tensors:
        elements = 1
        for size in shape:
            elements *= size
        count = elements * DTYPES[dtype] // 8
        buffers.append(ctypes.create_string_buffer(pattern(name, count), max(count, 1)))
        # The binding takes the shape in stored bytes for the packed dtype and writes it in elements.
        stored = shape[:-1] + [shape[-1] // 2] if dtype.endswith("_x2") else shape
        specs[name] = TensorSpec(dtype=dtype, shape=stored, data_ptr=ctypes.addressof(buffers[-1]), data_len=count)
    (FOLDER / file).write_bytes(serialize(specs, metadata))


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    write(
        "every_dtype.safetensors",
        [(f"layer.{dtype}", dtype, [2, 4]) for dtype in DTYPES],
        {"format": "pt", "note": 'quote " backslash \\ tab \t bell \x07 snow ☃'},
    )
    write(
        "names_and_shapes.safetensors",
        [
            ("b", "float32", [3]),
            ("a", "float32", []),
            ("é", "float32", [1]),
            ("ﬀ", "float32", [1, 1]),
            ("𝄞", "float32", [2]),
            ("line\nbreak \x00 \x1f \x7f /", "bfloat16", [1, 3]),
            ("", "uint8", [5]),
            ("empty.wide", "int64", [0, 4]),
            ("empty.narrow", "uint8", [7, 0]),
        ],
        None,
    )
    write("nothing.safetensors", [], None)
    manifest = {
        "script": "Scripts/goldens/safetensors_golden.py",
        "python": platform.python_version(),
        "safetensors": safetensors.__version__,
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(FOLDER.glob("*.safetensors"))},
    }
    (FOLDER / "MANIFEST.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
