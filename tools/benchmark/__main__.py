"""Measure training speed against other implementations, memory, and the time to the first grid.

Each candidate is a process that trains a few steps when it is its turn. Ratios are taken within a
round of a few seconds, so they hold while the machine's speed drifts. Medians are printed.
"""
from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, List, Mapping, Tuple

from dcgan_mx.system.cpu import cpu_flags

from ..common import TRAIN, find_pytorch, has_bfloat16, make_parser, print_processor, read_status
from . import scaling
from .bench_loops import BATCH_SIZE, make_trainer_loop

STEPS = 3  # in a turn
DATA = "data"  # the folder of MNIST
Loops = List[Tuple[str, str, Mapping[str, str]]]  # name, loop, environment


class Candidate:
    """A process that trains when asked, and sleeps otherwise."""

    def __init__(self, name: str, loop: str, env: Mapping[str, str]) -> None:
        self.name = name
        self.speeds: list[float] = []
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MXNET_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.benchmark.bench_loops", loop], env={**clean, **env},
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout  # for mypy
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError(f"the process of {self.name!r} ended early")
        return line

    def train(self) -> None:
        """Train and append the speed in images per second."""
        assert self._process.stdin  # for mypy
        self._process.stdin.write(f"{STEPS}\n")
        self._process.stdin.flush()
        self.speeds.append(BATCH_SIZE * STEPS / float(self._answer()))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def compare(loops: Loops, rounds: int, ours: int) -> float:
    """Print speeds, and the factors by which our loops, the first ones, are faster.

    Returns the median of our best loop in images per second.
    """
    candidates = [Candidate(*loop) for loop in loops]
    order = random.Random(0)  # the predecessor of a candidate affects its speed
    for _ in range(rounds):
        for candidate in order.sample(candidates, len(candidates)):
            candidate.train()
    letters = "AB"[:ours]
    print(f"\n{f'training, batch {BATCH_SIZE}':47} images/s (min - max)    "
          + "".join(f"{letter + ' is faster by':>16}" for letter in letters))
    for i, candidate in enumerate(candidates):
        candidate.close()
        speeds = candidate.speeds
        name = f"{letters[i:i + 1] or ' '} {candidate.name}"
        ratios = [median(a / b for a, b in zip(our.speeds, speeds)) for our in candidates[:ours]]
        print(f"{name:47} {median(speeds):6.1f} {f'({min(speeds):.1f} - {max(speeds):.1f})':17}"
              + "".join(f"{'' if j == i else f'x {ratio:.2f}':>16}"
                        for j, ratio in enumerate(ratios)))
    return max(median(candidate.speeds) for candidate in candidates[:ours])


def measure_checkpoint(rounds: int = 5) -> None:
    """Print how long a checkpoint of the full networks delays the training."""
    from dcgan_mx.hooks.checkpoints import Saver
    trainer, train = make_trainer_loop()
    times = []
    with tempfile.TemporaryDirectory() as folder:
        saver = Saver(folder, keep=1)
        for _ in range(rounds + 1):
            start = time.perf_counter()
            train(2)
            trained = time.perf_counter()
            saver.save(trainer)
            copied = time.perf_counter()
            saver.wait()
            times.append(((trained - start) / 2, copied - trained, time.perf_counter() - copied))
    step, wait, write = (1000 * median(column) for column in zip(*times[1:]))
    print(f"\na checkpoint of the full networks, milliseconds: training waits {wait:.0f}, writing "
          f"in the background takes {write:.0f}, a step {step:.0f}")


def draw_photographs(folder: Path, n: int) -> None:
    """Write JPEG files of 400x300 pixels with about the detail of photographs."""
    import cv2
    import numpy as np
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(n):
        image: Any = sum(cv2.resize(rng.normal(0, 300 / side, (side, side, 3)), (400, 300),
                                    interpolation=cv2.INTER_CUBIC) for side in (4, 16, 64, 150))
        cv2.imwrite(str(folder / f"{i}.jpg"), (128 + image).clip(0, 255).astype(np.uint8),
                    [cv2.IMWRITE_JPEG_QUALITY, 92])


def measure_data(training_speed: float, n: int = 3000, rounds: int = 3) -> None:
    """Print how fast records are read."""
    from dcgan_mx import ImagenetIter
    from dcgan_mx.data.packing import pack
    with tempfile.TemporaryDirectory() as scratch:
        folder, rec = Path(scratch) / "in", Path(scratch) / "a.rec"
        draw_photographs(folder, n)
        pack(folder, rec)
        train_iter, speeds = ImagenetIter(rec, BATCH_SIZE), []
        for _ in range(rounds):
            start = time.perf_counter()
            for batch in train_iter:
                batch.data[0].wait_to_read()
            speeds.append(train_iter.num_batches * BATCH_SIZE / (time.perf_counter() - start))
            train_iter.reset()
    speed = median(speeds)
    print(f"\nreading records: {speed:.0f} images/s, x {speed / training_speed:.1f} of training")


def measure_run() -> None:
    """Print the peak memory of training on all of MNIST, and the time to the first grid."""
    from dcgan_mx import get_mnist
    get_mnist(DATA)
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        start = time.perf_counter()
        child = subprocess.Popen([*TRAIN, "--dataset", "mnist", "--data-path", DATA, "--max-steps",
                                  "30", "--run-dir", str(run_dir)], stdout=subprocess.DEVNULL)
        grid, first, peak = run_dir / "grids" / "gout-00000010.png", 0.0, 0.0
        # Not ru_maxrss: the system's count for a child begins with the memory of its parent.
        while child.poll() is None:
            peak = read_status("VmHWM", child.pid) or peak
            if not first and grid.exists():
                first = time.perf_counter() - start
            time.sleep(0.02)
    if child.returncode:
        raise ChildProcessError(f"dcgan-mx train ended with status {child.returncode}")
    print(f"\ntraining on all of MNIST: peak resident memory {peak * 1.024:.0f} MB, "
          f"first grid after {first:.1f} s")


def main() -> None:
    """Parse the flags and measure."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=24, help="turns of each candidate")
    args = parser.parse_args()
    print_processor()
    # MXNet's own choice on x86: half of the processors (src/engine/openmp.cc).
    as_installed = {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // 2))}
    loops: Loops = [("dcgan_mx", "ours", {})]
    if has_bfloat16():
        loops.append(("dcgan_mx --precision bfloat16", "ours-bfloat16", {}))
    ours = len(loops)
    if "amx_bf16" in cpu_flags():
        loops.append(("the same, AMX disabled", "ours-bfloat16",
                      {"DNNL_MAX_CPU_ISA": "AVX512_CORE_BF16"}))
    loops += [("the reference loop, MXNet as installed", "blog", as_installed),
              ("the reference loop, the same threads", "blog", {})]
    torch = find_pytorch()
    if torch:
        loops += [(f"PyTorch {torch}, its DCGAN example", "pytorch", {}),
                  ("the same, channels_last", "pytorch-channels-last", {})]
        if ours > 1:
            loops.append(("the same, channels_last, bfloat16 autocast", "pytorch-bfloat16", {}))
    else:
        print("PyTorch is skipped: it is not installed (pip install torch)")
    measure_data(compare(loops, args.rounds, ours))
    measure_checkpoint()
    measure_run()
    scaling.start_workers()


if __name__ == "__main__":
    main()
