"""Measure what a second worker brings: speed, bytes on the wire, and the model that predicts both.

Two workers of one thread each run on this machine. In every round the first one trains by itself,
then both train together, then both exchange gradients without training.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

BATCH_SIZE, WARM_UP = 64, 2
LAUNCH = Path(__file__).resolve().parent / "launch.py"


def count_bytes():
    """Bytes that the loopback device has carried (Linux)."""
    with open("/proc/net/dev") as f:
        fields = next(line for line in f if line.strip().startswith("lo:")).split(":")[1].split()
    return int(fields[0])


def work(rounds, steps):
    """Be one of the workers; the first one prints what it has measured."""
    from dcgan_mx import Trainer, make_dcgan_sym
    from dcgan_mx.device import make_kvstore
    from dcgan_mx.runtime import mx
    kvstore = make_kvstore("dist_sync")
    syms, shape = make_dcgan_sym(64, 64, 3), (3, 64, 64)
    together = Trainer(*syms, BATCH_SIZE, shape, kvstore=kvstore)
    alone = Trainer(*syms, BATCH_SIZE, shape)
    workers = together.workers
    batch = mx.io.DataBatch([mx.nd.random.uniform(-1, 1, (BATCH_SIZE, *shape))], [])
    noise = mx.io.DataBatch([mx.nd.random.normal(shape=(BATCH_SIZE, 100, 1, 1))], [])
    gradients = [(name, mx.nd.zeros(array.shape)) for params in
                 (together.modG.get_params()[0], together.modD.get_params()[0])
                 for name, array in params.items()]

    def train(trainer, n):
        for _ in range(n):
            trainer.step(batch, noise)
        trainer.metrics.reset()

    def exchange(n):
        for _ in range(n):
            for i, (name, gradient) in enumerate(gradients):
                kvstore.pushpull(name, gradient, priority=-i)
        mx.nd.waitall()

    def measure(function, *args):
        function(*args, 1)
        mx.nd.waitall()
        workers.gather([0])  # all begin together
        start, sent = time.perf_counter(), count_bytes()
        function(*args, steps)
        mx.nd.waitall()
        return (time.perf_counter() - start) / steps, (count_bytes() - sent) / steps

    numbers = {"alone": [], "together": [], "exchange": []}
    for i in range(rounds + 1):
        if workers.rank == 0:
            train(alone, 1)
            mx.nd.waitall()
            start = time.perf_counter()
            train(alone, steps)
            mx.nd.waitall()
            own = (time.perf_counter() - start) / steps, 0
        workers.gather([0])
        both, bare = measure(train, together), measure(exchange)
        if workers.rank == 0 and i:
            for name, value in (("alone", own), ("together", both), ("exchange", bare)):
                numbers[name].append(value)
    if workers.rank == 0:
        numbers["parameters"] = {name: sum(array.size for array in mod.get_params()[0].values())
                                 for name, mod in (("G", together.modG), ("D", together.modD))}
        print(json.dumps(numbers), flush=True)


def measure(rounds=8, steps=3, servers=1):
    """Start the two workers, print what they measure; return medians in seconds, and a count.

    They are a step of one worker, one of two, an exchange alone, and the number of parameters.
    """
    done = subprocess.run(
        [sys.executable, str(LAUNCH), "-n", "2", "-s", str(servers), "--", sys.executable,
         str(Path(__file__).resolve()), "--worker", "--rounds", str(rounds), "--steps",
         str(steps)], stdout=subprocess.PIPE, text=True, check=True)
    numbers = json.loads(done.stdout)
    alone, together, exchange = ([seconds for seconds, _ in numbers[name]]
                                 for name in ("alone", "together", "exchange"))
    t1, t2, x = map(statistics.median, (alone, together, exchange))
    gain = statistics.median(2 * a / b for a, b in zip(alone, together))
    parameters = sum(numbers["parameters"].values())
    sent = statistics.median(sent for _, sent in numbers["together"]) / 2
    print(f"\none worker of 1 thread, batch {BATCH_SIZE}: {t1:.2f} s a step\n"
          f"two workers of 1 thread each: {t2:.2f} s a step, x {gain:.2f} the images per second\n"
          f"bytes that a worker moves in a step: {sent / 1e6:.1f} MB; "
          f"model: 2 x 4 bytes x {parameters:,} parameters = {8 * parameters / 1e6:.1f} MB\n"
          f"an exchange of gradients by itself: {x:.3f} s; "
          f"model: {t1:.2f} + {x:.3f} = {t1 + x:.2f} s a step of two workers")
    return t1, t2, x, parameters


def predict(t1, x, parameters, mbit):
    """Print what the model says of networks with a server beside each worker."""
    print("\nthe model for N machines on a switch, a worker and a server on each: x the images per "
          "second of one,\nand the shortest step for which N workers are faster than one\n"
          f"{'Mbit/s':>8}" + "".join(f"{f'N = {n}':>20}" for n in (2, 4, 8)))
    for rate in mbit:
        line = f"{rate:8}"
        for n in (2, 4, 8):
            # each machine sends gradients to the other servers, and sums to the other workers
            wire = 2 * 4 * parameters * (n - 1) / n * 8 / (rate * 1e6)
            gain, shortest = n * t1 / (t1 + x + wire), (x + wire) / (n - 1)
            line += f"{f'x {gain:.2f}':>10}{f'{shortest:.3f} s':>10}"
        print(line)


def main():
    """Parse the flags and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=3, help="in a round; default: %(default)s")
    parser.add_argument("--servers", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--shared-mbit", type=float, metavar="X",
                        help="the loopback device is limited to so many Mbit/s: check the model")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.rounds, args.steps)
    else:
        t1, t2, x, parameters = measure(args.rounds, args.steps, args.servers)
        if args.shared_mbit:
            wire = 2 * 8 * parameters * 8 / (args.shared_mbit * 1e6)
            print(f"model for two workers that share {args.shared_mbit:g} Mbit/s: an exchange "
                  f"{wire:.2f} s, a step {t1 + wire:.2f} s; measured {x:.2f} s and {t2:.2f} s")
        else:
            predict(t1, x, parameters, (100, 1000, 10000, 100000))


if __name__ == "__main__":
    main()
