"""Checkpoints during the training."""
from __future__ import annotations

import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..engine.loop import can_save
from ..runs import checkpoint
from ..system.files import StrPath

if TYPE_CHECKING:
    from ..trainer import Trainer

_PAUSE = 30.0  # seconds before a failed write is tried again


class Saver:
    """A hook that saves every few steps and at the end, in the background.

    A checkpoint that cannot be written is warned of, and tried again until a newer one takes its
    place, or, for the best step, a better one. Whatever ends the training, its last step is saved,
    unless it is incomplete or not finite, or, in a job, one worker has failed alone.

    Parameters
    ----------
    run_dir
        None on all workers but the first, which alone writes.
    every
        Steps from one checkpoint to the next; by default, the end of every epoch.
    seed, keep
        As in `checkpoint.save`.
    step : int or None
        Of the newest checkpoint, written or begun; an attribute, too.
    """

    def __init__(self, run_dir: StrPath | None, every: int | None = None, seed: int | None = None,
                 keep: int = 0, step: int | None = None) -> None:
        self._run_dir, self._every, self._seed, self._keep = run_dir, every, seed, keep
        self.step = step
        self.best_step: int | None = None  # the best step, whose checkpoint is kept
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        # What is not yet on the disk, and whether it is the best: at most two, the newest last.
        self._unsaved: list[tuple[dict[str, Any], bool]] = []
        self._writing: Future[None] | None = None
        self._retry_at = 0.0

    def __call__(self, trainer: Trainer) -> None:
        """Save if it is time to."""
        if self._writing is not None and self._writing.done():
            self._wait_or_warn()
        if self._unsaved and self._writing is None and time.monotonic() > self._retry_at:
            self._writing = self._pool.submit(self._write)
        due = (trainer.nbatch if self._every is None else trainer.global_step % self._every) == 0
        if due and self.step != trainer.global_step:
            self.save(trainer)

    def save(self, trainer: Trainer, best: bool = False) -> None:
        """Copy the state and begin to write it; the best is kept until there is a better one."""
        self._wait_or_warn()
        state = trainer.get_state()
        self.step = trainer.global_step
        if trainer.workers.rank == 0:
            waiting = [] if best else [copy for copy in self._unsaved if copy[1]]
            self._unsaved = [*waiting, (state, best)]
            self._writing = self._pool.submit(self._write)

    def _write(self) -> None:
        """Write what is not yet on the disk, the newest first, from which a run continues."""
        assert self._run_dir is not None
        while self._unsaved:
            state, best = self._unsaved[-1]
            spare = state["counters"]["step"] if best else self.best_step
            checkpoint.write(self._run_dir, state, self._seed, self._keep, spare)
            self.best_step = spare
            self._unsaved.pop()

    def wait(self) -> None:
        """Wait for what is being written; raises OSError if it cannot be."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _wait_or_warn(self) -> None:
        try:
            self.wait()
        except OSError as error:
            warnings.warn(f"{error.filename}: {error.strerror}: this checkpoint could not be "
                          "written; the training goes on, and tries again", RuntimeWarning,
                          stacklevel=3)
            self._retry_at = time.monotonic() + _PAUSE

    def end(self, trainer: Trainer) -> None:
        """Save the last step, if it can be; raises OSError if it cannot be written."""
        try:
            self._wait_or_warn()
            if can_save(trainer) and self.step != trainer.global_step:
                self.save(trainer)
            elif self._unsaved:
                self._writing = self._pool.submit(self._write)
            self.wait()
        finally:
            self._pool.shutdown()
