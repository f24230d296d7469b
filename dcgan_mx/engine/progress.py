"""The progress bar of a training loop."""
from __future__ import annotations

import contextlib
import time
from typing import Any, Mapping

from ..system.progress import can_redraw, make_bar

_PREDICTIONS = 3  # of a step, at most
_PAUSE = 0.1  # seconds between two looks at the device
_LABELS = {"acc": "acc of D", "d_entropy": "entropy of D", "g_entropy": "of G"}


class ProgressBar:
    """A hook that counts steps in a progress bar, from `done` to `total`, which may be unknown.

    A log gets a line every 30 s instead. If `quiet`, nothing is shown; by default, unless this is a
    notebook or standard error is a terminal. The displayed metrics are updated every `every` steps;
    0: never. All workers need the same `every`.
    """

    def __init__(self, total: int | None, done: int = 0, quiet: bool | None = None,
                 every: int = 0, text: str = "training") -> None:
        self._redraws = can_redraw()
        self._every = every
        quiet = not self._redraws if quiet is None else quiet
        self._bar = make_bar(text, total, "step", done, quiet)
        self._waited = 0.0
        self._last = done, time.perf_counter()

    def on_step(self, trainer: Any) -> None:
        """Count a step."""
        # The host is up to four steps ahead of the device. The bar shows where the device is.
        if self._redraws and not self._bar.disable and time.monotonic() > self._waited + _PAUSE:
            trainer.metrics.wait(_PREDICTIONS)
            self._waited = time.monotonic()
        with contextlib.suppress(OSError):  # the terminal may be closed while the training runs
            self._bar.update(trainer.global_step - self._bar.n)
        # Reading the metrics is collective: all workers do it, even if only one has a terminal.
        read = self._every and (not self._bar.disable or trainer.workers.count > 1)
        if read and trainer.global_step % self._every == 0:
            averages = trainer.metrics.get()  # waits for the device
            (step, then), now = self._last, time.perf_counter()
            self._last = trainer.global_step, now
            images = (trainer.global_step - step) * trainer.batch_size * trainer.workers.count
            self.show({**averages, "images_per_s": images / (now - then)})

    def show(self, values: Mapping[str, Any]) -> None:
        """Show metrics and images per second beside the bar."""
        shown = [f"{label} {values[name]:.2f}" for name, label in _LABELS.items()
                 if values[name] is not None]
        self._bar.set_postfix_str(", ".join([f"{values['images_per_s']:.1f} images/s", *shown]),
                                  refresh=False)

    def on_end(self, trainer: Any) -> None:
        """Close the bar, which stays on the screen."""
        with contextlib.suppress(OSError):
            self._bar.close()
