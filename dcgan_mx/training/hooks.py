"""What a training shows beside itself, every few steps and at its end.

A hook is called with the trainer after every step; where it has a method `end`, that is called
once when the training ends, whatever ends it. A display is called with the trainer and a record
of numbers.
"""
from __future__ import annotations

import contextlib
import math
import time
import warnings
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator

import numpy as np

from ..images.latent import make_latents
from ..images.sample import Generator
from ..runs.events import EventFile
from ..runs.log import FIGURES
from ..runs.run import Run
from ..visual import make_grid, standardise, visual
from .loop import is_whole
from .module_state import get_parameters
from .trainer_state import DivergenceError

if TYPE_CHECKING:
    from ..trainer import Trainer
    from .saver import Saver

Record = Dict[str, Any]
Display = Callable[["Trainer", Record], None]


class Displays:
    """Several displays as one: what one of them cannot write costs neither the others nor the step.

    It is warned of, once until that display can write again.
    """

    def __init__(self, *displays: Display) -> None:
        self._displays = displays
        self._failing: set[Display] = set()

    def __call__(self, trainer: Trainer, record: Record) -> None:
        """Call each display with the record."""
        for display in self._displays:
            try:
                display(trainer, record)
                self._failing.discard(display)
            except OSError as error:  # what only shows must not cost what was learnt
                if display not in self._failing:
                    warnings.warn(f"{error.filename}: {error.strerror}: step {record['step']} is "
                                  "not shown there; the training goes on, and says no more of it "
                                  "until that can be written again", RuntimeWarning, stacklevel=2)
                self._failing.add(display)


class DisplayEvery:
    """A hook that measures, and hands the numbers to each display, every `n` steps and at the end.

    Parameters
    ----------
    n : at least 1
        Steps between displays.
    *displays
        Called with the trainer and a dict: `epoch` (epochs done), `step`, `acc` in [0, 1],
        `g_entropy` and `d_entropy` in nats, averaged since the last display, `images_per_s`
        since then, and `seconds` of the whole run; `last` is there, and true, where the end of the
        training came between two displays. One may fail to write: see `Displays`.
    seconds
        That the run has taken before.

    Raises
    ------
    DivergenceError
        When called, before anything is displayed, if an average, a parameter or a moving statistic
        is not finite.
    """

    def __init__(self, n: int, *displays: Display, seconds: float = 0.0) -> None:
        self._n, self._displays = n, displays
        self._show = Displays(*displays)
        self._last = time.perf_counter()
        self._start = self._last - seconds
        self._last_step: int | None = None

    def __call__(self, trainer: Trainer) -> None:
        """Display if it is time to."""
        if self._last_step is None:
            self._last_step = trainer.global_step - 1
        if trainer.global_step % self._n == 0:
            self._show(trainer, self._measure(trainer))
            trainer.metrics.reset()

    def leave_out(self, seconds: float) -> None:
        """Have `images_per_s` not count some seconds in which nothing was trained."""
        self._last += seconds

    def end(self, trainer: Trainer) -> None:
        """Display the last step, unless that is done, or some workers failed and some did not."""
        if self._last_step not in (None, trainer.global_step) and is_whole(trainer):
            # The averages stay as they are: a run that goes on has no line here.
            self._show(trainer, {**self._measure(trainer), "last": True})
        for display in self._displays:
            end = getattr(display, "end", None)
            if end is not None:
                end()

    def _measure(self, trainer: Trainer) -> Record:
        trainer.check_finite()  # waits for the steps to be computed
        averages = trainer.metrics.get()
        for name, value in averages.items():
            if value is not None and not math.isfinite(value):
                raise DivergenceError(f"step {trainer.global_step}: {name} is {value}: give a "
                                      "lower --lr")
        now = time.perf_counter()
        images = ((trainer.global_step - (self._last_step or 0)) * trainer.batch_size
                  * trainer.workers.count)
        record = {"epoch": trainer.epoch, "step": trainer.global_step, **averages,
                  "images_per_s": images / (now - self._last), "seconds": now - self._start}
        self._last, self._last_step = now, trainer.global_step
        return record


