"""Errors in a user's data."""
from __future__ import annotations

from typing import Iterable


class DatasetError(ValueError):
    """Data are damaged, too few, or cannot be downloaded; `skipped` lists bad files and why."""

    def __init__(self, message: str, skipped: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.skipped = sorted(skipped)


def short_message(error: Exception) -> str:
    """Return why a file cannot be read, without its name."""
    return getattr(error, "strerror", None) or str(error)
