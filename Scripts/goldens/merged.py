"""diffusers' prediction for a LoRA that ziplora merged: Tests/Goldens/merged, made by Scripts/check_consumers.py --keep."""

from safetensors.torch import load_file

from adapters import predict_with
from common import GOLDENS, largest_relative_difference, write_tensors

FOLDER = GOLDENS / "merged"


def main() -> None:
    path = FOLDER / "expected.safetensors"
    inputs = {key: value for key, value in load_file(path).items() if key.startswith("input.")}
    arguments = {key.removeprefix("input."): value for key, value in inputs.items()}
    samples = {name: predict_with(FOLDER / f"{name}.safetensors", arguments, 1.0)["sample"] for name in ("kohya", "diffusers")}
    difference = largest_relative_difference(samples["kohya"], samples["diffusers"])
    assert difference < 2e-6, f"the dialects differ by {difference:.1e}"
    write_tensors(path, inputs | {"output.sample": samples["diffusers"]})
    print(f"merged: the dialects differ by {difference:.1e}")


if __name__ == "__main__":
    main()
