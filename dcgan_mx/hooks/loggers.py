"""What a training shows and writes, every few steps and at its end.

A hook is called with the trainer after every step, and its method `end(trainer)`, if it has one,
when the training ends. A display is called with the trainer and a record of numbers, and its method
`end()`, if it has one, at the end.
"""
from __future__ import annotations

import contextlib
import time
import warnings
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator

import numpy as np

from ..engine.loop import can_save
from ..engine.module_state import get_parameters
from ..runs.events import EventFile
from ..runs.log import METRICS
from ..runs.run import Run
from ..sampling.generator import Generator
from ..sampling.latent import make_latents
from ..visual import make_grid, standardise, visual

if TYPE_CHECKING:
    from ..trainer import Trainer
    from .checkpoints import Saver

Record = Dict[str, Any]
Display = Callable[["Trainer", Record], None]


class LoggerGroup:
    """Several displays as one; if one cannot write, that is warned of, and all else goes on."""

    def __init__(self, *displays: Display) -> None:
        self._displays = displays
        self._failing: set[Display] = set()

    def __call__(self, trainer: Trainer, record: Record) -> None:
        """Call each display with the record."""
        for display in self._displays:
            try:
                display(trainer, record)
                self._failing.discard(display)
            except OSError as error:
                if display not in self._failing:
                    warnings.warn(f"{error.filename}: {error.strerror}: step {record['step']} is "
                                  "not shown there; the training goes on, and says no more of it "
                                  "until that can be written again", RuntimeWarning, stacklevel=2)
                self._failing.add(display)

    def end(self) -> None:
        """End each display."""
        for display in self._displays:
            getattr(display, "end", lambda: None)()


class MetricLogger:
    """A hook that measures, and hands the numbers to displays, every `n` steps and at the end.

    Parameters
    ----------
    n : at least 1
        Steps between displays.
    *displays
        Called with the trainer and a dict: `epoch` (epochs done), `step`, `acc` in [0, 1],
        `g_entropy` and `d_entropy` in nats and `images_per_s`, since the last display, and
        `seconds` of the whole run; also `last`, True, if the training ended between two displays.
        Nothing is displayed, but DivergenceError raised, if a number is not finite.
    seconds
        That the run has taken before.
    """

    def __init__(self, n: int, *displays: Display, seconds: float = 0.0) -> None:
        self._n, self._displays = n, LoggerGroup(*displays)
        self._last = time.perf_counter()
        self.start = self._last - seconds
        self._last_step: int | None = None

    def __call__(self, trainer: Trainer) -> None:
        """Display if it is time to."""
        if self._last_step is None:
            self._last_step = trainer.global_step - 1
        if trainer.global_step % self._n == 0:
            self._displays(trainer, self._measure(trainer))
            trainer.metrics.reset()

    def exclude_time(self, seconds: float) -> None:
        """Exclude time in which nothing was trained from `images_per_s`."""
        self._last += seconds

    def end(self, trainer: Trainer) -> None:
        """Display the last step, if it can be and is not, and end the displays."""
        if self._last_step not in (None, trainer.global_step) and can_save(trainer):
            # The averages stay as they are: a resumed run has no line here.
            self._displays(trainer, {**self._measure(trainer), "last": True})
        self._displays.end()

    def _measure(self, trainer: Trainer) -> Record:
        trainer.check_finite()  # waits for the steps to be computed
        now = time.perf_counter()
        images = ((trainer.global_step - (self._last_step or 0)) * trainer.batch_size
                  * trainer.workers.count)
        last, self._last, self._last_step = self._last, now, trainer.global_step
        return {"epoch": trainer.epoch, "step": trainer.global_step, **trainer.metrics.get(),
                "images_per_s": images / (now - last), "seconds": now - self.start}


class JsonlLogger:
    """A display that adds each record to a run's log; if that fails, together with the next one."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._records: list[Record] = []

    def __call__(self, trainer: Trainer, record: Record) -> None:
        """Add a line; raises OSError if it cannot be written."""
        self._records.append(record)
        self.end()

    def end(self) -> None:
        """Add the lines that could not be written before; raises OSError if they cannot be."""
        while self._records:
            self._run.log(self._records[0])  # synced: no checkpoint is ahead of the log
            del self._records[0]


def make_grids(run: Run) -> Display:
    """Make a display that draws gout, diff and data among a run's grids."""
    def display(trainer: Trainer, record: Record) -> None:
        for name, images in _images(trainer):
            run.draw(name, trainer.global_step, images)
    return display


class PruneGrids:
    """A hook that removes most older grids of a run, which has new ones `every` so many steps.

    The newest of each kind stay, and those that belong to the newest checkpoint of `saver`, a hook
    before this one: see `Run.thin_grids`.
    """

    def __init__(self, run: Run, saver: Saver, newest: int, every: int) -> None:
        self._run, self._saver, self._newest, self._every = run, saver, newest, every

    def __call__(self, trainer: Trainer) -> None:
        """Remove grids if there are new ones."""
        if trainer.global_step % self._every == 0:
            with contextlib.suppress(OSError):  # it is tried again; `end` raises it
                self.end(trainer)

    def end(self, trainer: Trainer) -> None:
        """Remove grids; raises OSError if that fails."""
        self._run.prune_grids(self._newest, self._saver.step or 0)


def make_fixed_noise(run: Run, trainer: Trainer, seed: int = 0) -> Display:
    """Make a display that draws `fixed` among a run's grids: images of the same 64 latent vectors.

    They are made with the average of G's weights, if there is one, and with the batch statistics
    of these 64, as in the training.
    """
    generator = Generator(trainer.modG.symbol, get_parameters(trainer.modG),
                          trainer.contexts[0], bn_stats="batch")
    z = make_latents(64, generator.nz, seed)

    def display(trainer: Trainer, record: Record) -> None:
        generator.set_params({**get_parameters(trainer.modG), **trainer.average.get()})
        run.draw("fixed", trainer.global_step, generator.generate(z))
    return display


class TensorBoard:
    """A display that writes a record's numbers for TensorBoard, from a step on.

    The method `draw`, a display, too, writes the three grids.
    """

    def __init__(self, run: Run, step: int = 0) -> None:
        self._events = EventFile(run.path / "tensorboard", step)

    def __call__(self, trainer: Trainer, record: Record) -> None:
        """Write the numbers; raises OSError if they cannot be written."""
        names = ("acc", "g_entropy", "d_entropy", "images_per_s", *METRICS)
        self._events.add(record["step"], {name: record[name] for name in names
                                          if record.get(name) is not None}, {})

    def draw(self, trainer: Trainer, record: Record) -> None:
        """Write the three grids; raises OSError if they cannot be written."""
        self._events.add(record["step"], {}, {name: make_grid(images)
                                              for name, images in _images(trainer)})

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
    """Yield the blog's three pictures: fakes, the gradient that G received for them, reals."""
    yield "gout", trainer.outG.asnumpy()
    if trainer.diffD is not None:
        yield "diff", standardise(trainer.diffD.asnumpy())
    yield "data", trainer.batch.data[0].asnumpy()
