"""Kill small runs with SIGKILL at random moments, resume them each time, and compare the results.

A run that was killed and resumed must be bit-identical to an uninterrupted one: parameters, Adam's
moments and the numbers of the log. Every second kill waits for a half-written checkpoint. The soak
ends with an error at the first checkpoint that is damaged or lost. Each kill is recorded, so the
same command continues an interrupted soak.
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
from typing import Any

from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint import PARAMS
from dcgan_mx.system.files import write_atomic

from ..common import TRAIN, has_bfloat16, make_parser, read_numbers

CHECKPOINT_STEPS = 5
# A training of a few milliseconds a step.
SMALL = ("--dataset", "synthetic", "--size", "16", "--ngf", "4", "--ndf", "4", "--batch-size", "8",
         "--num-epochs", "1000000", "--disp-batches", "1", "--checkpoint-steps",
         str(CHECKPOINT_STEPS), "--keep-checkpoints", "3", "--resume")
_MARK = "DCGAN_MX_SOAK"  # has the run directory, in the environment of all processes of a job
_END_TIMEOUT = 120  # seconds for the rest of a job to end after one process was killed
KINDS = {"float32": (), "bfloat16": ("--precision", "bfloat16"),
         "float32, two workers": ("--kv-store", "dist_sync"),
         "bfloat16, two workers": ("--precision", "bfloat16", "--kv-store", "dist_sync")}


def start_job(kind: str, run_dir: Path, *flags: str) -> subprocess.Popen[str]:
    """Start or resume a run with one process or two workers; return when it trains."""
    launch = [sys.executable, "-m", "dcgan_mx", "launch", "-n", "2", "--"]
    output = ""
    for _ in range(3):
        process = subprocess.Popen(
            [*launch * kind.endswith("workers"), *TRAIN, *SMALL, "--run-dir", str(run_dir),
             *KINDS[kind], *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", _MARK: str(run_dir)})
        assert process.stdout  # for mypy
        output = ""
        for line in process.stdout:
            output += line
            if line.startswith("writing to"):
                return process
        process.wait()
        if "bind failed" not in output:  # another process took MXNet's port before MXNet did
            break
    raise RuntimeError(f"the run did not start: {output}")


def list_processes(run_dir: Path) -> list[int]:
    """Return all processes of the job that trains in a run directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{_MARK}={run_dir}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return sorted(found)


def kill_job(process: subprocess.Popen[str], run_dir: Path, rng: random.Random) -> None:
    """Kill all processes of a job, or one, after which the others must end by themselves."""
    processes = list_processes(run_dir)
    for pid in processes if rng.random() < 0.5 else [rng.choice(processes)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _END_TIMEOUT
    while left := list_processes(run_dir):
        if time.monotonic() > deadline:
            raise RuntimeError(f"these processes of the job did not end: {left}")
        time.sleep(0.05)
    process.communicate()


def is_saving(run_dir: Path) -> bool:
    """Return whether the run directory has a half-written checkpoint."""
    return any((run_dir / "checkpoints").glob(".step-*.tmp"))


def newest_step(run_dir: Path) -> int:
    """Verify all checkpoints; return the step of the newest one, 0 without checkpoints."""
    folders = checkpoint.list_checkpoints(run_dir)
    for folder in folders:
        checkpoint.verify(folder)
    return int(folders[-1].name[5:]) if folders else 0


def kill_once(kind: str, run_dir: Path, in_save: bool, rng: random.Random) -> dict[str, int]:
    """Start the run and kill it; return the steps that are lost."""
    before = newest_step(run_dir)
    process = start_job(kind, run_dir)
    while in_save and process.poll() is None and not is_saving(run_dir):
        pass
    time.sleep(rng.uniform(0, 0.004 if in_save else 0.4))
    if process.poll() is not None:
        raise RuntimeError(f"the run failed: {process.communicate()[0]}")
    kill_job(process, run_dir, rng)
    log, newest = read_numbers(run_dir), newest_step(run_dir)
    lost = (log[-1]["step"] if log else 0) - newest
    if lost > 2 * CHECKPOINT_STEPS or newest < before:
        raise RuntimeError(f"{lost} steps are lost; the newest checkpoint is of step {newest}, and "
                           f"was of step {before} before")
    return {"in_save": is_saving(run_dir), "lost": lost}


def finish(kind: str, run_dir: Path, steps: int) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Let the run finish; return the arrays of its last checkpoint, and its log."""
    process = start_job(kind, run_dir, "--max-steps", str(steps))
    output, _ = process.communicate()
    if process.returncode or [*run_dir.rglob(".*")]:
        raise RuntimeError(f"the run failed, or left temporary files: {output}")
    folder = checkpoint.list_checkpoints(run_dir)[-1]
    return [(folder / name).read_bytes() for name in PARAMS], read_numbers(run_dir)


def soak(kind: str, kills: int, seed: int, folder: Path) -> None:
    """Kill runs of one kind up to a number of kills; compare the result with a whole run."""
    run_dir, notes = folder / "run", folder / "notes.json"
    folder.mkdir(parents=True, exist_ok=True)
    done: list[dict[str, int]] = json.loads(notes.read_text()) if notes.exists() else []
    while len(done) < kills:
        rng = random.Random(f"{seed} {kind} {len(done)}")
        done.append(kill_once(kind, run_dir, len(done) % 2 == 1, rng))
        write_atomic(notes, json.dumps(done).encode())
        if len(done) % 10 == 0:
            print(f"{kind}: {len(done)} of {kills} kills", flush=True)
    steps, lost = (newest_step(run_dir) // 100 + 1) * 100, [kill["lost"] for kill in done]
    if finish(kind, run_dir, steps) != finish(kind, folder / "whole", steps):
        raise RuntimeError(f"the result in {run_dir} differs from that of an uninterrupted run")
    print(f"{kind}: {len(done)} kills, {sum(kill['in_save'] for kill in done)} of them inside a "
          f"save; steps lost, of {steps}: {sum(lost)} in all, at most {max(lost, default=0)} at "
          "once; no checkpoint is damaged or lost; the result is bit-identical to that of an "
          "uninterrupted run", flush=True)


def main() -> None:
    """Parse the flags, kill, resume and compare."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--kills", type=int, default=1000, help="kills of all kinds together")
    add("--seed", type=int, default=0, help="seed of the moments")
    args = parser.parse_args()
    bfloat16 = has_bfloat16()
    kinds = [kind for kind in KINDS if bfloat16 or "bfloat16" not in kind]
    for kind in kinds:
        soak(kind, args.kills // len(kinds), args.seed,
             Path("build/soak").resolve() / kind.replace(", ", "-").replace(" ", "-"))


if __name__ == "__main__":
    main()
