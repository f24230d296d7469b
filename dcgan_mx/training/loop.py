"""What the loop around the step leans on: batches with their ends, hooks, reasons to stop."""
from __future__ import annotations

import signal
import warnings
from typing import TYPE_CHECKING, Any, Callable, Sequence

from ..machine.runtime import mx
from ..runs.ending import Ending
from .trainer_state import DivergenceError

if TYPE_CHECKING:
    from ..trainer import Trainer

Hook = Callable[["Trainer"], None]
_TRUE = 0.5  # what stands for True where all workers are asked; 1 is SIGHUP


class Batches:
    """The batches of an iterator, each with whether it is the last of its epoch.

    It looks one batch ahead, and keeps that for whoever comes next. Where that fails, the batch
    before it is still good: the error comes in the place of the next one.

    Parameters
    ----------
    source : mx.io.DataIter
        Reset at the end of every epoch.

    Attributes
    ----------
    source : mx.io.DataIter
    failure : Exception or None
        What came in the place of the next batch.
    """

    def __init__(self, source: Any) -> None:
        self.source = source
        self.failure: Exception | None = None
        self._ahead: Any = None

    def seek(self, epoch: int, nbatch: int) -> None:
        """Go on with a batch of an epoch, if the source can; else with the next one."""
        if hasattr(self.source, "seek"):
            self.source.seek(epoch, nbatch)
            self._ahead = self.failure = None

    def take(self) -> tuple[Any, bool]:
        """Return the next batch, and whether it is the last of its epoch.

        Raises
        ------
        ValueError
            If the source has no batch.
        Exception
            `failure`, if that came before.
        """
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if self._ahead is None:
            self._ahead = self._next()
        if self._ahead is None:
            raise ValueError("train_iter is empty: give an iterator with at least one batch")
        batch, self._ahead = self._ahead, None
        try:
            self._ahead = self._next()
        except Exception as error:  # whatever an iterator raises
            self.failure = error
            return batch, False
        if self._ahead is None:
            self.source.reset()
            return batch, True
        return batch, False

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
    """Return how many steps a trainer will have done at its limits; None if nobody knows."""
    batches = getattr(train_iter, "num_batches", None)
    if num_epochs is None or batches is None:
        return max_steps
    to_do = (num_epochs - trainer.epoch) * int(batches) - trainer.nbatch
    total = trainer.global_step + to_do
    return total if max_steps is None else min(total, max_steps)


def agree_to_stop(trainer: Trainer, batches: Batches) -> None:
    """Have all workers stop if a hook of one of them asks for it, or one has no next batch.

    What came in its place is raised here, when all know of it.
    """
    failed = batches.failure is not None
    asked = _TRUE if trainer.stopping is True or failed else trainer.stopping
    found = float(trainer.workers.gather([asked]).max())
    trainer.stopping = True if found == _TRUE else int(found)
    if failed:
        trainer.agreed = True
        batches.take()


def is_whole(trainer: Trainer) -> bool:
    """Whether the last step of an ended training can be shown and saved.

    Not so is half of a step, one whose numbers are no longer finite, and, in a job, any after which
    a worker has failed alone: what is shown and saved is gathered from all.
    """
    alone = (isinstance(trainer.ending, BaseException) and trainer.workers.count > 1
             and not trainer.agreed)
    return not (trainer.stepping or isinstance(trainer.ending, DivergenceError) or alone)


def make_ending(trainer: Trainer) -> Ending:
    """Say how a training ended that a hook stopped."""
    if trainer.stopping is True:
        return Ending("hook", trainer.global_step, trainer.epoch)
    return Ending("signal", trainer.global_step, trainer.epoch,
                  signal.Signals(trainer.stopping).name)


def end_hooks(trainer: Trainer, hooks: Sequence[Hook]) -> None:
    """Call each hook's `end`, if it has one, whatever becomes of the others'.

    What one raises becomes the trainer's ending, of which the others need not know to stop; unless
    something has been raised before: then it is warned of.
    """
    for hook in hooks:
        try:
            getattr(hook, "end", lambda trainer: None)(trainer)
        except Exception as error:
            if isinstance(trainer.ending, BaseException):
                warnings.warn(f"and then: {error}", RuntimeWarning, stacklevel=3)
            else:
                trainer.ending, trainer.agreed = error, True  # the training had ended for all
