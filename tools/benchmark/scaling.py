"""Measure what a second worker brings: speed, bytes on the wire, and the model that predicts both.

Two workers of one thread each run on this machine. In every round the first one trains by itself,
then both train together, then both exchange gradients without training.
"""
from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Callable, Sequence

if TYPE_CHECKING:
    from dcgan_mx.engine.collectives import Workers

BATCH_SIZE = 64
LAUNCH = Path(__file__).resolve().parent / "launch.py"


def count_bytes() -> int:
    """Bytes that the loopback device has carried (Linux)."""
    with open("/proc/net/dev") as f:
        fields = next(line for line in f if line.strip().startswith("lo:")).split(":")[1].split()
    return int(fields[0])


def make_work() -> tuple[dict[str, Callable[[int], None]], Workers, list[int]]:
    """Make the two trainers; return functions of a number of steps, and what else is needed."""
    from dcgan_mx import Trainer, make_dcgan_sym
    from dcgan_mx.system.devices import make_kvstore
    from dcgan_mx.system.runtime import mx
    kvstore = make_kvstore("dist_sync")
    syms, shape = make_dcgan_sym(64, 64, 3), (3, 64, 64)
    together = Trainer(*syms, BATCH_SIZE, shape, kvstore=kvstore)
    alone = Trainer(*syms, BATCH_SIZE, shape)
    batch = mx.io.DataBatch([mx.nd.random.uniform(-1, 1, (BATCH_SIZE, *shape))], [])
    noise = mx.io.DataBatch([mx.nd.random.normal(shape=(BATCH_SIZE, 100, 1, 1))], [])
    gradients = [(name, mx.nd.zeros(array.shape)) for mod in (together.modG, together.modD)
                 for name, array in mod.get_params()[0].items()]

    def train(trainer: Trainer, n: int) -> None:
        for _ in range(n):
            trainer.step(batch, noise)
        trainer.metrics.reset()
        mx.nd.waitall()

    def exchange(n: int) -> None:
        for _ in range(n):
            for i, (name, gradient) in enumerate(gradients):
                kvstore.pushpull(name, gradient, priority=-i)
        mx.nd.waitall()
    return ({"alone": lambda n: train(alone, n), "together": lambda n: train(together, n),
             "exchange": exchange}, together.workers, [array.size for _, array in gradients])


def work(args: argparse.Namespace) -> None:
    """Be one of the two workers; the first one prints."""
    functions, workers, sizes = make_work()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    sent: list[float] = []
    for i in range(args.rounds + 1):
        for name, function in functions.items():
            if name == "alone" and workers.rank:
                continue
            function(1)  # finds the caches as the one before left them
            if name != "alone":
                workers.all_gather([0])  # both begin together
            start, before = time.perf_counter(), count_bytes()
            function(args.steps)
            if i:
                seconds[name].append((time.perf_counter() - start) / args.steps)
                sent += [(count_bytes() - before) / args.steps / 2] * (name == "together")
        workers.all_gather([0])  # while the first one trains alone, the other one waits here
    if workers.rank == 0:
        show(args, seconds, sent, sizes)


def show(args: argparse.Namespace, seconds: dict[str, list[float]], sent: list[float],
         sizes: Sequence[int]) -> None:
    """Print what was measured, beside what the model says."""
    t1, t2, x = (median(seconds[name]) for name in ("alone", "together", "exchange"))
    gain = median(2 * a / b for a, b in zip(seconds["alone"], seconds["together"]))
    total = 2 * 4 * sum(sizes)  # bytes that a worker moves: gradients there, their sums back
    print(f"\none worker of 1 thread, batch {BATCH_SIZE}: {t1:.2f} s a step\n"
          f"two workers of 1 thread each: {t2:.2f} s a step, x {gain:.2f} the images per second")
    if args.shared_mbit or args.link_mbit:
        # everything over one wire; or, with a server on each of two hosts, one half each way
        wire = (2 * total / args.shared_mbit if args.shared_mbit else
                total / 2 / args.link_mbit) * 8 / 1e6
        print(f"an exchange of gradients by itself: {x:.2f} s; model: {wire:.2f} s\n"
              f"a step of two workers: model {t1:.2f} + {wire:.2f} = {t1 + wire:.2f} s")
    else:
        print(f"bytes that a worker moves in a step: {median(sent) / 1e6:.1f} MB; model: "
              f"2 x 4 bytes x {sum(sizes):,} parameters = {total / 1e6:.1f} MB\n"
              f"an exchange of gradients by itself: {x:.3f} s; a step of two workers: model "
              f"{t1:.2f} + {x:.3f} = {t1 + x:.2f} s")
        predict(t1, x, sizes)
    sys.stdout.flush()


def count_on_the_busiest_wire(sizes: Sequence[int], n: int) -> float:
    """Bytes that leave one of N machines with a worker and a server each, in a step.

    MXNet divides arrays of 10^6 numbers and more evenly among the servers; a smaller one goes to a
    server by its key (1.9.1, src/kvstore/kvstore_dist.h, EncodeDefaultKey).
    """
    loads: list[float] = [0] * n
    for key, size in enumerate(sizes):
        for server in range(n) if size >= 10**6 else [key * 9973 % n]:
            loads[server] += size / n if size >= 10**6 else size
    # as a worker, gradients for all other servers; as a server, sums for all other workers
    return 4 * max(sum(sizes) - load + (n - 1) * load for load in loads)


def predict(t1: float, x: float, sizes: Sequence[int]) -> None:
    """Print what the model says of networks with a server beside each worker."""
    print("\nthe model for N machines on a switch, a worker and a server on each: x the images per "
          "second of one,\nand the shortest step for which N workers are faster than one\n"
          f"{'Mbit/s':>8}" + "".join(f"{f'N = {n}':>20}" for n in (2, 4, 8)))
    for rate in (100, 1000, 10000, 100000):
        line = f"{rate:8}"
        for n in (2, 4, 8):
            wire = count_on_the_busiest_wire(sizes, n) * 8 / (rate * 1e6)
            gain, shortest = n * t1 / (t1 + x + wire), (x + wire) / (n - 1)
            line += f"{f'x {gain:.2f}':>10}{f'{shortest:.3f} s':>10}"
        print(line)


def measure(*flags: str) -> None:
    """Start the two workers."""
    subprocess.run([sys.executable, str(LAUNCH), "-n", "2", "-s", "1", "--", sys.executable,
                    str(Path(__file__).resolve()), "--worker", *flags], check=True,
                   env={**os.environ, "OMP_NUM_THREADS": "1"})


def main() -> None:
    """Parse the flags and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=3, help="in a round; default: %(default)s")
    parser.add_argument("--shared-mbit", type=float, metavar="X",
                        help="the loopback device is limited to X Mbit/s: check the model")
    parser.add_argument("--link-mbit", type=float, metavar="X",
                        help="the workers are two hosts on a link of X Mbit/s: check the model")
    parser.add_argument("--worker", action="store_true",
                        help="be one of two workers that something else has started")
    args = parser.parse_args()
    if args.worker:
        work(args)
    else:
        measure(*sys.argv[1:])


if __name__ == "__main__":
    main()
