"""A line on the screen that says how far the training is."""
from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from typing import TYPE_CHECKING, Any

from ..machine.kernel import find_kernel

if TYPE_CHECKING:
    from ..trainer import Trainer


class Progress:
    """A progress bar: as a hook it counts steps, as a display it shows a record.

    Parameters
    ----------
    total
        Steps of the whole run; None where nobody knows.
    done
        Steps that an earlier part of the run has done.
    quiet
        Show nothing; if left out, where nobody reads: in no notebook, and on a standard error that
        is no terminal.
    every
        As a hook, show the trainer's own averages, too, whenever so many steps are done; 0: never.
        In a job, the same for all workers, who add them up, quiet or not.
    text
        What is being done.
    """

    def __init__(self, total: int | None, done: int = 0, quiet: bool | None = None,
                 every: int = 0, text: str = "training") -> None:
        if quiet is None:
            quiet = find_kernel() is None and not sys.stderr.isatty()
        self._every, self._quiet = every, quiet
        self._bar = _find_tqdm()(total=total, initial=done, unit="step", dynamic_ncols=True,
                         disable=quiet, desc=text)
        self._last = done, time.perf_counter()

    def __call__(self, trainer: Trainer) -> None:
        """Count a step."""
        with contextlib.suppress(OSError):  # nobody reads it any more: no reason to stop
            self._bar.update(trainer.global_step - self._bar.n)
        read = not self._quiet or trainer.workers.count > 1
        if self._every and read and trainer.global_step % self._every == 0:
            averages = trainer.metrics.get()  # waits for the steps to be computed
            (step, then), now = self._last, time.perf_counter()
            self._last = trainer.global_step, now
            images = (trainer.global_step - step) * trainer.batch_size * trainer.workers.count
            self.show(trainer, {**averages, "images_per_s": images / (now - then)})

    def show(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Show the numbers of a record."""
        shown = [f"{record['images_per_s']:.1f} images/s"]
        for word, name in (("acc of D", "acc"), ("entropy of D", "d_entropy"),
                           ("of G", "g_entropy")):
            if record[name] is not None:
                shown.append(f"{word} {record[name]:.2f}")
        self._bar.set_postfix_str(", ".join(shown), refresh=False)

    def end(self, trainer: Trainer) -> None:
        """Leave the bar on the screen as it is."""
        with contextlib.suppress(OSError):
            self._bar.close()


def _find_tqdm() -> Any:
    """Return the notebook's bar in a notebook that can show it, or else the terminal's.

    tqdm.auto does so, too, and warns where there are no widgets.
    """
    if find_kernel() is not None and importlib.util.find_spec("ipywidgets") is not None:
        return importlib.import_module("tqdm.notebook").tqdm
    return importlib.import_module("tqdm").tqdm
