"""Measure the speed of two workers, the bytes they exchange, and the model that predicts both.

Two workers of one thread each run on this machine. In every round the first one trains alone, then
both train together, then both exchange gradients without training.
"""
from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Callable

from .bench_loops import BATCH_SIZE, SHAPE

ROUNDS, STEPS = 8, 3


def count_bytes() -> int:
    """Return the bytes that the loopback device has carried (Linux)."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.split()[0] == "lo:")


def make_work() -> tuple[dict[str, Callable[[], None]], Any, int]:
    """Return functions that work for one step, the workers, and the number of parameters."""
    from dcgan_mx import Trainer, make_dcgan_sym
    from dcgan_mx.system.devices import make_kvstore
    from dcgan_mx.system.runtime import mx
    kvstore = make_kvstore("dist_sync")
    together, alone = (Trainer(*make_dcgan_sym(64, 64, 3), BATCH_SIZE, SHAPE, kvstore=store)
                       for store in (kvstore, None))
    batch = mx.io.DataBatch([mx.nd.random.uniform(-1, 1, (BATCH_SIZE, *SHAPE))], [])
    noise = mx.io.DataBatch([mx.nd.random.normal(shape=(BATCH_SIZE, 100, 1, 1))], [])
    gradients = [(name, mx.nd.zeros(array.shape)) for mod in (together.modG, together.modD)
                 for name, array in mod.get_params()[0].items()]

    def exchange() -> None:
        for i, (name, gradient) in enumerate(gradients):
            kvstore.pushpull(name, gradient, priority=-i)
    return ({"alone": lambda: alone.step(batch, noise),
             "together": lambda: together.step(batch, noise), "exchange": exchange},
            together.workers, sum(array.size for _, array in gradients))


def work() -> None:
    """Run one of the two workers; the first one prints medians beside the model."""
    from dcgan_mx.system.runtime import mx
    functions, workers, size = make_work()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    sent: list[float] = []
    for _ in range(ROUNDS):
        for name, function in functions.items():
            if name == "alone" and workers.rank:
                continue
            function()  # not timed: the function before has filled the caches
            mx.nd.waitall()
            if name != "alone":
                workers.all_gather([0])  # both begin together
            start, before = time.perf_counter(), count_bytes()
            for _ in range(STEPS):
                function()
            mx.nd.waitall()
            seconds[name].append((time.perf_counter() - start) / STEPS)
            if name == "together":
                sent.append((count_bytes() - before) / STEPS / 2)
        workers.all_gather([0])  # the second worker waits here while the first one trains alone
    if workers.rank:
        return
    t1, t2, x = (median(seconds[name]) for name in functions)
    gain = median(2 * a / b for a, b in zip(seconds["alone"], seconds["together"]))
    print(f"\none worker of 1 thread, batch {BATCH_SIZE}: {t1:.2f} s a step\n"
          f"two workers of 1 thread each: {t2:.2f} s a step, x {gain:.2f} the images per second\n"
          f"bytes that a worker moves in a step: {median(sent) / 1e6:.1f} MB; model: "
          f"2 x 4 bytes x {size:,} parameters = {8 * size / 1e6:.1f} MB\n"
          f"an exchange of gradients by itself: {x:.3f} s; a step of two workers: model "
          f"{t1:.2f} + {x:.3f} = {t1 + x:.2f} s", flush=True)


def start_workers() -> None:
    """Start the two workers, and wait for them."""
    subprocess.run([sys.executable, "-m", "dcgan_mx", "launch", "-n", "2", "-s", "1", "--",
                    sys.executable, "-m", "tools.benchmark.scaling", "--worker"],
                   check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:  # one worker of an existing job
        work()
    else:
        start_workers()
