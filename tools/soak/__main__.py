"""Kill small runs with SIGKILL at random moments, resume them each time, and compare the end.

The end has to be that of a run that nobody touched: parameters, moments and the log's numbers to
the bit. Every second kill waits for a checkpoint to be half-written. What was done is noted after
each kill, so that the same command goes on where it was stopped.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator

from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint import PARAMS, CheckpointError
from dcgan_mx.runs.run import Run
from dcgan_mx.system import cpu
from dcgan_mx.system.files import write_atomic

SCRIPTS = Path(__file__).resolve().parent
CHECKPOINT_STEPS = 5
_MARK = "DCGAN_MX_SOAK"  # in the environment of all processes of a job, whatever starts them
_GONE = 120  # seconds until a job of which something was killed has ended

KINDS = {"float32": (), "bfloat16": ("--precision", "bfloat16"),
         "float32, two workers": ("--kv-store", "dist_sync"),
         "bfloat16, two workers": ("--precision", "bfloat16", "--kv-store", "dist_sync")}
REPLACING = "a step saved again"


class Job:
    """A training, of one process or of two workers, started or resumed."""

    def __init__(self, kind: str, run_dir: Path, *flags: str) -> None:
        self.mark = f"{_MARK}={os.getpid()}-{time.monotonic_ns()}"
        launch = [sys.executable, str(SCRIPTS / "launch.py"), "-n", "2", "--"]
        self.process = subprocess.Popen(
            [*launch * kind.endswith("workers"), sys.executable, str(SCRIPTS / "train.py"),
             "--dataset", "synthetic", "--size", "16", "--ngf", "4", "--ndf", "4", "--batch-size",
             "8", "--num-epochs", "1000000", "--disp-batches", "1", "--checkpoint-steps",
             str(CHECKPOINT_STEPS), "--keep-checkpoints", "3", "--run-dir", str(run_dir), "--resume",
             *KINDS[kind], *flags],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, _MARK: self.mark.partition("=")[2], "OMP_NUM_THREADS": "1"})
        self.told = ""

    def wait_to_train(self) -> None:
        """Read the output until it trains."""
        assert self.process.stdout  # mypy sees no pipe
        for line in self.process.stdout:
            self.told += line
            if line.startswith("writing to"):
                return
        raise RuntimeError(f"the run did not start: {self.told}")

    def list_processes(self) -> Iterator[int]:
        """Find all that the start has led to."""
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if self.mark.encode() in path.read_bytes().split(b"\0"):
                    yield int(path.parent.name)

    def kill(self, rng: random.Random) -> None:
        """Kill all of it at once, or one process, after which the rest has to end by itself."""
        processes = sorted(self.list_processes())
        _kill(*processes if rng.random() < 0.5 else [rng.choice(processes)])
        deadline = time.monotonic() + _GONE
        while left := [*self.list_processes()]:
            if time.monotonic() > deadline:
                _kill(*left)
                raise RuntimeError(f"processes were left of the job: {left}")
            time.sleep(0.05)
        self.process.communicate()

    def finish(self) -> None:
        """Wait for a good end."""
        output, _ = self.process.communicate()
        if self.process.returncode:
            raise RuntimeError(f"the run failed: {output}")


def _kill(*processes: int) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def read_log(run_dir: Path) -> list[dict[str, Any]]:
    """Return the log without its times."""
    return [{k: v for k, v in record.items() if k not in ("images_per_s", "seconds")}
            for record in Run(run_dir).read_log()]


def half_written(run_dir: Path) -> list[Path]:
    """Return the folders of checkpoints that are being written."""
    return list((run_dir / "checkpoints").glob(".step-*.tmp"))


def newest_step(run_dir: Path) -> int:
    """Return the step of the newest checkpoint; 0 if there is none."""
    return max((int(folder.name[5:]) for folder in checkpoint.list(run_dir)), default=0)


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


def kill_once(kind: str, run_dir: Path, in_save: bool, rng: random.Random) -> dict[str, int]:
    """Start the run, kill it; return what that has done."""
    before = newest_step(run_dir)
    job = Job(kind, run_dir)
    job.wait_to_train()
    if in_save:
        while job.process.poll() is None and not half_written(run_dir):
            pass
        time.sleep(rng.uniform(0, 0.004))
    else:
        time.sleep(rng.uniform(0, 0.4))
    if job.process.poll() is not None:
        raise RuntimeError(f"the run failed: {job.process.communicate()[0]}")
    job.kill(rng)
    log = read_log(run_dir)
    lost = (log[-1]["step"] if log else 0) - newest_step(run_dir)
    return {"in_save": bool(half_written(run_dir)), "lost": lost, "damaged": count_damaged(run_dir),
            "too_much": lost > 2 * CHECKPOINT_STEPS or newest_step(run_dir) < before}


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


def kill_while_replacing(run_dir: Path, rng: random.Random) -> dict[str, int]:
    """Kill a process that saves a step again; `in_save` is: between two renames."""
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
    return {"in_save": nameless, "lost": 0, "damaged": count_damaged(run_dir),
            "too_much": len(checkpoint.list(run_dir)) != 1}


def finish(kind: str, run_dir: Path, steps: int) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Let the run come to its end; return its last checkpoint's arrays and its log."""
    Job(kind, run_dir, "--max-steps", str(steps)).finish()
    folder = checkpoint.list(run_dir)[-1]
    return [(folder / name).read_bytes() for name in PARAMS], read_log(run_dir)


