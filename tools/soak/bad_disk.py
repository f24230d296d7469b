"""Train on a disk that fails, fills up and slows down at random, and compare with a healthy disk.

The run is stopped or killed at random moments, and resumed until it reaches its last step. Its last
checkpoint must then be bit-identical to that of an undisturbed run, and so must every log line,
grid and older checkpoint that exists. A warning must have named whatever does not exist.
"""
from __future__ import annotations

import random
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Mapping

from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.log import find_best
from dcgan_mx.runs.run import Run

from ..common import TRAIN, make_parser, read_events, read_numbers

STEPS = 20_000  # of each run
FLAGS = ("--dataset", "synthetic", "--size", "16", "--ngf", "2", "--ndf", "2", "--batch-size", "4",
         "--disp-batches", "40", "--checkpoint-steps", "120", "--keep-checkpoints", "3",
         "--eval-steps", "1000", "--fixed-noise", "--tensorboard", "--resume")
# What a warning calls the files of each kind, or their logger if the error has no file.
LOGGERS = {"log": r"log\.jsonl|JsonlLogger", "tensorboard": r"tensorboard\S*|TensorBoardLogger",
           "grids": r"grids(?!/fixed)\S*|GridLogger",
           "fixed grids": r"grids(?:/fixed\S*)?|FixedNoiseLogger"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
# Exit codes; a process that is still starting, or is about to exit, dies of any signal.
ENDS = {0: "finished", 2: "failed", 130: "stopped", 143: "stopped",
        **{-number: "killed" for number in SIGNALS}}


def train_once(command: list[str], seconds: float | None, rng: random.Random) -> tuple[int, str]:
    """Start or resume the run; signal it after some seconds. Return its exit code and output."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(rng.choice(SIGNALS))
        output, _ = process.communicate()
    if process.returncode not in ENDS:
        raise RuntimeError(f"exit code {process.returncode}: {output}")
    return process.returncode, output


def check_saved(run_dir: Path, output: str) -> None:
    """Verify all checkpoints, and that those that the output says were saved are there."""
    folders = checkpoint.list_checkpoints(run_dir)
    for folder in folders:
        checkpoint.verify(folder)
    for name in re.findall(r"saved in \S+/(step-\d+)", output):
        if name not in {folder.name for folder in folders}:
            raise RuntimeError(f"{name} was saved, and is missing")


def find_unnamed(steps: list[int], complete: set[int], named: set[int]) -> list[int]:
    """Return the incomplete steps in gaps whose beginning no warning names.

    The program warns once, and again only after it has succeeded. The step that it names may be
    complete: what could not be written at once may be written when the file is closed.
    """
    unnamed, known = [], False
    for step in steps:
        known = step in named or (known and step not in complete)
        if step not in complete and not known:
            unnamed.append(step)
    return unnamed


def read_complete(whole: Path, run_dir: Path) -> dict[str, set[int]]:
    """Return the steps of each kind that exist; RuntimeError if one differs."""
    expected, found = read_numbers(whole), read_numbers(run_dir)
    if [record for record in expected if record in found] != found:
        raise RuntimeError("the log differs")
    grids: dict[str, set[int]] = {}
    for kind in ("gout", "diff", "data", "fixed"):
        paths = Run(run_dir).list_grids(kind)
        for path in paths.values():
            if path.read_bytes() != (whole / "grids" / path.name).read_bytes():
                raise RuntimeError(f"{path.name} differs")
        grids[kind] = {*paths}
    events, all_events = (Counter(event.step for event in read_events(path))
                          for path in (run_dir, whole))
    return {"log": {record["step"] for record in found}
            - {record["step"] for record in expected if record not in found},
            "tensorboard": {step for step, count in all_events.items()
                            if events[step] == count},  # two where it was evaluated
            "fixed grids": grids.pop("fixed"), "grids": set.intersection(*grids.values())}


def count_missing(whole: Path, run_dir: Path, output: str) -> dict[str, int]:
    """Return how many steps of each kind are missing; RuntimeError if no warning names one."""
    steps = sorted({record["step"] for record in read_numbers(whole)})
    missing = {}
    for kind, complete in read_complete(whole, run_dir).items():
        named = {int(step) for step in re.findall(
            rf"warning: \S*(?:{LOGGERS[kind]}): .*step (\d+) is not written", output)}
        if kind == "log":
            named |= {int(step) for step in re.findall(r"step (\d+) is not evaluated", output)}
        if unnamed := find_unnamed(steps, complete, named):
            raise RuntimeError(f"{kind} of these steps are missing without a warning: {unnamed}")
        missing[kind] = len({*steps} - complete)
    named = {int(step) for step in re.findall(r"step-(\d+): .*cannot write this", output)}
    kept = {checkpoint.step_of(path): path for path in checkpoint.list_checkpoints(run_dir)}
    for path in checkpoint.list_checkpoints(whole):
        for file in path.iterdir() if checkpoint.step_of(path) in kept else ():
            if file.read_bytes() != (run_dir / "checkpoints" / path.name / file.name).read_bytes():
                raise RuntimeError(f"{path.name}/{file.name} differs")
    best = find_best(Run(run_dir).read_log())
    if steps[-1] not in kept or (best and not {best["step"]} & (kept.keys() | named)):
        raise RuntimeError("the last or the best checkpoint is missing")
    return missing


def main() -> None:
    """Parse the flags; train on a healthy disk and on a failing one; compare."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--seed", type=int, default=0, help="seed of the faults and signals")
    add("--notes", type=Path, default=Path("build/bad-disk"), help="new folder for the runs")
    add("--seconds", type=float, default=45.0, help="between signals, on average")
    args = parser.parse_args()
    notes = args.notes.resolve()
    whole, disk, mountpoint = notes / "whole", notes / "disk", notes / "mount"
    if notes.exists():
        parser.error(f"--notes: {notes} exists: give a new folder")
    for folder in (disk, mountpoint):
        folder.mkdir(parents=True)
    command = [*TRAIN, *FLAGS, "--max-steps", str(STEPS), "--run-dir"]
    rng = random.Random(args.seed)
    ends: Counter[str] = Counter()
    from .faulty_disk import mount  # needs FUSE
    with mount(disk, mountpoint, args.seed) as (healthy, counts), open(notes / "output", "w") as f:
        undisturbed = subprocess.Popen([*command, str(whole)], stdout=subprocess.DEVNULL)
        command.append(str(mountpoint / "run"))
        while not ends["finished"]:
            code, output = train_once(command, rng.uniform(0, 2 * args.seconds), rng)
            print(f"{ENDS[code]}:\n{output}", file=f, flush=True)
            check_saved(disk / "run", output)
            ends[ENDS[code]] += 1
        healthy.set()
        train_once(command, None, rng)  # at its end already: it only removes temporary files
    if undisturbed.wait():
        raise RuntimeError("the undisturbed run failed")
    missing = count_missing(whole, disk / "run", (notes / "output").read_text())
    if left := [*(disk / "run").rglob(".*")]:
        raise RuntimeError(f"temporary files are left: {left}")
    faults = {name: count.value for name, count in counts.items()}
    damaged = len([*(disk / "run" / "checkpoints").glob("*.damaged")])
    print(f"{STEPS} steps; faults: {say(faults)}; ends: {say(ends)}; missing, all named by "
          f"warnings: {say(missing)}; checkpoints set aside as damaged: {damaged}; the rest is "
          "bit-identical to the undisturbed run, and the last checkpoint exists")


def say(counts: Mapping[str, int]) -> str:
    """Return counts as text."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())


if __name__ == "__main__":
    main()
