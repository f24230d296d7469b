"""The training batches, read one ahead."""
from __future__ import annotations

from typing import Any

from ..system.runtime import mx


class LookaheadBatches:
    """The batches of an iterator, read one ahead to know which one is the last of its epoch.

    If the iterator fails while reading ahead, the next `take` raises its `failure`.
    """

    def __init__(self, source: Any) -> None:
        self.source = source
        self.failure: Exception | None = None
        self._ahead: Any = None

    def seek(self, epoch: int, nbatch: int) -> None:
        """Continue at a batch of an epoch; at the next batch if the source cannot seek."""
        if hasattr(self.source, "seek"):
            self.source.seek(epoch, nbatch)
            self._ahead = self.failure = None

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
            self.source.reset()
        return batch, self._ahead is None

    def _next(self) -> Any:
        """Return the source's next batch; None at the end of its epoch."""
        try:
            batch = self.source.next()
        except StopIteration:
            return None
        if not hasattr(self.source, "seek"):  # MXNet's readers overwrite their last batch
            batch = mx.io.DataBatch([array.copy() for array in batch.data], [], pad=0)
        return batch
