"""Kill a small run with SIGKILL at random moments, resume it each time, and compare the end.

The end has to be that of a run that nobody touched: parameters, moments and the log's numbers to
the bit. Every second kill waits for a checkpoint to be half-written.
"""
from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint import PARAMS, CheckpointError
from dcgan_mx.runs.run import Run

TRAIN = Path(__file__).resolve().parent / "train.py"
CHECKPOINT_STEPS = 5


def start(run_dir: Path, steps: int, precision: str) -> subprocess.Popen[str]:
    """Start or resume the run."""
    return subprocess.Popen(
        [sys.executable, str(TRAIN), "--dataset", "synthetic", "--size", "16", "--ngf", "4",
         "--ndf", "4", "--batch-size", "8", "--num-epochs", "1000000", "--max-steps", str(steps),
         "--disp-batches", "1", "--checkpoint-steps", str(CHECKPOINT_STEPS), "--keep", "3",
         "--precision", precision, "--run-dir", str(run_dir), "--resume"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_to_train(process: subprocess.Popen[str]) -> bool:
    """Read its output until it trains; return whether it got there."""
    assert process.stdout  # mypy sees no pipe
    return any(line.startswith("writing to") for line in process.stdout)


def log(run_dir: Path) -> list[dict[str, Any]]:
    """Return the log without its times."""
    return [{k: v for k, v in record.items() if k not in ("images_per_s", "seconds")}
            for record in Run(run_dir).read_log()]


def half_written(run_dir: Path) -> list[Path]:
    """Return the folders of checkpoints that are being written."""
    return list((run_dir / "checkpoints").glob(".step-*.tmp"))


def count_damaged(run_dir: Path) -> int:
    """Return how many checkpoints under a final name are not whole."""
    damaged = 0
    for folder in checkpoint.list(run_dir):
        try:
            checkpoint.verify(folder)
        except CheckpointError as error:
            print(f"damaged: {error}")
            damaged += 1
    return damaged


def kill_once(run_dir: Path, steps: int, precision: str, in_save: bool,
              rng: random.Random) -> tuple[bool, int] | None:
    """Start the run, kill it; return (inside a save, steps lost), or None if it was done first."""
    process = start(run_dir, steps, precision)
    if not wait_to_train(process):
        raise RuntimeError(f"the run did not start: {process.communicate()[1]}")
    if in_save:
        while process.poll() is None and not half_written(run_dir):
            pass
        time.sleep(rng.uniform(0, 0.004))
    else:
        time.sleep(rng.uniform(0, 0.4))
    status = process.poll()
    process.kill()
    _, errors = process.communicate()
    if status is not None:
        if status:
            raise RuntimeError(f"the run failed: {errors}")
        return None
    steps_done = log(run_dir)[-1]["step"] if log(run_dir) else 0
    newest = checkpoint.list(run_dir)[-1:]
    return bool(half_written(run_dir)), steps_done - (int(newest[0].name[5:]) if newest else 0)


# Saves one step again and again, with other numbers each time. Between two renames a checkpoint has
# no name of its own; a rename takes longer here than it would, so that many kills find it there.
REPLACE = """
import pathlib, sys, time
import numpy as np
from dcgan_mx.runs import checkpoint

rename = pathlib.Path.rename
def rename_slowly(self, target):
    renamed = rename(self, target)
    time.sleep(0.004)
    return renamed
pathlib.Path.rename = rename_slowly
arrays = {"arg:g1_weight": np.zeros(1000, np.float32)}
for seed in range(10**9):
    checkpoint.write(sys.argv[1], {
        "symbols": {"G": "{}", "D": "{}"}, "replicas": {},
        "G": arrays, "D": arrays, "G-optimizer": {}, "D-optimizer": {},
        "counters": {"step": 5, "epoch": 0, "nbatch": 5, "batch_size": 8, "workers": 1,
                     "updates": {"G": 0, "D": 0}, "metrics": {
                         "sums": {"acc": 0.0, "d_entropy": 0.0, "g_entropy": 0.0},
                         "counts": {"d": 0, "g": 0}}}}, seed)
    print(seed, flush=True)
"""


def kill_while_replacing(run_dir: Path, rng: random.Random) -> tuple[bool, bool]:
    """Kill a process that saves a step again; return (without its name, both copies lost)."""
    run_dir.mkdir(exist_ok=True)
    process = subprocess.Popen([sys.executable, "-c", REPLACE, str(run_dir)],
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if not process.stdout.readline():
        raise RuntimeError("the process that saves did not start")
    time.sleep(rng.uniform(0, 0.05))
    process.kill()
    process.communicate()
    nameless = not checkpoint.list(run_dir)
    with Run(run_dir).lock():
        pass
    return nameless, len(checkpoint.list(run_dir)) != 1 or count_damaged(run_dir) > 0


def finish(run_dir: Path, steps: int, precision: str
           ) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Let the run come to its end; return its last checkpoint's arrays and its log."""
    process = start(run_dir, steps, precision)
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the run failed: {errors}")
    folder = checkpoint.list(run_dir)[-1]
    return [(folder / name).read_bytes() for name in PARAMS], log(run_dir)


def main() -> None:
    """Parse the flags, kill, resume and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=2000, help="of the run; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default: %(default)s")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"),
                        help="of the run; default: %(default)s")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        run_dir, in_save, damaged = Path(folder) / "run", 0, 0
        lost: list[int] = []
        for i in range(args.kills):
            killed = kill_once(run_dir, args.steps, args.precision, i % 2 == 1, rng)
            if killed is None:
                raise RuntimeError(f"the run was done after {i} kills: give more --steps")
            in_save += killed[0]
            lost.append(killed[1])
            damaged += count_damaged(run_dir)
        killed_run = finish(run_dir, args.steps, args.precision)
        left = [str(path) for path in run_dir.rglob(".*")]
        whole_run = finish(Path(folder) / "whole", args.steps, args.precision)
        replaced = [kill_while_replacing(Path(folder) / "replaced", rng)
                    for _ in range(args.kills)]
    same = killed_run == whole_run
    print(f"kills: {len(lost)}, {in_save} of them inside a save\n"
          f"resumes: {len(lost)}\n"
          f"checkpoints found damaged: {damaged}\n"
          f"steps lost, of {args.steps}: {sum(lost)} in all, {max(lost)} at most "
          f"(a checkpoint every {CHECKPOINT_STEPS} steps, written beside the training)\n"
          f"files left half-written: {len(left)}\n"
          f"parameters, moments and log {'are' if same else 'are NOT'} those of a run that "
          "nobody touched\n"
          f"kills while a step is saved again: {len(replaced)}, "
          f"{sum(nameless for nameless, _ in replaced)} of them between two renames; both copies "
          f"lost: {sum(gone for _, gone in replaced)}")
    if not same or damaged or left or any(gone for _, gone in replaced):
        sys.exit(1)


if __name__ == "__main__":
    main()
