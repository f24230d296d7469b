"""The hook that measures a run, and loggers for its numbers: log.jsonl and TensorBoard."""
from __future__ import annotations

import contextlib
import time
import warnings
from typing import Any

import numpy as np

from ..runs.events import EventFile
from ..runs.log import METRICS
from ..runs.run import Run
from ..system.errors import one_line
from ..trainer import Trainer
from ..visual import make_grid, standardize
from .base import Hook, Logger, Record
from .health import TrainingHealth


class MetricLogger(Hook):
    """A hook that measures every `every` steps and at the end, and logs a record.

    It warns once if a logger cannot write, until that succeeds again. The other loggers continue.
    If a parameter is not finite, DivergenceError is raised, and nothing is logged.

    Parameters
    ----------
    every : int, at least 1
        Steps between records.
    *loggers
        Receive records of the kind 'training'. Their values: `epoch` (epochs done), `step`; `acc`
        in [0, 1], `g_entropy` and `d_entropy` in nats and `images_per_s`, since the last record;
        `seconds` of the whole run; and `last`, True, if the training ended between two records.
        Their images: `gout`, the fakes; `diff`, G's standardized gradient at them, if the step
        updated G; `data`, the reals.
    seconds : float
        Duration of the run before this training.
    health : TrainingHealth or None
        Checks the records; its warnings follow them.
    """

    def __init__(self, every: int, *loggers: Logger, seconds: float = 0.0,
                 health: TrainingHealth | None = None) -> None:
        self._every, self._loggers, self._health = every, loggers, health
        self._failing: set[int] = set()  # ids: a logger need not be hashable
        self._last_time = time.perf_counter()
        self._start = self._last_time - seconds
        self._last_step: int | None = None

    @property
    def seconds(self) -> float:
        """Duration of the run until now."""
        return time.perf_counter() - self._start

    def exclude_time(self, seconds: float) -> None:
        """Exclude time without training from `images_per_s`."""
        self._last_time += seconds

    def log(self, record: Record) -> None:
        """Pass a record to each logger."""
        for logger in self._loggers:
            try:
                logger.log(record)
                self._failing.discard(id(logger))
            except Exception as error:  # such as a lost display, or too little memory for grids
                if id(logger) not in self._failing:
                    cause = (f"{error.filename}: {error.strerror}" if isinstance(error, OSError)
                             and error.filename else f"{type(logger).__name__}: {one_line(error)}")
                    warnings.warn(f"{cause}: step {record.step} is not written there; the training "
                                  "continues, and does not repeat this warning until writing "
                                  "succeeds", RuntimeWarning, stacklevel=2)
                self._failing.add(id(logger))

    def on_step(self, trainer: Trainer) -> None:
        """Log a record if it is due."""
        if self._last_step is None:
            self._last_step = trainer.global_step - 1
        if trainer.global_step % self._every == 0 and trainer.outG is not None:
            record = self._measure(trainer)
            self.log(record)
            for warning in self._health.check(record) if self._health else ():
                self.log(warning)
            trainer.metrics.reset()

    def on_end(self, trainer: Trainer) -> None:
        """Log the last step, if it is new and complete, and close the loggers."""
        with contextlib.ExitStack() as stack:
            for logger in self._loggers:
                stack.callback(logger.close)
            if (self._last_step not in (None, trainer.global_step) and trainer.can_save
                    and trainer.outG is not None):  # None: a hook has called `set_state`
                # The averages are not reset: a resumed run has no record here.
                self.log(self._measure(trainer, last=True))
            self._last_step = None  # of this `fit`

    def _measure(self, trainer: Trainer, **more: Any) -> Record:
        """Wait for the device; return the record of this step."""
        trainer.check_finite()
        now, step = time.perf_counter(), trainer.global_step
        images = (step - (self._last_step or 0)) * trainer.batch_size * trainer.workers.count
        values = {"epoch": trainer.epoch, "step": step, **trainer.metrics.get(),
                  "images_per_s": images / (now - self._last_time), "seconds": now - self._start,
                  **more}
        self._last_time, self._last_step = now, step
        # Workers other than rank 0 have no loggers, and copy no images.
        return Record("training", step, values, _copy_images(trainer) if self._loggers else {})


def _copy_images(trainer: Trainer) -> dict[str, np.ndarray]:
    """Return the blog's three sets of images."""
    images = {"gout": trainer.outG.asnumpy()}
    if trainer.diffD is not None:
        images["diff"] = standardize(trainer.diffD.asnumpy())
    return {**images, "data": trainer.batch.data[0].asnumpy()}


class JsonlLogger(Logger):
    """A logger that appends each record to a run's log.jsonl.

    Records that could not be written are kept, and written before the next one.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._unwritten: list[dict[str, Any]] = []

    def log(self, record: Record) -> None:
        """Append a line; raises OSError if it cannot be written."""
        self._unwritten.append(record.values)
        self.close()

    def close(self) -> None:
        """Append the lines that are not written yet; raises OSError if that fails."""
        while self._unwritten:
            try:
                self._run.log(self._unwritten[0])  # synced: no checkpoint is ahead of the log
            except (TypeError, ValueError):  # it is not JSON, and never will be
                del self._unwritten[0]
                raise
            del self._unwritten[0]


class TensorBoardLogger(Logger):
    """A logger that writes numbers and grids for TensorBoard, from a step on."""

    def __init__(self, run: Run, step: int = 0) -> None:
        self._events = EventFile(run.path / "tensorboard", step)

    def log(self, record: Record) -> None:
        """Write the numbers and grids of a record; raises OSError if that fails."""
        if record.kind == "warning":
            return
        names = ("acc", "g_entropy", "d_entropy", "images_per_s", *METRICS)
        scalars = {name: record.values[name] for name in names
                   if record.values.get(name) is not None}
        grids = {name: make_grid(images) for name, images in record.images.items()}
        self._events.add(record.step, scalars, grids)

    def close(self) -> None:
        """Close the file."""
        self._events.close()
