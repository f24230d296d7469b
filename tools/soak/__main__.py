"""Kill small runs with SIGKILL at random moments, resume them each time, and compare the results.

A run that was killed and resumed must be bit-identical to an uninterrupted one: parameters, Adam's
moments and the numbers of the log. Every second kill waits for a half-written checkpoint. Each kill
is recorded, so the same command continues an interrupted soak.
"""
from __future__ import annotations

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
from dcgan_mx.system.files import write_atomic

from ..common import SMALL, TRAIN, has_bfloat16, make_parser, python_env

CHECKPOINT_STEPS = 5
_MARK = "DCGAN_MX_SOAK"  # in the environment of all processes of a job
_END_TIMEOUT = 120  # seconds for the rest of a job to end after one process was killed

KINDS = {"float32": (), "bfloat16": ("--precision", "bfloat16"),
         "float32, two workers": ("--kv-store", "dist_sync"),
         "bfloat16, two workers": ("--precision", "bfloat16", "--kv-store", "dist_sync")}
REPLACING = "a step saved again"


class Job:
    """A training of one process or of two workers, started or resumed."""

    def __init__(self, kind: str, run_dir: Path, *flags: str) -> None:
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        launch = [sys.executable, "-m", "dcgan_mx", "launch", "-n", "2", "--"]
        self.process = subprocess.Popen(
            [*launch * kind.endswith("workers"), *TRAIN, *SMALL, "--num-epochs", "1000000",
             "--disp-batches", "1", "--checkpoint-steps", str(CHECKPOINT_STEPS),
             "--keep-checkpoints", "3", "--run-dir", str(run_dir), "--resume", *KINDS[kind],
             *flags],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=python_env(OMP_NUM_THREADS="1", **{_MARK: self.mark}))

    def wait_to_train(self) -> None:
        """Read the output until the training begins."""
        assert self.process.stdout  # for mypy
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("writing to"):
                return
        raise RuntimeError(f"the run did not start: {''.join(lines)}")

    def list_processes(self) -> Iterator[int]:
        """Find all processes that the job has started."""
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"{_MARK}={self.mark}".encode() in path.read_bytes().split(b"\0"):
                    yield int(path.parent.name)

    def kill(self, rng: random.Random) -> None:
        """Kill all processes at once, or one, after which the others must end by themselves."""
        processes = sorted(self.list_processes())
        _kill(*processes if rng.random() < 0.5 else [rng.choice(processes)])
        deadline = time.monotonic() + _END_TIMEOUT
        while left := [*self.list_processes()]:
            if time.monotonic() > deadline:
                _kill(*left)
                raise RuntimeError(f"these processes of the job did not end: {left}")
            time.sleep(0.05)
        self.process.communicate()


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
    """Return the step of the newest checkpoint; 0 without one."""
    return max((int(folder.name[5:]) for folder in checkpoint.list_checkpoints(run_dir)), default=0)


def count_damaged(run_dir: Path) -> int:
    """Return the number of incomplete checkpoints under final names."""
    damaged = 0
    for folder in checkpoint.list_checkpoints(run_dir):
        try:
            checkpoint.verify(folder)
        except CheckpointError as error:
            print(f"damaged: {error}")
            damaged += 1
    return damaged


def kill_once(kind: str, run_dir: Path, in_save: bool, rng: random.Random) -> dict[str, int]:
    """Start the run, kill it, and return what was damaged or lost."""
    before = newest_step(run_dir)
    job = Job(kind, run_dir)
    job.wait_to_train()
    while in_save and job.process.poll() is None and not half_written(run_dir):
        pass
    time.sleep(rng.uniform(0, 0.004 if in_save else 0.4))
    if job.process.poll() is not None:
        raise RuntimeError(f"the run failed: {job.process.communicate()[0]}")
    job.kill(rng)
    log, newest = read_log(run_dir), newest_step(run_dir)
    lost = (log[-1]["step"] if log else 0) - newest
    return {"in_save": bool(half_written(run_dir)), "lost": lost, "damaged": count_damaged(run_dir),
            "too_much": lost > 2 * CHECKPOINT_STEPS or newest < before}


# Saves one step again and again, with different numbers. Between two renames the checkpoint has no
# final name; renames are slowed down here, so that many kills fall between them.
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
    """Kill a process that saves a step again; `in_save` means between two renames."""
    process = subprocess.Popen([sys.executable, "-c", REPLACE, str(run_dir)], env=python_env(),
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout  # for mypy
    if not process.stdout.readline():
        raise RuntimeError("the process that saves did not start")
    time.sleep(rng.uniform(0, 0.05))
    process.kill()
    process.communicate()
    nameless = not checkpoint.list_checkpoints(run_dir)
    with Run(run_dir).lock():  # repairs the run
        pass
    return {"in_save": nameless, "lost": 0, "damaged": count_damaged(run_dir),
            "too_much": len(checkpoint.list_checkpoints(run_dir)) != 1}


def finish(kind: str, run_dir: Path, steps: int) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Let the run finish; return the arrays of its last checkpoint, and its log."""
    process = Job(kind, run_dir, "--max-steps", str(steps)).process
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the run failed: {output}")
    folder = checkpoint.list_checkpoints(run_dir)[-1]
    return [(folder / name).read_bytes() for name in PARAMS], read_log(run_dir)


def soak(kind: str, kills: int, seed: int, folder: Path) -> bool:
    """Kill runs of one kind up to a number of kills; return whether all results are good."""
    run_dir, notes = folder / "run", folder / "notes.json"
    (run_dir if kind == REPLACING else folder).mkdir(parents=True, exist_ok=True)
    lines = notes.read_text().splitlines() if notes.exists() else []
    done: list[dict[str, int]] = [json.loads(line) for line in lines]
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
        left = len([*run_dir.rglob(".*")])
        words += (f"inside a save; steps lost, of {steps}: {sums['lost']} in all, at most "
                  f"{max(kill['lost'] for kill in done)} at once; saved steps lost: "
                  f"{sums['too_much']}; half-written files left: {left}; the result "
                  f"{'is' if same else 'is NOT'} bit-identical to that of an uninterrupted run")
        sums["too_much"] += left + (not same)
    print(f"{words}; damaged checkpoints: {sums['damaged']}", flush=True)
    return not (sums["damaged"] or sums["too_much"])


def main() -> None:
    """Parse the flags, kill, resume and compare."""
    parser = make_parser(__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="kills of all kinds together; a "
                        "share is added for a step that is saved again")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="all that run here if not given")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--notes", type=Path, default=Path("build/soak"),
                        help="folder for the runs and the records")
    args = parser.parse_args()
    kinds = args.kinds or [*KINDS]
    if not args.kinds and not has_bfloat16():
        kinds = [kind for kind in kinds if "bfloat16" not in kind]
    good = [soak(kind, args.kills // len(kinds), args.seed,
                 args.notes.resolve() / kind.replace(", ", "-").replace(" ", "-"))
            for kind in (*kinds, REPLACING)]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
