"""Measure training speed against other loops, memory, and the time to the first grid.

Each contestant is a process that trains a few steps when it is its turn; ratios are taken within a
round of a few seconds, so that they hold while the machine's speed drifts. Medians are printed.
"""
from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Mapping, Sequence

import scaling
from tqdm import tqdm

from dcgan_mx.system.cpu import ISA, check_bfloat16, cpu_flags, cpu_model, physical_cores

SCRIPTS = Path(__file__).resolve().parent
BATCH_SIZE = 64


class Contestant:
    """A process that trains when it is asked to, and sleeps otherwise."""

    def __init__(self, name: str, loop: str, env: Mapping[str, str]) -> None:
        self.name = name
        self.speeds: list[float] = []
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MXNET_"))}
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPTS / "loops.py"), loop], env={**clean, **env}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin and self._process.stdout  # mypy sees no pipes
        self._input, self._output = self._process.stdin, self._process.stdout
        self._answer()

    def _answer(self) -> str:
        line = self._output.readline()
        if not line:
            raise ChildProcessError(f"the process of {self.name!r} ended early")
        return line

    def train(self, steps: int) -> None:
        """Train and note the speed in images per second."""
        self._input.write(f"{steps}\n")
        self._input.flush()
        self.speeds.append(BATCH_SIZE * steps / float(self._answer()))

    def close(self) -> None:
        """End the process."""
        self._input.close()
        self._process.wait()


