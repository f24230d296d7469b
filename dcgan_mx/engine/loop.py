"""What `Trainer.fit` needs beside the step: batches read ahead, limits, a common stop, hooks."""
from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Callable, Sequence

from ..system.runtime import mx
from .trainer_state import DivergenceError

if TYPE_CHECKING:
    from ..trainer import Trainer

Hook = Callable[["Trainer"], None]


class LookaheadBatches:
    """The batches of an iterator, read one ahead, so that the last one of an epoch is known.

    If the iterator fails there, the next `take` raises its `failure`.
    """

    def __init__(self, source: Any) -> None:
        self.source = source
        self.failure: Exception | None = None
        self._ahead: Any = None

    def seek(self, epoch: int, nbatch: int) -> None:
        """Continue with a batch of an epoch if the source can seek, else with its next one."""
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
        except Exception as error:  # whatever an iterator raises
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
        if not hasattr(self.source, "seek"):  # MXNet's readers write each batch over the last one
            batch = mx.io.DataBatch([array.copy() for array in batch.data], [], pad=0)
        return batch


def count_steps(trainer: Trainer, train_iter: Any, num_epochs: int | None, max_steps: int | None
                ) -> int | None:
    """Return how many steps a trainer will have done at its limits; None if that is unknown."""
    limits = [] if max_steps is None else [max_steps]
    if num_epochs is not None and hasattr(train_iter, "num_batches"):
        begun = trainer.global_step - trainer.nbatch  # steps when the current epoch began
        limits.append(begun + (num_epochs - trainer.epoch) * train_iter.num_batches)
    return min(limits, default=None)


def sync_stop(trainer: Trainer, batches: LookaheadBatches) -> None:
    """Stop all workers if a hook of one asks for it, or if one has no next batch."""
    failed = batches.failure is not None
    asked = trainer.workers.all_gather([trainer.stopping or failed, trainer.stop_signal]).max(0)
    trainer.stopping, trainer.stop_signal = bool(asked[0]), int(asked[1])
    trainer.whole |= trainer.stopping
    if failed:
        batches.take()  # raises the failure, now that all know of it


def can_save(trainer: Trainer) -> bool:
    """Whether the last step of an ended training can be shown and saved, by all workers."""
    return trainer.whole and not isinstance(trainer.ending, DivergenceError)


def call_on_end(trainer: Trainer, hooks: Sequence[Hook]) -> None:
    """Call every hook's `end`, if it has one; the first error becomes the trainer's ending."""
    for hook in hooks:
        try:
            getattr(hook, "end", lambda trainer: None)(trainer)
        except Exception as error:
            if isinstance(trainer.ending, BaseException):
                warnings.warn(f"and then: {error}", RuntimeWarning, stacklevel=3)
            else:
                trainer.ending = error
