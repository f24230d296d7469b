"""The training batches, read one ahead."""
from __future__ import annotations

from typing import Any

from ..system.runtime import mx


class LookaheadBatches:
    """The batches of an iterator, read one ahead to know which one is the last of its epoch.

    If the iterator fails while reading ahead, the next `take` raises its `failure`.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self._source: Any = None
        self._ahead: Any = None

    def start(self, source: Any, epoch: int, nbatch: int) -> None:
        """Read from `source`: a batch of an epoch, or, if it cannot seek, its next batch."""
        can_seek = hasattr(source, "seek")
        if can_seek or source is not self._source:
            self._ahead = self.failure = None
        if can_seek:
            source.seek(epoch, nbatch)
        self._source = source

    def take(self) -> tuple[Any, bool]:
        """Return the next batch, and whether it is the last of its epoch."""
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        batch = self._next() if self._ahead is None else self._ahead
        if batch is None:
            raise ValueError("train_iter is empty: give an iterator with at least one batch")
        self._ahead = None
        try:
            self._ahead = self._next()
        except Exception as error:  # an iterator may raise anything
            self.failure = error
            return batch, False
        if self._ahead is None:
            self._source.reset()
        return batch, self._ahead is None

    def _next(self) -> Any:
        """Return the source's next batch; None at the end of its epoch."""
        try:
            batch = self._source.next()
        except StopIteration:
            return None
        if not hasattr(self._source, "seek"):  # MXNet's readers overwrite their last batch
            batch = mx.io.DataBatch([array.copy() for array in batch.data], [], pad=0)
        return batch