def soak(kind: str, kills: int, seed: int, folder: Path) -> bool:
    """Kill runs of one kind until there were so many kills; return whether all is well."""
    run_dir, notes = folder / "run", folder / "notes.json"
    (run_dir if kind == REPLACING else folder).mkdir(parents=True, exist_ok=True)
    done: list[dict[str, int]] = []
    if notes.exists():
        done = [json.loads(line) for line in notes.read_text().splitlines()]
    while len(done) < kills:
        rng = random.Random(f"{seed} {kind} {len(done)}")
        done.append(kill_while_replacing(run_dir, rng) if kind == REPLACING else
                    kill_once(kind, run_dir, len(done) % 2 == 1, rng))
        write_atomic(notes, "".join(json.dumps(kill) + "\n" for kill in done).encode())
        if len(done) % 10 == 0:
            print(f"{kind}: {len(done)} of {kills} kills", flush=True)
    sums = {name: sum(kill[name] for kill in done) for name in done[0]}
    words = f"{kind}: {len(done)} kills, {sums['in_save']} of them "
    if kind == REPLACING:
        words += f"between two renames; both copies lost: {sums['too_much']}"
    else:
        steps = (newest_step(run_dir) // 100 + 1) * 100
        same = finish(kind, run_dir, steps) == finish(kind, folder / "whole", steps)
        left = [str(path) for path in run_dir.rglob(".*")]
        most = max(kill["lost"] for kill in done)
        words += (f"inside a save; steps lost, of {steps}: {sums['lost']} in all, {most} at most; "
                  f"more than was not yet saved: {sums['too_much']}; files left half-written: "
                  f"{len(left)}; the end {'is' if same else 'is NOT'} that of a run that nobody "
                  "touched")
        sums["too_much"] += len(left) + (not same)
    print(f"{words}; checkpoints found damaged: {sums['damaged']}", flush=True)
    return not (sums["damaged"] or sums["too_much"])


def main() -> None:
    """Parse the flags, kill, resume and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000, help="of all kinds of runs together, "
                        "and a share more while a step is saved again; default: %(default)s")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="default: all that can run here")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default: %(default)s")
    parser.add_argument("--notes", type=Path, default=Path("build/soak"),
                        help="folder for the runs and what was done; default: %(default)s")
    args = parser.parse_args()
    kinds = args.kinds or [*KINDS]
    if not args.kinds:
        try:
            cpu.check_bfloat16(gpu=False)
        except ValueError as error:
            print(f"left out: {error}")
            kinds = [kind for kind in kinds if "bfloat16" not in kind]
    good = [soak(kind, args.kills // len(kinds), args.seed,
                 args.notes.resolve() / kind.replace(", ", "-").replace(" ", "-"))
            for kind in (*kinds, REPLACING)]
    if not all(good):
        sys.exit(1)


if __name__ == "__main__":
    main()
