"""A line on the screen that says how far the training is."""
from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from ..trainer import Trainer


class Progress:
    """A progress bar: as a hook it counts steps, as a display it shows a record.

    Parameters
    ----------
    total
        Steps of the whole run.
    done
        Steps that an earlier part of the run has done.
    quiet
        Show nothing.
    """

    def __init__(self, total: int | None, done: int = 0, quiet: bool = False) -> None:
        self._bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True, disable=quiet)

    def __call__(self, trainer: Trainer) -> None:
        """Count a step."""
        with contextlib.suppress(OSError):  # nobody reads it any more: no reason to stop
            self._bar.update(trainer.global_step - self._bar.n)

    def show(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Show the numbers of a record."""
        shown = [f"{record['images_per_s']:.1f} images/s"]
        for word, name in (("acc", "acc"), ("G", "g_entropy"), ("D", "d_entropy")):
            if record[name] is not None:
                shown.append(f"{word} {record[name]:.2f}")
        self._bar.set_postfix_str(", ".join(shown), refresh=False)

    def end(self, trainer: Trainer) -> None:
        """Leave the bar on the screen as it is."""
        with contextlib.suppress(OSError):
            self._bar.close()
