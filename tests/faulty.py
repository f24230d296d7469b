"""A process that saves where calls fail, for runs/test_faults.py: prints what it saw, as JSON."""
import errno
import json
import sys
from pathlib import Path

import numpy as np
from shim import CALLS, Shim

from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.run import Run

ARRAYS = {"arg:g1_weight": np.arange(100, dtype=np.float32)}


def make_state(step, seed=0):
    """A state as small as one can be; the seed makes another one of the same step."""
    arrays = {name: array + np.float32(seed) for name, array in ARRAYS.items()}
    return {"symbols": {"G": "{}", "D": "{}"}, "replicas": {}, "G": arrays, "D": ARRAYS,
            "G-optimizer": {}, "D-optimizer": {},
            "counters": {"step": step, "epoch": 0, "nbatch": step, "batch_size": 8, "workers": 1,
                         "updates": {"G": step, "D": step}, "metrics": {
                             "sums": {"acc": 0.0, "d_entropy": 0.0, "g_entropy": 0.0},
                             "counts": {"d": 0, "g": 0}}}}


def read(run_dir):
    """All that lies below a folder, by name."""
    return {str(path.relative_to(run_dir)): path.read_bytes()
            for path in sorted(run_dir.rglob("*")) if path.is_file()}


def fail_everywhere(shim, folder, act):
    """Let `act` meet an error at each call that it makes; return what was seen.

    Each time the folder begins as `act(run_dir, False)` leaves it; where `act(run_dir, True)` has
    failed, it must succeed afterwards.
    """
    seen = []
    for call in CALLS:
        n = 0
        while True:
            run_dir = folder / f"{call}-{n}"
            run_dir.mkdir()
            act(run_dir, False)
            before = read(run_dir)
            shim.fail(call, n, errno.EIO)
            told = None
            try:
                act(run_dir, True)
            except OSError as error:
                told = [error.errno, error.filename]
            calls = shim.count(call)
            shim.stop()
            after = read(run_dir)
            if told:
                act(run_dir, True)
            seen.append({"call": call, "n": n, "told": told, "unchanged": after == before,
                         "new": sorted(after.keys() - before.keys()),
                         "lost": sorted(before.keys() - after.keys()),
                         "end": {name: raw.hex() for name, raw in read(run_dir).items()}})
            n += 1
            if calls < n:  # the last one failed at nothing
                break
    return seen


def save_first(run_dir, again):
    if again:
        checkpoint.write(run_dir, make_state(5))


def save_next(run_dir, again):
    checkpoint.write(run_dir, make_state(6 if again else 5))


def save_other(run_dir, again):
    """The same step with other numbers: what is there has to make room."""
    checkpoint.write(run_dir, make_state(5, seed=int(again)))


def add_line(run_dir, again):
    Run(run_dir).log({"step": 6 if again else 5, "seconds": 0.5})


def record(shim, folder, notes):
    """Write down the calls of a save that removes an older one, and of one that replaces."""
    for name, act in (("next", lambda run: checkpoint.write(run, make_state(6), keep=1)),
                      ("other", lambda run: checkpoint.write(run, make_state(5, seed=1)))):
        (folder / name).mkdir()
        checkpoint.write(folder / name, make_state(5))
        before = read(folder / name)
        shim.write_down(notes / name)
        act(folder / name)
        shim.write_down(None)
        yield name, before, read(folder / name)


def main(what, folder):
    shim, folder = Shim(), Path(folder)
    if what == "record":
        notes = folder.with_name("notes")
        notes.mkdir()
        return [[name, *({file: raw.hex() for file, raw in files.items()} for files in both)]
                for name, *both in record(shim, folder, notes)]
    if what == "short":
        run_dir = folder / "short"
        run_dir.mkdir()
        shim.shorten(7)
        shim.stop()
        checkpoint.write(run_dir, make_state(5))
        add_line(run_dir, False)
        add_line(run_dir, True)
        shim.shorten(0)
        return [shim.count("write"), {name: raw.hex() for name, raw in read(run_dir).items()}]
    return fail_everywhere(shim, folder, globals()[what])


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
