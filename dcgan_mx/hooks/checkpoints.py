"""The hook that saves checkpoints."""
from __future__ import annotations

import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..runs import checkpoint
from ..system.files import StrPath
from ..trainer import Trainer
from .base import Hook

_PAUSE = 30.0  # seconds until a failed write is retried


class Saver(Hook):
    """A hook that saves every few steps and at the end, in the background.

    If a checkpoint cannot be written, the hook warns, and retries until a newer one replaces it or,
    for the best step, a better one. The last step is saved whatever ends the training, unless
    `Trainer.can_save` is False.

    Parameters
    ----------
    run_dir
        None on workers other than rank 0, which do not write.
    every
        Steps between checkpoints; by default each epoch's end is saved.
    seed, keep
        See `checkpoint.save`.
    step : int or None
        The newest checkpoint, written or begun; also an attribute.

    Attributes
    ----------
    best_step : int or None
        The best step of those evaluated, whose checkpoint is kept.
    """

    def __init__(self, run_dir: StrPath | None, every: int | None = None, seed: int | None = None,
                 keep: int = 0, step: int | None = None) -> None:
        self._run_dir, self._every, self._seed, self._keep = run_dir, every, seed, keep
        self.step = step
        self.best_step: int | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        # States to write, and whether each is of the best step: at most two, the newest last.
        self._unsaved: list[tuple[dict[str, Any], bool]] = []
        self._writing: Future[None] | None = None
        self._retry_at = 0.0

    def on_step(self, trainer: Trainer) -> None:
        """Save if it is due, and retry what could not be written."""
        if self._writing is not None and self._writing.done():
            self.flush()
        if self._unsaved and self._writing is None and time.monotonic() > self._retry_at:
            self._writing = self._pool.submit(self._write)
        if self.step is not None and trainer.global_step < self.step:
            self.step = None  # of a training that was rewound or replaced
        due = (trainer.nbatch if self._every is None else trainer.global_step % self._every) == 0
        if due and self.step != trainer.global_step:
            self.save(trainer)

    def save(self, trainer: Trainer, best: bool = False) -> None:
        """Copy the state and begin to write it; a best step is kept until there is a better one."""
        self.flush()
        state = trainer.get_state()
        self.step = trainer.global_step
        if trainer.workers.rank == 0:
            waiting = [] if best else [copy for copy in self._unsaved if copy[1]]
            self._unsaved = [*waiting, (state, best)]
            self._writing = self._pool.submit(self._write)

    def flush(self) -> None:
        """Wait until the last state is written; warn if that fails."""
        try:
            self.wait()
        except OSError as error:
            warnings.warn(f"{error.filename}: {error.strerror}: cannot write this checkpoint; the "
                          "training continues and tries again", RuntimeWarning, stacklevel=3)
            self._retry_at = time.monotonic() + _PAUSE

    def _write(self) -> None:
        """Write the unsaved states, the newest first, because a resumed run starts from it."""
        assert self._run_dir is not None
        while self._unsaved:
            state, best = self._unsaved[-1]
            best_step = state["counters"]["step"] if best else self.best_step
            checkpoint.write(self._run_dir, state, self._seed, self._keep, best_step)
            self.best_step = best_step
            self._unsaved.pop()

    def wait(self) -> None:
        """Wait for the writing thread; raises OSError if it failed."""
        if self._writing is not None:
            try:
                self._writing.result()
            finally:
                if self._writing.done():  # otherwise Ctrl-C has ended the waiting
                    self._writing = None

    def on_end(self, trainer: Trainer) -> None:
        """Save the last step if possible; raises OSError if it cannot be written."""
        self.flush()
        if trainer.can_save and self.step != trainer.global_step:
            self.save(trainer)
        elif self._unsaved:
            self._writing = self._pool.submit(self._write)
        self.wait()