class Log:
    """A display that adds each record to a run's log.

    What cannot be written is kept, and tried again with the next one.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._records: list[Record] = []

    def __call__(self, trainer: Trainer, record: Record) -> None:
        """Add a line; raises OSError if it cannot be written."""
        self._records.append(record)
        self.end()

    def end(self) -> None:
        """Add the lines that are still to be written; raises OSError if they cannot be."""
        while self._records:
            self._run.log(self._records[0])  # synced: no checkpoint is ahead of the log
            del self._records[0]


def make_grids(run: Run) -> Display:
    """Make a display that draws gout, diff and data among a run's grids.

    Returns
    -------
    callable
        Raises OSError if a picture cannot be written.
    """
    def display(trainer: Trainer, record: Record) -> None:
        for name, images in _images(trainer):
            run.draw(name, trainer.global_step, images)
    return display


class KeepGrids:
    """A hook that removes most of the older grids of a run.

    Parameters
    ----------
    run
    saver
        The hook before this one: what its checkpoints would have stays.
    newest : at least 1
        Grids of each kind that stay in any case.
    every
        Steps from one set of grids to the next.
    """

    def __init__(self, run: Run, saver: Saver, newest: int, every: int) -> None:
        self._run, self._saver, self._newest, self._every = run, saver, newest, every

    def __call__(self, trainer: Trainer) -> None:
        """Remove what has had its time; what cannot be removed is tried again."""
        if trainer.global_step % self._every == 0:
            with contextlib.suppress(OSError):  # `end` tells
                self.end(trainer)

    def end(self, trainer: Trainer) -> None:
        """Remove it; raises OSError if it cannot be."""
        self._run.thin_grids(self._newest, self._saver.step or 0)


def make_fixed_noise(run: Run, trainer: Trainer, seed: int = 0) -> Display:
    """Make a display that draws `fixed` among a run's grids: the same latent vectors each time.

    Where G's weights are averaged, these make the images.

    Parameters
    ----------
    run, trainer
    seed : at least 0
        Of the 64 vectors. BatchNorm takes its numbers from these 64, as during the training.

    Returns
    -------
    callable
        Raises OSError if a picture cannot be written.
    """
    generator = Generator(trainer.modG.symbol, get_parameters(trainer.modG),
                          trainer.contexts[0], bn="batch")
    z = make_latents(64, generator.nz, seed)

    def display(trainer: Trainer, record: Record) -> None:
        generator.set_params({**get_parameters(trainer.modG), **trainer.average.get()})
        run.draw("fixed", trainer.global_step, generator.generate(z))
    return display


class TensorBoard:
    """A display that writes scalars and the three grids for TensorBoard, from a step on."""

    def __init__(self, run: Run, step: int = 0) -> None:
        self._events = EventFile(run.path / "tensorboard", step)

    def __call__(self, trainer: Trainer, record: Record) -> None:
        """Write the numbers and the pictures of a step; raises OSError if they cannot be."""
        names = ("acc", "g_entropy", "d_entropy", "images_per_s", *FIGURES)
        scalars = {name: record[name] for name in names if record.get(name) is not None}
        # No pictures where figures of quality come by themselves.
        grids = _images(trainer) if "images_per_s" in record else ()
        self._events.add(record["step"], scalars,
                         {name: make_grid(images) for name, images in grids})

    def end(self) -> None:
        """Close the file."""
        self._events.close()


def make_windows() -> Display:
    """Make a display that shows the three grids in windows."""
    def display(trainer: Trainer, record: Record) -> None:
        for name, images in _images(trainer):
            visual(name, images)
    return display


def _images(trainer: Trainer) -> Iterator[tuple[str, np.ndarray]]:
    """The three pictures of the blog: fakes, the gradient that G received at them, reals."""
    yield "gout", trainer.outG.asnumpy()
    if trainer.diffD is not None:
        yield "diff", standardise(trainer.diffD.asnumpy())
    yield "data", trainer.batch.data[0].asnumpy()
