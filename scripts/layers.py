"""Measure the layers of the 64x64 networks, one by one, and other forms that they could have.

The times are what oneDNN reports of its kernels while the loops of scripts/benchmark.py train;
layout changes, BatchNorm and activations are summed below. The other forms stand for the arithmetic
only: what brings the pixels into their order is not in them.
"""
from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

from benchmark import BATCH_SIZE, describe_processor, find_pytorch
from loops import WARM_UP

from dcgan_mx.system.cpu import check_bfloat16

SCRIPTS = Path(__file__).resolve().parent
Times = Dict[Tuple[str, str], List[float]]  # milliseconds of each call, by layer and pass
PASSES = {"forward_training": "forward", "backward_data": "data gradient",
          "backward_weights": "weight gradient", "forward_inference": "forward"}
# By oneDNN's name of the operation, its channels before and after.
LAYERS = {
    ("deconvolution", 100, 512): "g1, 1x1 -> 4x4", ("deconvolution", 512, 256): "g2, 4x4 -> 8x8",
    ("deconvolution", 256, 128): "g3, 8x8 -> 16x16",
    ("deconvolution", 128, 64): "g4, 16x16 -> 32x32",
    ("deconvolution", 64, 3): "g5, 32x32 -> 64x64",
    ("convolution", 3, 64): "d1, 64x64 -> 32x32", ("convolution", 64, 128): "d2, 32x32 -> 16x16",
    ("convolution", 128, 256): "d3, 16x16 -> 8x8", ("convolution", 256, 512): "d4, 8x8 -> 4x4",
    ("convolution", 512, 1): "d5, 4x4 -> 1x1",
    ("convolution", 256, 128): "d2, 2x2 of blocks", ("convolution", 512, 256): "d3, 2x2 of blocks",
    ("convolution", 1024, 512): "d4, 2x2 of blocks",
    ("inner_product", 100, 8192): "g1, matrix product",
    ("inner_product", 512, 4096): "g2, matrix product",
    ("inner_product", 256, 2048): "g3, matrix product",
    ("inner_product", 2048, 256): "d3, matrix product",
    ("inner_product", 4096, 512): "d4, matrix product"}
# Shapes of data, and channels after: a convolution of 4x4 and stride 2 as one of 2x2 on pixels in
# blocks of four, and (de)convolutions as products of all patches with all kernels.
BLOCKS = {(BATCH_SIZE, 256, 17, 17): 128, (BATCH_SIZE, 512, 9, 9): 256,
          (BATCH_SIZE, 1024, 5, 5): 512}
PRODUCTS = {(BATCH_SIZE, 100): 8192, (16 * BATCH_SIZE, 512): 4096, (64 * BATCH_SIZE, 256): 2048,
            (64 * BATCH_SIZE, 2048): 256, (16 * BATCH_SIZE, 4096): 512}
OTHERS = {"reorder": "layout changes and casts", "batch_normalization": "BatchNorm",
          "eltwise": "activations", "sum": "sums"}


def compute_forms(dtype: str, steps: int) -> None:
    """Compute the other forms and their gradients, so many times."""
    from dcgan_mx.system.amx import BFLOAT16, prepare_bfloat16
    from dcgan_mx.system.runtime import mx
    if dtype == "bfloat16":
        prepare_bfloat16(gpu=False)

    def cast(symbol: Any, to: Any) -> Any:
        return mx.sym.amp_cast(symbol, dtype=to) if dtype == "bfloat16" else symbol

    x, weight = (cast(mx.sym.Variable(name), BFLOAT16) for name in ("x", "w"))
    for shape, channels in (*BLOCKS.items(), *PRODUCTS.items()):
        symbol = (mx.sym.Convolution(x, weight, no_bias=True, num_filter=channels, kernel=(2, 2))
                  if len(shape) == 4 else
                  mx.sym.FullyConnected(x, weight, no_bias=True, num_hidden=channels))
        executor = cast(symbol, "float32").simple_bind(mx.context.current_context(), x=shape)
        for array in executor.arg_arrays:
            array[:] = mx.nd.random.normal(shape=array.shape)
        for _ in range(steps):
            output = executor.forward(is_train=True)[0]
            executor.backward(output)
        mx.nd.waitall()


