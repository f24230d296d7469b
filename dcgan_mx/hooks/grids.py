"""Loggers that draw the images of a run, and a hook that removes old grids."""
from __future__ import annotations

import contextlib

from ..engine.module_state import get_parameters
from ..runs.run import Run
from ..sampling.generator import Generator
from ..sampling.latent import make_latents
from ..trainer import Trainer
from ..visual import visual
from .base import Hook, Logger, Record
from .checkpoints import Saver


class GridLogger(Logger):
    """A logger that draws the images of each record into a run's grids."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def log(self, record: Record) -> None:
        """Draw gout, diff and data; raises OSError if a file cannot be written."""
        for name, images in record.images.items():
            self._run.draw(name, record.step, images)


class FixedNoiseLogger(Logger):
    """A logger that draws `fixed`, the images of the same 64 latent vectors, into a run's grids.

    They are generated with G's averaged weights, if any, and with the statistics of this batch.
    """

    def __init__(self, run: Run, trainer: Trainer, seed: int = 0) -> None:
        self._run, self._trainer = run, trainer
        self._generator = Generator(trainer.modG.symbol, get_parameters(trainer.modG),
                                    trainer.contexts[0], bn_stats="batch")
        self._latents = make_latents(64, self._generator.nz, seed)

    def log(self, record: Record) -> None:
        """Draw the images of a training record; raises OSError if the file cannot be written."""
        if record.kind == "training":
            self._generator.set_params({**get_parameters(self._trainer.modG),
                                        **self._trainer.average.get()})
            self._run.draw("fixed", record.step, self._generator.generate(self._latents))


class WindowLogger(Logger):
    """A logger that shows the images of each record in windows, as the blog's program does."""

    def log(self, record: Record) -> None:
        """Show gout, diff and data."""
        for name, images in record.images.items():
            visual(name, images)


class PruneGrids(Hook):
    """A hook that removes old grids of a run, which gets new ones every `every` steps.

    See `Run.prune_grids`. `saver` is a hook before this one.
    """

    def __init__(self, run: Run, saver: Saver, newest: int, every: int) -> None:
        self._run, self._saver, self._newest, self._every = run, saver, newest, every

    def on_step(self, trainer: Trainer) -> None:
        """Remove grids if there are new ones."""
        if trainer.global_step % self._every == 0:
            with contextlib.suppress(OSError):  # the next call tries again; on_end raises
                self._prune()

    def on_end(self, trainer: Trainer) -> None:
        """Remove grids; raises OSError if that fails."""
        self._prune()

    def _prune(self) -> None:
        self._run.prune_grids(self._newest, self._saver.step or 0)
