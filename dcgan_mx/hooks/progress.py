"""A progress bar of the training."""
from __future__ import annotations

import contextlib
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from ..system.notebook import find_notebook_kernel

if TYPE_CHECKING:
    from ..trainer import Trainer


class Progress:
    """A progress bar: a hook that counts steps, and whose method `show` displays a record.

    Parameters
    ----------
    total, done
        Steps of the whole run (None if unknown), and steps done before.
    quiet
        Show nothing; by default, outside of notebooks and terminals.
    every
        Steps between updates of the trainer's averages, the same on all workers; 0: no updates.
    text
        What is being done.
    """

    def __init__(self, total: int | None, done: int = 0, quiet: bool | None = None,
                 every: int = 0, text: str = "training") -> None:
        if quiet is None:
            quiet = find_notebook_kernel() is None and not sys.stderr.isatty()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # in a notebook without ipywidgets it says so
            from tqdm.auto import tqdm
        self._every = every
        self._bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True,
                         disable=quiet, desc=text)
        self._last = done, time.perf_counter()

    def __call__(self, trainer: Trainer) -> None:
        """Count a step."""
        with contextlib.suppress(OSError):  # a terminal that is closed is no reason to stop
            self._bar.update(trainer.global_step - self._bar.n)
        read = self._every and (not self._bar.disable or trainer.workers.count > 1)
        if read and trainer.global_step % self._every == 0:
            averages = trainer.metrics.get()  # waits for the steps to be computed
            (step, then), now = self._last, time.perf_counter()
            self._last = trainer.global_step, now
            images = (trainer.global_step - step) * trainer.batch_size * trainer.workers.count
            self.show(trainer, {**averages, "images_per_s": images / (now - then)})

    def show(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Show the numbers of a record."""
        words = {"acc": "acc of D", "d_entropy": "entropy of D", "g_entropy": "of G"}
        shown = [f"{word} {record[name]:.2f}" for name, word in words.items()
                 if record[name] is not None]
        self._bar.set_postfix_str(", ".join([f"{record['images_per_s']:.1f} images/s", *shown]),
                                  refresh=False)

    def end(self, trainer: Trainer) -> None:
        """Leave the bar on the screen as it is."""
        with contextlib.suppress(OSError):
            self._bar.close()
