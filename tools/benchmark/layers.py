"""Measure the layers of the 64x64 networks one by one.

The times are those that oneDNN reports for its kernels while the loops of the benchmark train.
Layout changes, BatchNorm and activations are summed below them.
"""
from __future__ import annotations

import re
from statistics import median
from typing import Dict, List, Tuple

from ..common import describe_processor, find_pytorch, has_bfloat16, make_parser, run_python
from .bench_loops import WARM_UP

Times = Dict[Tuple[str, str], List[float]]  # milliseconds of each call, by layer and pass
PASSES = {"forward_training": "forward", "backward_data": "data gradient",
          "backward_weights": "weight gradient", "forward_inference": "forward"}
# oneDNN's name of the operation, input channels, output channels.
LAYERS = {
    ("deconvolution", 100, 512): "g1, 1x1 -> 4x4", ("deconvolution", 512, 256): "g2, 4x4 -> 8x8",
    ("deconvolution", 256, 128): "g3, 8x8 -> 16x16",
    ("deconvolution", 128, 64): "g4, 16x16 -> 32x32",
    ("deconvolution", 64, 3): "g5, 32x32 -> 64x64",
    ("convolution", 3, 64): "d1, 64x64 -> 32x32", ("convolution", 64, 128): "d2, 32x32 -> 16x16",
    ("convolution", 128, 256): "d3, 16x16 -> 8x8", ("convolution", 256, 512): "d4, 8x8 -> 4x4",
    ("convolution", 512, 1): "d5, 4x4 -> 1x1"}
OTHERS = {"reorder": "layout changes and casts", "batch_normalization": "BatchNorm",
          "eltwise": "activations", "sum": "sums"}


def measure(loop: str, steps: int) -> Times:
    """Train a loop with oneDNN's report on; return the times after the warm-up."""
    warm_up = WARM_UP + 1  # `bench_loops.serve` trains one step more on each request
    report = run_python("-m", "tools.benchmark.bench_loops", loop, input=f"{steps}\n",
                        env={"DNNL_VERBOSE": "1", "ONEDNN_VERBOSE": "1"})
    times: Times = {}
    for line in report.splitlines():
        words = line.split(",")
        if "exec" not in words:
            continue
        _, kind, _, direction, *_, problem, milliseconds = words[words.index("exec") + 1:]
        sizes = re.search(r"ic(\d+)(?:i\w\d+)*oc(\d+)", problem)
        key = OTHERS.get(kind, kind), ""
        if sizes:
            name = LAYERS.get((kind, int(sizes[1]), int(sizes[2])), f"{kind} {problem}")
            key = name, PASSES.get(direction, direction)
        times.setdefault(key, []).append(float(milliseconds))
    return {key: values[len(values) * warm_up // (steps + warm_up):]
            for key, values in times.items()}


def show(columns: dict[str, Times], steps: int) -> None:
    """Print a row for each layer and pass: milliseconds a call, and calls a step."""
    names = [*LAYERS.values(), *OTHERS.values()]
    passes = ["", *PASSES.values()]

    def place(key: tuple[str, str]) -> tuple[int, int]:
        return names.index(key[0]) if key[0] in names else len(names), passes.index(key[1])

    print(f"\n{'milliseconds x calls a step':37}" + "".join(f"{name:>20}" for name in columns))
    for key in sorted({key for times in columns.values() for key in times}, key=place):
        cells = []
        for values in (times.get(key, []) for times in columns.values()):
            cells.append("" if not values else f"{sum(values) / steps:.1f}     " if not key[1] else
                         f"{median(values):.1f} x {len(values) / steps:<3.0f}")
        print(f"{key[0]:21}{key[1]:16}" + "".join(f"{cell:>20}" for cell in cells))
    totals = (sum(map(sum, times.values())) / steps for times in columns.values())
    print(f"{'all kernels':37}" + "".join(f"{f'{total:.1f}     ':>20}" for total in totals))


def main() -> None:
    """Parse the flags and measure."""
    parser = make_parser(__doc__)
    parser.add_argument("--steps", type=int, default=10, help="steps after the warm-up")
    args = parser.parse_args()
    print(f"on {describe_processor()}")
    loops = {"float32": "ours"}
    if has_bfloat16():
        loops["bfloat16"] = "ours-bfloat16"
        if find_pytorch():
            loops["PyTorch's bfloat16"] = "pytorch-bfloat16"
    show({name: measure(loop, args.steps) for name, loop in loops.items()}, args.steps)


if __name__ == "__main__":
    main()
