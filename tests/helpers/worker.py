"""A worker of distributed/test_workers.py: trains, and stores its parameters and messages."""
import sys

import numpy as np

from dcgan_mx import MnistIter, RandIter, Trainer, make_dcgan_sym
from dcgan_mx.cli import train, train_args
from dcgan_mx.data.datasets import make_discs
from dcgan_mx.engine.collectives import Workers
from dcgan_mx.hooks.base import Logger
from dcgan_mx.hooks.checkpoints import Saver
from dcgan_mx.hooks.loggers import MetricLogger
from dcgan_mx.system.devices import make_kvstore
from dcgan_mx.system.runtime import mx

SHAPE, BATCH_SIZE, STEPS = (3, 16, 16), 32, 10


def make_images(count, index):
    """One of `count` parts of each batch of `count` times BATCH_SIZE images."""
    for step in range(STEPS):
        images = np.random.default_rng(step).uniform(-1, 1, (count, BATCH_SIZE, *SHAPE))
        yield mx.io.DataBatch([mx.nd.array(images[index])], [])


def make_trainer(batch_size, seed, **options):
    mx.random.seed(seed)
    return Trainer(*make_dcgan_sym(8, 8, 3, size=16), batch_size, SHAPE, nz=5, **options)


def train_two_contexts(**options):
    """Train in one process as two workers do."""
    trainer = make_trainer(2 * BATCH_SIZE, 0, ctx=[mx.cpu(0), mx.cpu(1)], **options)
    noise = RandIter(2 * BATCH_SIZE, 5)
    for parts in zip(make_images(2, 0), make_images(2, 1)):
        images = mx.nd.concat(*(part.data[0] for part in parts), dim=0)
        trainer.step(mx.io.DataBatch([images], []), noise.next())
    return trainer


def list_parameters(trainer):
    """The parameters of both networks, by name."""
    return {name[4:]: array for network, arrays in trainer.get_state().items()
            if network in ("G", "D") for name, array in arrays.items() if name.startswith("arg:")}


def error_message(function, *args):
    """Return the message of the error that a function raises; "" if it raises none."""
    try:
        function(*args)
    except (ValueError, OSError) as error:
        return str(error)
    return ""


def communicate(workers):
    """Results of the collective methods and checks, with numbers that a sum could change."""
    rank = workers.rank
    values = np.array([0.0, -0.0, 1e-45, 3.4e38, rank], np.float32)
    long = np.arange(2**20 + 3, dtype=np.float32) * (rank + 1)
    other_flags = train_args.parse(["--dataset", "mnist", "--disp-batches", str(2 + rank)])
    resumed = train_args.parse(["--dataset", "mnist", "--run-dir", "elsewhere"])._replace(
        resume=rank == 1)
    return {"gathered": workers.all_gather(values), "shared": workers.broadcast(-values),
            "long": workers.broadcast(long), "texts": workers.all_gather_text("é" * (1 + 9 * rank)),
            "different": error_message(workers.check_same, f"{rank} left", "data"),
            "other_flags": error_message(train.check_same_flags, other_flags, [], workers),
            "resumed": error_message(train.check_same_flags, resumed, [], workers),
            "any": workers.all_gather([rank == 1]).any(),
            "none": workers.all_gather([False]).any()}


def fit_unequally(ours, folder):
    """Worker 0 has a terminal, and a logger that fails at the end; return the error's message.

    Both workers end at step STEPS + 11, which is saved.
    """
    first = ours.workers.rank == 0
    data = MnistIter(make_discs(2 * BATCH_SIZE), BATCH_SIZE, SHAPE)
    noise = RandIter(BATCH_SIZE, 5, 0, ours.workers.count, ours.workers.rank)
    sys.stderr.isatty = lambda: first
    ours.fit(data, noise, None, max_steps=STEPS + 10)

    class Failing(Logger):
        def close(self):
            if first:
                raise OSError("no paper")

    hooks = [MetricLogger(100, Failing()), Saver(folder if first else None)]
    return error_message(ours.fit, data, noise, None, hooks, STEPS + 11)


def diverge(ours):
    """The error of each worker when a moving statistic of worker 1 is not finite."""
    if ours.workers.rank == 1:
        ours.modG._exec_group.aux_arrays[0][0][:] = np.nan
    return error_message(ours.check_finite)


def main(folder, precision="float32"):
    kvstore = make_kvstore("dist_sync")
    workers = Workers(kvstore)
    ours = make_trainer(BATCH_SIZE, workers.rank, kvstore=kvstore, precision=precision)
    noise = RandIter(BATCH_SIZE, 5, 0, workers.count, workers.rank)
    for batch in make_images(workers.count, workers.rank):
        ours.step(batch, noise.next())
    np.savez(f"{folder}/worker-{workers.rank}.npz", **list_parameters(ours))
    # In the same process: last bits depend on its threads, and on whether AMX is enabled.
    contexts = train_two_contexts(precision=precision)
    if workers.rank == 0:
        np.savez(f"{folder}/contexts.npz", **list_parameters(contexts))
    if precision == "float32":
        averages = {f"average {name}": (value, contexts.metrics.get()[name])
                    for name, value in ours.metrics.get().items()}
        np.savez(f"{folder}/results-{workers.rank}.npz", failure=fit_unequally(ours, folder),
                 divergence=diverge(ours), **communicate(workers), **averages)


if __name__ == "__main__":
    main(*sys.argv[1:])
