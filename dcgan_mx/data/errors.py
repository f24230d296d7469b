"""What is wrong with somebody's data."""
from __future__ import annotations

from typing import Iterable


class DatasetError(ValueError):
    """Data are damaged, too few, or cannot be fetched; `skipped`: files that were, and why."""

    def __init__(self, message: str, skipped: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.skipped = sorted(skipped)


def describe(error: Exception) -> str:
    """Return in a few words why a file cannot be read."""
    return getattr(error, "strerror", None) or str(error)
