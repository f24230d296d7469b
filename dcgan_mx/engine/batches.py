"""The training batches, checked and read one ahead."""
from __future__ import annotations

from typing import Any

from ..iterators import EpochIter
from ..system.errors import ArgumentError
from ..system.runtime import mx


def check_shape(name: str, batch: Any, mod: Any) -> None:
    """Raise ArgumentError unless a batch has the shape of a Module, which would adapt to others."""
    found, expected = batch.data[0].shape, mod.data_shapes[0].shape
    if found != expected:
        raise ArgumentError(name, f"its array has shape {found}, expected {expected}: use an "
                            "iterator that fits the networks and the batch size")


class LookaheadBatches:
    """The batches of an iterator, read one ahead to know which one is the last of its epoch."""

    def __init__(self) -> None:
        self._source: Any = None
        self._ahead: Any = None  # a batch, or the error that the source raised instead

    def start(self, source: Any, epoch: int, nbatch: int) -> None:
        """Read from `source`: a batch of an epoch, or, if it cannot seek, its next batch."""
        if hasattr(source, "seek"):
            source.seek(epoch, nbatch)
            self._ahead = None
        elif source is not self._source:
            self._ahead = None
        self._source = source

    @property
    def failed(self) -> bool:
        """Whether the next call of `take` raises an error of the source."""
        return isinstance(self._ahead, Exception)

    def take(self) -> tuple[Any, bool]:
        """Return the next batch, and whether it is the last of its epoch."""
        batch, self._ahead = self._next() if self._ahead is None else self._ahead, None
        if isinstance(batch, Exception):
            raise batch
        if batch is None:
            raise ValueError("train_iter has no batch, or none after the trainer's position in the "
                             "epoch: reset it, or give more images")
        self._ahead = self._next()
        if self._ahead is None:
            self._source.reset()
        return batch, self._ahead is None

    def _next(self) -> Any:
        """Return the source's next batch, or the error that it raises; None at an epoch's end."""
        try:
            batch = self._source.next()
        except StopIteration:
            return None
        except Exception as error:  # an iterator may raise anything
            return error
        if not isinstance(self._source, EpochIter):  # MXNet's readers overwrite their last batch
            batch = mx.io.DataBatch([array.copy() for array in batch.data], [], pad=0)
        return batch
