#!/usr/bin/env python3
"""Times Benchmarks/Model in turns with PyTorch and diffusers doing the same work, and prints the table of Docs/SPEED.md.

    bench.py [--rounds 2] [--rank 64] [--threads N] [--output FILE.json] [--repetitions 3] [--sampling-steps 4] [--no-warm-up] [CASE ...]

A case is WORK:SIZE:DTYPE[:MODEL[:BATCH]], such as unet:512:bfloat16 or zip-step:64:float32:Models/toybox:4; the first
ones of Docs/SPEED.md when none is given. zip-step and zip-update are compared with both ways of Scripts/peer_benchmark.py, as long as the memory is there. Each run is a process of
its own, one after the other: ours, theirs, ours, theirs. Figures are medians over all repetitions of all rounds after the first of each process, with the
smallest and the largest; ratios are ours / theirs. `rate` is the share of what a product of 4096×5120×1280 reaches in oneDNN, in float32 where the
processor has no instructions for bfloat16.

Needs what Scripts/peer_benchmark.py needs. `make bench` builds ModelBenchmark and runs this.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
CASES = [
    "unet:512:float32", "unet:512:bfloat16", "unet:1024:bfloat16", "train-step:512:bfloat16", "picture:512:bfloat16",
    "decode:512:bfloat16",
    # Last, as the public code's way takes all the memory of a machine, and what comes after it is slower.
    "zip-step:512:bfloat16", "zip-update:512:bfloat16",
]
PEERS = {work: ["zip-step", "zip-step-public"] for work in ["zip-step", "zip-update"]}
# Of one picture, as torch.utils.flop_counter counts them.
UNET_TERAFLOPS = {"sdxl": {256: 0.428, 512: 1.589, 1024: 6.761}, "sd15": {256: 0.180, 512: 0.803, 1024: 4.674}}


def matrix_rate(dtype: str) -> float:
    """Floating-point operations a second."""
    if dtype == "bfloat16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return matrix_rate("float32")
    x, weight = (torch.randn(shape, dtype=getattr(torch, dtype)) for shape in [(4096, 1280), (5120, 1280)])
    rates = []
    for _ in range(10):
        began = time.perf_counter()
        torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
        rates.append(2 * 4096 * 1280 * 5120 / (time.perf_counter() - began))
    return statistics.median(rates)


def run(command: list[str]) -> dict | None:
    """The figures of one process; None where it failed, as it does when memory is short."""
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode != 0:
        last = process.stderr.strip().splitlines()[-1:] or [f"ended by signal {-process.returncode}"]
        print(f"{' '.join(command[:3])}: {last[0]}", file=sys.stderr)
        return None
    return json.loads(process.stdout.strip().splitlines()[-1])


def parts(case: str) -> list[str]:
    """Work, size, data type, model and batch."""
    given = case.split(":")
    return given + ["", "", "float32", "sdxl", "1"][len(given):]


def measure(case: str, rounds: int, common: list[str]) -> list[dict]:
    """`common` are options of either program."""
    work, size, dtype, model, batch = parts(case)
    options = ["--model", model, "--size", size, "--dtype", dtype, "--batch", batch, *common]
    ours = [str(ROOT / ".build/release/ModelBenchmark"), "--work", work, *options]
    peers = {peer: [sys.executable, str(ROOT / "Scripts/peer_benchmark.py"), "--work", peer, *options]
             for peer in PEERS.get(work, [work])}
    runs = {"ziplora": [], **{peer: [] for peer in peers}}
    for _ in range(rounds):
        for name, command in [("ziplora", ours), *peers.items()]:
            figures = run(command)
            if figures:
                runs[name].append(figures)
    rows = []
    for name, found in runs.items():
        seconds = [second for figures in found for second in figures["seconds"]]
        if seconds:
            rows.append({
                "case": case, "by": name, "engine": found[0]["engine"], "threads": found[0]["threads"], "median": statistics.median(seconds),
                "smallest": min(seconds), "largest": max(seconds), "peakMemory": max(figures["peakMemory"] for figures in found),
                "load": max(figures["load"] for figures in found),
            })
    return rows


def table(rows: list[dict], rates: dict[str, float]) -> str:
    lines = ["| work | | seconds | ratio | peak GiB | ratio | rate |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        work, size, dtype, model, batch = parts(row["case"])
        own = next(other for other in rows if other["case"] == row["case"])
        against = "" if row is own else f"{own['median'] / row['median']:.2f}"
        memory = "" if row is own else f"{own['peakMemory'] / row['peakMemory']:.2f}"
        work_done = UNET_TERAFLOPS.get(model, {}).get(int(size)) if work == "unet" else None
        rate = f"{1e14 * int(batch) * work_done / row['median'] / rates[dtype]:.0f} %" if work_done else ""
        title = f"{model} {work}, {size}×{size}, {dtype}, batch {batch}" if row is own else ""
        seconds = f"{row['median']:.3g} ({row['smallest']:.3g}–{row['largest']:.3g})"
        lines.append(f"| {title} | {row['by']} | {seconds} | {against} | {row['peakMemory'] / 2**30:.1f} | {memory} | {rate} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES, metavar="CASE")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rank", type=int, default=64, help="of LoRAs")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repetitions", type=int, default=3, help="of each process")
    parser.add_argument("--sampling-steps", type=int, default=4, help="of a picture")
    parser.add_argument("--no-warm-up", action="store_true", help="count the first repetition, too: for those that take minutes")
    parser.add_argument("--output", type=pathlib.Path, help="keep the figures as JSON")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    common = ["--rank", options.rank, "--repetitions", options.repetitions, "--sampling-steps", options.sampling_steps]
    common = [str(option) for option in common]
    common += ["--threads", str(options.threads)] if options.threads else []
    common += ["--no-warm-up"] if options.no_warm_up else []
    rates = {dtype: matrix_rate(dtype) for dtype in ["float32", "bfloat16"]}
    print(f"products: {rates['float32'] / 1e9:.0f} GFLOP/s in float32, {rates['bfloat16'] / 1e9:.0f} in bfloat16", flush=True)
    rows = []
    for case in options.cases:
        found = measure(case, options.rounds, common)
        rows += found
        print(table(found, rates), flush=True)
        if options.output:
            options.output.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows, rates))


if __name__ == "__main__":
    main()
