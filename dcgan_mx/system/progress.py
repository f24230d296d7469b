"""Progress bars on a terminal or in a notebook; elsewhere, such as in a log, lines."""
from __future__ import annotations

import sys
import warnings
from typing import Any

from .notebook import find_notebook_kernel

LINE_SECONDS = 30.0  # between two lines of a log


class _Lines:
    """A stream for tqdm that writes each state of a bar to standard error, in its own line."""

    def write(self, text: str) -> None:
        """Write a line if there is text."""
        line = text.strip()
        if line:
            sys.stderr.write(f"{line}\n")  # one write: workers share the stream

    def flush(self) -> None:
        """Flush standard error."""
        sys.stderr.flush()


def can_redraw() -> bool:
    """Whether a bar can be redrawn in place: on a terminal and in a notebook."""
    return find_notebook_kernel() is not None or sys.stderr.isatty()


def make_bar(text: str, total: int | None, unit: str, done: int = 0, quiet: bool = False) -> Any:
    """Return a bar of tqdm; where it cannot be redrawn, it writes a line every 30 s, and a last."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm warns in a notebook without ipywidgets
        from tqdm.auto import tqdm
    look: dict[str, Any] = {"dynamic_ncols": True}
    if not can_redraw():
        look = {"file": _Lines(), "ncols": 0, "ascii": True, "miniters": 1,
                "mininterval": LINE_SECONDS, "maxinterval": LINE_SECONDS, "delay": 1e-9}
    return tqdm(desc=text, total=total, unit=unit, initial=done, disable=quiet, **look)
