"""Measure the speed of two workers, the bytes they exchange, and the model that predicts both.

Two workers of one thread each run on this machine. In every round the first one trains alone, then
both train together, then both exchange gradients without training.
"""
from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Callable, Sequence

from ..common import make_parser, python_env
from .bench_loops import BATCH_SIZE

if TYPE_CHECKING:
    from dcgan_mx.engine.collectives import Workers


def count_bytes() -> int:
    """Return the bytes that the loopback device has carried (Linux)."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.split()[0] == "lo:")


def make_work() -> tuple[dict[str, Callable[[int], None]], Workers, list[int]]:
    """Return functions of a number of steps, the workers, and the sizes of all parameters."""
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
    """Run one of the two workers; the first one prints."""
    functions, workers, sizes = make_work()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    sent: list[float] = []
    for i in range(args.rounds + 1):
        for name, function in functions.items():
            if name == "alone" and workers.rank:
                continue
            function(1)  # not timed: the function before has filled the caches
            if name != "alone":
                workers.all_gather([0])  # both begin together
            start, before = time.perf_counter(), count_bytes()
            function(args.steps)
            if i:
                seconds[name].append((time.perf_counter() - start) / args.steps)
                sent += [(count_bytes() - before) / args.steps / 2] * (name == "together")
        workers.all_gather([0])  # the second worker waits here while the first one trains alone
    if workers.rank == 0:
        show(args, seconds, sent, sizes)


def show(args: argparse.Namespace, seconds: dict[str, list[float]], sent: list[float],
         sizes: Sequence[int]) -> None:
    """Print measurements beside predictions."""
    t1, t2, x = (median(seconds[name]) for name in ("alone", "together", "exchange"))
    gain = median(2 * a / b for a, b in zip(seconds["alone"], seconds["together"]))
    total = 2 * 4 * sum(sizes)  # bytes that a worker moves: gradients out, their sums back
    print(f"\none worker of 1 thread, batch {BATCH_SIZE}: {t1:.2f} s a step\n"
          f"two workers of 1 thread each: {t2:.2f} s a step, x {gain:.2f} the images per second")
    if args.shared_mbit or args.link_mbit:
        # all bytes over one wire; or half each way, with a server on each of two hosts
        wire = (2 * total / args.shared_mbit if args.shared_mbit else
                total / 2 / args.link_mbit) * 8 / 1e6
        print(f"an exchange of gradients by itself: {x:.2f} s; model: {wire:.2f} s\n"
              f"a step of two workers: model {t1:.2f} + {wire:.2f} = {t1 + wire:.2f} s", flush=True)
        return
    print(f"bytes that a worker moves in a step: {median(sent) / 1e6:.1f} MB; model: "
          f"2 x 4 bytes x {sum(sizes):,} parameters = {total / 1e6:.1f} MB\n"
          f"an exchange of gradients by itself: {x:.3f} s; a step of two workers: model "
          f"{t1:.2f} + {x:.3f} = {t1 + x:.2f} s\n\n"
          "the model for N machines on a switch, a worker and a server on each: x the images per "
          "second of one,\nand the shortest step for which N workers are faster than one\n"
          f"{'Mbit/s':>8}" + "".join(f"{f'N = {n}':>20}" for n in (2, 4, 8)))
    for rate in (100, 1000, 10000, 100000):
        waits = [(n, x + busiest_wire_bytes(sizes, n) * 8 / (rate * 1e6)) for n in (2, 4, 8)]
        print(f"{rate:8}" + "".join(f"{f'x {n * t1 / (t1 + wait):.2f}':>10}"
                                    f"{f'{wait / (n - 1):.3f} s':>10}" for n, wait in waits))
    sys.stdout.flush()


def busiest_wire_bytes(sizes: Sequence[int], n: int) -> float:
    """Return the most bytes a step that one of N machines sends; each has a worker and a server.

    MXNet divides arrays of 10^6 numbers and more evenly among the servers; a smaller one goes to a
    server by its key (1.9.1, src/kvstore/kvstore_dist.h, EncodeDefaultKey).
    """
    loads = [0.0] * n
    for key, size in enumerate(sizes):
        for server in range(n) if size >= 10**6 else [key * 9973 % n]:
            loads[server] += size / n if size >= 10**6 else size
    # The worker sends gradients to all other servers, the server sums to all other workers.
    return 4 * max(sum(sizes) - load + (n - 1) * load for load in loads)


def start_workers(*flags: str) -> None:
    """Start the two workers, and wait for them."""
    subprocess.run([sys.executable, "-m", "dcgan_mx", "launch", "-n", "2", "-s", "1", "--",
                    sys.executable, "-m", "tools.benchmark.scaling", "--worker", *flags],
                   check=True, env=python_env(OMP_NUM_THREADS="1"))


def main() -> None:
    """Parse the flags and measure."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=8, help="number of rounds")
    add("--steps", type=int, default=3, help="steps of a round")
    add("--shared-mbit", type=float, metavar="X",
        help="check the model with the loopback device limited to X Mbit/s")
    add("--link-mbit", type=float, metavar="X",
        help="check the model with two hosts on a link of X Mbit/s as workers")
    add("--worker", action="store_true", help="run one of two workers of an existing job")
    args = parser.parse_args()
    if args.worker:
        work(args)
    else:
        start_workers(*sys.argv[1:])


if __name__ == "__main__":
    main()
