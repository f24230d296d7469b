"""The interfaces of hooks and loggers."""
from __future__ import annotations

from typing import Any, Callable, NamedTuple, Protocol

import numpy as np

from ..trainer import Hook, Trainer

__all__ = ["Hook", "LambdaHook", "Logger", "Record"]


class LambdaHook(Hook):
    """A hook that calls a function with the trainer after every step."""

    def __init__(self, function: Callable[[Trainer], object]) -> None:
        self._function = function

    def on_step(self, trainer: Trainer) -> None:
        """Call the function."""
        self._function(trainer)


class Record(NamedTuple):
    """Numbers and images of a step, as loggers receive them.

    `kind` is 'training', 'evaluation' or 'warning'; `values` is the line of log.jsonl, with
    `epoch`, `step`, `seconds` and the metrics, or `warning`, a kind of failure, and `message`;
    `images` has arrays, (N, C, H, W), by the names of their grids, and is empty unless the kind is
    'training'; `diff` is standardized, the others are in [-1, 1].
    """

    kind: str
    step: int
    values: dict[str, Any]
    images: dict[str, np.ndarray]


class Logger(Protocol):
    """What records are written to."""

    def log(self, record: Record) -> None:
        """Write a record; any error becomes a warning, and the training continues."""

    def close(self) -> None:
        """Write what is left, and close; by default, do nothing."""
        return None  # noqa: PLR1711, RET501  mypy takes an empty body for an abstract method
