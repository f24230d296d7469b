"""Progress bars on a terminal or in a notebook; elsewhere, such as in a log, lines."""
from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from typing import Any, Iterable, Iterator, TypeVar

from .notebook import find_notebook_kernel

_Part = TypeVar("_Part")
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


def show_parts(parts: Iterable[_Part], text: str, total: int, size: int) -> Iterator[_Part]:
    """Yield parts of `size` images; if that takes more than a second, show how many are done."""
    with make_bar(text, total, "image", delay=1) as bar:
        for part in parts:
            yield part
            bar.update(min(size, total - bar.n))


@contextlib.contextmanager
def show_time(text: str) -> Iterator[None]:
    """Show how long the body of a with statement has been running, if more than a second."""
    done = threading.Event()
    with make_bar(text, None, "s", delay=1) as bar:
        bar.bar_format = "{desc}: {elapsed}"

        def tick() -> None:
            while not done.wait(1):
                bar.update()

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def make_bar(text: str, total: int | None, unit: str, done: int = 0, quiet: bool = False,
             delay: float = 0) -> Any:
    """Return a bar of tqdm; where it cannot be redrawn, it writes a line every 30 s, and a last.

    Nothing is shown in the first `delay` seconds.
    """
    from tqdm import TqdmWarning
    with warnings.catch_warnings():  # in a notebook without ipywidgets
        warnings.simplefilter("ignore", TqdmWarning)  # not of others: threads may warn meanwhile
        from tqdm.auto import tqdm
    look: dict[str, Any] = {"dynamic_ncols": True, "delay": delay}
    if not can_redraw():
        look = {"file": _Lines(), "ncols": 0, "ascii": True, "miniters": 1,
                "mininterval": LINE_SECONDS, "maxinterval": LINE_SECONDS,
                "delay": delay or 1e-9}  # without a first line
    return tqdm(desc=text, total=total, unit=unit, initial=done, disable=quiet, **look)