def find_pytorch() -> str | None:
    """Return PyTorch's version; None if it is not installed."""
    probe = [sys.executable, "-c", "import torch; print(torch.__version__)"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def describe_processor() -> str:
    """Return the processor's name, its cores, and its instructions that matter for bfloat16."""
    offered = cpu_flags()
    return (f"{cpu_model()}, {physical_cores()} cores, "
            + (", ".join(name for name in ISA if name in offered) or "no AVX-512"))


def compare(title: str, loops: Sequence[tuple[str, str, Mapping[str, str]]], rounds: int,
            steps: int, ours: int = 1) -> list[float]:
    """Print a table of speeds, and how much faster than each our loops are; return the speeds.

    `loops` are (name, loop, environment), `ours` of them, the first, ours. Speeds are in images/s.
    """
    contestants = [Contestant(*loop) for loop in loops]
    order = random.Random(0)  # whom one follows matters
    for _ in tqdm(range(rounds), unit="round"):
        for contestant in order.sample(contestants, len(contestants)):
            contestant.train(steps)
    print(f"\n{title:47} images/s (min - max)    " + "".join(
        f"{chr(ord('A') + i) + ' is faster by':>16}" for i in range(ours)))
    for i, contestant in enumerate(contestants):
        contestant.close()
        theirs = contestant.speeds
        name = f"{chr(ord('A') + i)} {contestant.name}" if i < ours else f"  {contestant.name}"
        ratios = (statistics.median(a / b for a, b in zip(our.speeds, theirs))
                  for our in contestants[:ours])
        print(f"{name:47} {statistics.median(theirs):6.1f} "
              f"{f'({min(theirs):.1f} - {max(theirs):.1f})':17}"
              + "".join(f"{'' if j == i else f'x {ratio:.2f}':>16}"
                        for j, ratio in enumerate(ratios)))
    return [statistics.median(contestant.speeds) for contestant in contestants]


def measure_checkpoint(rounds: int = 5) -> None:
    """Print for how long a checkpoint of the full networks keeps the training waiting."""
    from dcgan_mx import MnistIter, RandIter, Trainer, make_dcgan_sym
    from dcgan_mx.data.datasets import make_discs
    from dcgan_mx.hooks.checkpoints import Saver
    from dcgan_mx.system.runtime import mx
    trainer = Trainer(*make_dcgan_sym(64, 64, 3), BATCH_SIZE, (3, 64, 64))
    train_iter, rand_iter = MnistIter(make_discs(), BATCH_SIZE), RandIter(BATCH_SIZE, 100)
    step: list[float] = []
    wait: list[float] = []
    write: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        saver = Saver(folder, keep=1)
        for _ in range(rounds + 1):
            start = time.perf_counter()
            trainer.fit(train_iter, rand_iter, 1000, max_steps=trainer.global_step + 2)
            mx.nd.waitall()
            trained = time.perf_counter()
            saver.save(trainer)
            copied = time.perf_counter()
            saver.wait()
            written = time.perf_counter()
            for times, value in ((step, (trained - start) / 2), (wait, copied - trained),
                                 (write, written - copied)):
                times.append(1000 * value)
    print("\na checkpoint of the full networks, milliseconds: training waits "
          f"{statistics.median(wait[1:]):.0f}, writing beside it takes "
          f"{statistics.median(write[1:]):.0f}, a step {statistics.median(step[1:]):.0f}")


def draw_photographs(folder: Path, n: int) -> None:
    """Write JPEG files of 400x300 pixels, as detailed as photographs are."""
    import cv2
    import numpy as np
    rng = np.random.default_rng(0)
    for i in range(n):
        image: Any = sum(cv2.resize(rng.normal(0, 300 / side, (side, side, 3)), (400, 300),
                                    interpolation=cv2.INTER_CUBIC) for side in (4, 16, 64, 150))
        cv2.imwrite(str(folder / f"{i}.jpg"), (128 + image).clip(0, 255).astype(np.uint8),
                    [cv2.IMWRITE_JPEG_QUALITY, 92])


def measure_data(training_speed: float, n: int = 3000, rounds: int = 3) -> None:
    """Print how fast records are read, and how fast pictures are packed."""
    from dcgan_mx import ImagenetIter
    im2rec = "import sys, runpy; from dcgan_mx.system.runtime import mx; del sys.argv[0];" \
             "runpy.run_path(sys.argv[0], run_name='__main__')"
    mxnet: Any = sys.modules["mxnet"]
    tool = str(Path(mxnet.__file__).parent / "tools" / "im2rec.py")
    with tempfile.TemporaryDirectory() as scratch:
        folder, rec = Path(scratch) / "in", Path(scratch) / "a.rec"
        folder.mkdir()
        draw_photographs(folder, n)
        theirs = [sys.executable, "-W", "ignore", "-c", im2rec, tool]
        prefix = str(Path(scratch) / "b")
        times: list[list[float]] = []
        for _ in range(rounds):
            times.append([])
            for command in (
                    [sys.executable, str(SCRIPTS / "make_rec.py"), str(folder), str(rec),
                     "--threads", "2", "--force"],
                    [*theirs, "--list", "--recursive", prefix, str(folder)],
                    [*theirs, prefix, str(folder), "--resize", "256", "--num-thread", "2"]):
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                times[-1].append(time.perf_counter() - start)
        train_iter = ImagenetIter(rec, BATCH_SIZE)
        speeds = []
        for _ in range(rounds):
            start = time.perf_counter()
            for batch in train_iter:
                batch.data[0].wait_to_read()
            speeds.append(train_iter.num_batches * BATCH_SIZE / (time.perf_counter() - start))
            train_iter.reset()
    speed = statistics.median(speeds)
    print(f"\nreading records: {speed:.0f} images/s, x {speed / training_speed:.1f} of training\n"
          f"packing {n} JPEG files of 400x300: {statistics.median(t[0] for t in times):.1f} s; "
          f"im2rec.py: x {statistics.median((t[1] + t[2]) / t[0] for t in times):.2f} of that, "
          f"x {statistics.median(t[2] / t[0] for t in times):.2f} without making its list")


def read_peak(pid: int) -> int | None:
    """Return the most memory that a process has had, in kB; None when it has ended (Linux).

    What the system counts of an ended child begins with the memory of its parent.
    """
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return None
    return int(found.group(1)) if found else None


def measure_run(data: str) -> None:
    """Print peak memory of training on all of MNIST, and the time to the first grid."""
    from dcgan_mx import get_mnist
    get_mnist(data)
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, str(SCRIPTS / "train.py"), "--dataset", "mnist", "--data-path", data,
             "--max-steps", "30", "--run-dir", str(run_dir)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        grid, first, peak = run_dir / "grids" / "gout-00000010.png", 0.0, 0
        while child.poll() is None:
            peak = read_peak(child.pid) or peak
            if not first and grid.exists():
                first = time.perf_counter() - start
            time.sleep(0.02)
    if child.returncode:
        raise ValueError(f"scripts/train.py failed with status {child.returncode}: run it by "
                         "itself to see")
    print(f"\ntraining on all of MNIST: peak resident memory {peak * 1024 / 1e6:.0f} MB, "
          f"first grid after {first:.1f} s")


def main() -> None:
    """Parse the flags and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=24, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=3,
                        help="of each contestant in a round; default: %(default)s")
    parser.add_argument("--data", default="data", help="folder of MNIST; default: %(default)s")
    args = parser.parse_args()
    print(f"on {describe_processor()}", flush=True)
    # What MXNet takes by itself on x86: half of the processors (src/engine/openmp.cc).
    as_installed = {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // 2))}
    loops: list[tuple[str, str, dict[str, str]]] = [("dcgan_mx", "ours", {})]
    try:
        check_bfloat16(gpu=False)
        loops.append(("dcgan_mx --precision bfloat16", "ours-bfloat16", {}))
    except ValueError as error:
        print(f"bfloat16 is left out: {error}")
    ours = len(loops)
    if "amx_bf16" in cpu_flags():
        loops.append(("the same, AMX asleep", "ours-bfloat16",
                      {"DNNL_MAX_CPU_ISA": "AVX512_CORE_BF16"}))
    loops += [("the blog's loop, MXNet as installed", "blog", as_installed),
              ("the blog's loop, the same threads", "blog", {})]
    samplers: list[tuple[str, str, dict[str, str]]] = [
        ("dcgan_mx, scripts/sample.py", "our-sampler", {})]
    torch = find_pytorch()
    if torch:
        loops += [(f"PyTorch {torch}, its DCGAN example", "pytorch", {}),
                  ("the same, channels_last", "pytorch-channels-last", {})]
        if ours > 1:
            loops.append(("the same, channels_last, bfloat16 autocast", "pytorch-bfloat16", {}))
        samplers.append((f"PyTorch {torch}, eval mode", "pytorch-sampler", {}))
    else:
        print("PyTorch is not installed and left out (pip install torch)")
    speed = max(compare("training, batch 64", loops, args.rounds, args.steps, ours)[:ours])
    compare("sampling, batch 64, float32", samplers, args.rounds, 2 * args.steps)
    measure_data(speed)
    measure_checkpoint()
    measure_run(args.data)
    scaling.measure()


if __name__ == "__main__":
    main()
