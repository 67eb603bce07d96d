#!/usr/bin/env python3
"""How the time and the memory of a zip step grow, one quantity at a time: the table of Docs/SPEED.md.

    growth.py [--benchmark .build/release/ModelBenchmark] [--output FILE.json] [QUANTITY ...]

A quantity is size, rank, loras or layers; all when none is given. The step that they start from is SDXL's size at 512×512, two LoRAs
of rank 64 on all 560 attention projections, bfloat16. Each value is a process of its own, with one repetition after the first, which
sets memory up. `make bench-growth` builds ModelBenchmark and runs this. Needs no package.
"""

import argparse
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
START = {"size": 512, "rank": 64, "loras": 2, "layers": 560}
VALUES = {
    "size": [256, 512, 768, 1024],
    "rank": [4, 16, 64, 128],
    "loras": [2, 3, 4, 5],
    "layers": [70, 140, 280, 560],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quantities", nargs="*", default=list(VALUES), metavar="QUANTITY")
    parser.add_argument("--benchmark", type=pathlib.Path, default=ROOT / ".build/release/ModelBenchmark")
    parser.add_argument("--output", type=pathlib.Path, help="keep the figures as JSON")
    options = parser.parse_args()
    found = {}
    print("| | | seconds | GiB at most | of them weights and LoRAs |\n|---|---|---|---|---|", flush=True)
    for quantity in options.quantities:
        for value in VALUES[quantity]:
            settings = START | {quantity: value}
            key = json.dumps(settings)
            if key not in found:
                arguments = [text for name, number in settings.items() for text in (f"--{name}", str(number))]
                run = subprocess.run(
                    [options.benchmark, "--work", "zip-step", "--repetitions", "1", *arguments], capture_output=True, text=True, check=True)
                found[key] = settings | json.loads(run.stdout.strip().splitlines()[-1])
                if options.output:
                    options.output.write_text(json.dumps(list(found.values()), indent=1) + "\n")
            figures = found[key]
            memory, weights = (figures[name] / 2**30 for name in ["peakMemory", "memoryAfterSetUp"])
            print(f"| {quantity} | {value} | {figures['seconds'][0]:.1f} | {memory:.1f} | {weights:.1f} |", flush=True)


if __name__ == "__main__":
    main()
