"""Compare one step's gradients in bfloat16 with those in float32, layer by layer.

Both steps start from the same weights on the same images. On a processor with AMX, two float32
runs follow, one of them in a process that has enabled AMX: their parameters must be bit-identical.
"""
from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np

from dcgan_mx.system.cpu import check_bfloat16, cpu_flags

from ..common import make_parser, print_processor
from .bench_loops import BATCH_SIZE, SHAPE

STEPS = 10  # of the float32 runs


def train(steps: int, **options: Any) -> Any:
    """Return a trainer after a number of steps; start and batches are always the same."""
    from dcgan_mx import Trainer, make_dcgan_sym
    from dcgan_mx.system.runtime import mx, wait_all
    mx.random.seed(1)
    rng = np.random.default_rng(0)
    trainer = Trainer(*make_dcgan_sym(64, 64, 3), BATCH_SIZE, SHAPE, **options)
    for _ in range(steps):
        trainer.step(mx.io.DataBatch([mx.nd.array(rng.uniform(-1, 1, (BATCH_SIZE, *SHAPE)))], []),
                     mx.io.DataBatch([mx.nd.array(rng.normal(size=(BATCH_SIZE, 100, 1, 1)))], []))
    wait_all()
    return trainer


def find_gradients(**options: Any) -> dict[str, np.ndarray]:
    """Return the gradients of a first step by parameter name; D's are the sum of fake and real."""
    trainer = train(1, **options)
    return {name: arrays[0].asnumpy() for mod in (trainer.modG, trainer.modD)
            for name, arrays in zip(mod._exec_group.param_names, mod._exec_group.grad_arrays)}


def show_gradients() -> None:
    """Print |rough - exact| / |exact| of each parameter's gradient, unless it is zero."""
    rough, exact = find_gradients(precision="bfloat16"), find_gradients()
    print("\ngradients, relative norm of the error")
    for name, value in exact.items():
        if value.any():
            error = np.linalg.norm(rough[name] - value) / np.linalg.norm(value)
            print(f"{name:40}{error:>20.4f}")


def print_digest() -> None:
    """Train in float32, and print the digest of all parameters and moving statistics."""
    trainer = train(STEPS)
    digest = hashlib.sha256()
    for params in (*trainer.modG.get_params(), *trainer.modD.get_params()):
        for name in sorted(params):
            digest.update(params[name].asnumpy().tobytes())
    print(digest.hexdigest())


def train_in_child(code: str) -> str:
    """Train in a new process that runs some code first; return the digest."""
    code += "; from tools.benchmark.precision import print_digest; print_digest()"
    return subprocess.run([sys.executable, "-c", code], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()


def main() -> None:
    """Compare, and print the results."""
    make_parser(__doc__).parse_args()
    print_processor()
    check_bfloat16(gpu=False)
    show_gradients()
    if "amx_bf16" not in cpu_flags():
        print("\nthis processor has no AMX: its effect on float32 is not measured")
        return
    before = train_in_child("pass")
    # `enable` returns the reason if it fails.
    after = train_in_child("from dcgan_mx.system.amx import enable; assert not enable()")
    for state, digest in (("disabled", before), ("enabled", after)):
        print(f"float32, {STEPS} steps, AMX {state:8}: SHA-256 of all parameters {digest}")
    if before != after:
        raise SystemExit("error: AMX changes float32 results")


if __name__ == "__main__":
    main()
