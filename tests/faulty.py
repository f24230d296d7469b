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


def save(step, seed=0, keep=0):
    return lambda run_dir: checkpoint.write(run_dir, make_state(step, seed), keep=keep)


def add_line(step):
    return lambda run_dir: Run(run_dir).log({"step": step, "seconds": 0.5})


# What is there before, and what is then done.
ACTS = {"first": (lambda run_dir: None, save(5)), "next": (save(5), save(6)),
        "other": (save(5), save(5, seed=1)),  # what is there has to make room
        "line": (add_line(5), add_line(6)), "keep": (save(5), save(6, keep=1))}


def read(run_dir):
    """All that lies below a folder, by name."""
    return {str(path.relative_to(run_dir)): path.read_bytes().hex()
            for path in sorted(run_dir.rglob("*")) if path.is_file()}


def fail_everywhere(shim, folder, what):
    """Let an act meet an error at each call that it makes, each time in a new folder.

    Yields the call, its number, the error that was told, the files before, after it, and after the
    act was repeated without one. Of each kind the last case is one in which nothing failed.
    """
    prepare, act = ACTS[what]
    for call in CALLS:
        n, failed = 0, True
        while failed:
            run_dir = folder / f"{call}-{n}"
            run_dir.mkdir()
            prepare(run_dir)
            before, told = read(run_dir), None
            shim.fail(call, n, errno.EIO)
            try:
                act(run_dir)
            except OSError as error:
                told = [error.errno, error.filename]
            failed = shim.stop(call) > n
            after = read(run_dir)
            if told:
                act(run_dir)
            yield {"call": call, "folder": str(run_dir), "failed": failed, "told": told,
                   "before": before, "after": after, "end": read(run_dir)}
            n += 1


def record(shim, folder, what):
    """Write down the calls of an act; return the files before and after it."""
    prepare, act = ACTS[what]
    prepare(folder)
    before = read(folder)
    shim.write_down(folder.with_name(f"{what}-calls"))
    act(folder)
    shim.write_down(None)
    return [before, read(folder)]


def main(how, what, folder):
    folder = Path(folder)
    if how == "record":
        return record(Shim(), folder, what)
    if how == "fail":
        return [*fail_everywhere(Shim(), folder, what)]
    Shim().shorten(7)
    for act in ACTS["line"] + ACTS["next"]:
        act(folder)
    return read(folder)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