def read_times(text: str, steps: int, warm_up: int) -> Times:
    """Take times from what oneDNN printed in so many steps, but for those of the first ones."""
    times: Times = {}
    for line in text.splitlines():
        words = line.split(",")
        if "exec" not in words:
            continue
        _, kind, _, direction, *_, problem, milliseconds = words[words.index("exec") + 1:]
        sizes = re.search(r"ic(\d+)(?:i\w\d+)*oc(\d+)", problem)
        if sizes:
            channels = int(sizes[1]), int(sizes[2])
            name = LAYERS.get((kind, *channels), f"{kind} {problem}")
            key = name, PASSES.get(direction, direction)
        else:
            key = OTHERS.get(kind, kind), ""
        times.setdefault(key, []).append(float(milliseconds))
    return {key: values[len(values) * warm_up // steps:] for key, values in times.items()}


def measure(command: list[str], steps: int, warm_up: int, text: str | None = None) -> Times:
    """Run a script of this folder with oneDNN's report on; return its times."""
    done = subprocess.run([sys.executable, str(SCRIPTS / command[0]), *command[1:]], input=text,
                          env={**os.environ, "DNNL_VERBOSE": "1", "ONEDNN_VERBOSE": "1"},
                          stdout=subprocess.PIPE, text=True, check=True)
    return read_times(done.stdout, steps, warm_up)


def show(columns: dict[str, Times], steps: int) -> None:
    """Print a row for each layer and pass: milliseconds a call, and how many calls a step has."""
    print(f"\n{'milliseconds x calls a step':37}"
          + "".join(f"{name:>20}" for name in columns))
    keys = {key: None for times in columns.values() for key in times}
    names = [*LAYERS.values(), *OTHERS.values()]
    passes = [*PASSES.values()]

    def place(key: tuple[str, str]) -> tuple[int, int]:
        return (names.index(key[0]) if key[0] in names else len(names),
                passes.index(key[1]) if key[1] in passes else 0)

    for key in sorted(keys, key=place):
        cells = []
        for times in columns.values():
            values = times.get(key, [])
            a_step = len(values) / steps
            cells.append("" if not values else f"{sum(values) / steps:.1f}     " if not key[1] else
                         f"{statistics.median(values):.1f} x {a_step:<3.0f}")
        print(f"{key[0]:21}{key[1]:16}" + "".join(f"{cell:>20}" for cell in cells))
    if any(name in OTHERS.values() for name, _ in keys):
        totals = (sum(map(sum, times.values())) / steps for times in columns.values())
        print(f"{'all kernels':37}" + "".join(f"{f'{total:.1f}     ':>20}" for total in totals))
    sys.stdout.flush()


def main() -> None:
    """Parse the flags and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--forms", choices=("float32", "bfloat16"),
                        help="only compute the other forms; DNNL_VERBOSE=1 shows their times")
    args = parser.parse_args()
    if args.forms:
        compute_forms(args.forms, args.steps + WARM_UP)
        return
    print(f"on {describe_processor()}")
    loops, forms = {"float32": "ours"}, ["float32"]
    try:
        check_bfloat16(gpu=False)
        loops["bfloat16"] = "ours-bfloat16"
        forms.append("bfloat16")
        if find_pytorch():
            loops["PyTorch's bfloat16"] = "pytorch-bfloat16"
    except ValueError as error:
        print(f"bfloat16 is left out: {error}")
    warm_up = WARM_UP + 1  # `loops.serve` trains one more when it is asked to
    show({name: measure(["loops.py", loop], args.steps + warm_up, warm_up, f"{args.steps}\n")
          for name, loop in loops.items()}, args.steps)
    others = {dtype: measure(["layers.py", "--steps", str(args.steps), "--forms", dtype],
                             args.steps + WARM_UP, WARM_UP) for dtype in forms}
    print("\nother forms:", end="")
    show({dtype: {key: values for key, values in times.items() if key[1]}
          for dtype, times in others.items()}, args.steps)


if __name__ == "__main__":
    main()
