"""Checkpoints beside the training."""
from __future__ import annotations

import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..machine.files import StrPath
from ..runs import checkpoint
from .loop import is_whole

if TYPE_CHECKING:
    from ..trainer import Trainer

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before what failed is tried again


class Saver:
    """A hook that saves every few steps and at the end, in the background.

    The training waits for a copy of the numbers, not for the disk. What could not be written is
    told at once, and tried again until a newer checkpoint takes its place; the training goes on.
    Whatever ends the training, its last step is saved, unless it is so already, or a number is no
    longer finite, or the step is only half done. Of several workers all have to save, and the first
    one writes; where one of them fails and the others do not know of it, nothing is saved.

    Parameters
    ----------
    run_dir
        None on all workers but the first.
    every
        Steps from one checkpoint to the next; if left out, it saves at the end of every epoch.
    seed, keep
        As in `checkpoint.save`.
    step
        One that is on the disk.

    Attributes
    ----------
    step : int or None
        Of the newest checkpoint that was begun.
    spare : int or None
        A step whose checkpoint is kept, however many there are.
    folder : pathlib.Path or None
        The newest checkpoint that is on the disk; None before the first.
    """

    def __init__(self, run_dir: StrPath | None, every: int | None = None, seed: int | None = None,
                 keep: int = 0, step: int | None = None) -> None:
        self._run_dir, self._every, self._seed, self._keep = run_dir, every, seed, keep
        self.step = step
        self.spare: int | None = None
        self.folder: Path | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._state: dict[str, Any] | None = None  # what is not yet on the disk
        self._best = False
        self._writing: Future[Path] | None = None
        self._pause, self._retry_at = _FIRST_PAUSE, 0.0

    def __call__(self, trainer: Trainer) -> None:
        """Save if it is time to."""
        if self._writing is not None and self._writing.done():
            self._take_result()
        if self._state is not None and self._writing is None and time.monotonic() > self._retry_at:
            self._write()
        due = (trainer.nbatch if self._every is None else trainer.global_step % self._every) == 0
        if due and self.step != trainer.global_step:
            self.save(trainer)

    def save(self, trainer: Trainer, best: bool = False) -> None:
        """Copy the state and begin to write it, when what is being written is done.

        Parameters
        ----------
        trainer
        best
            Once it is on the disk, it takes the place of the one to `spare`.

        Raises
        ------
        DivergenceError
            If a number is not finite.
        """
        if self._writing is not None:
            self._take_result()
        state = trainer.get_state()
        self.step = trainer.global_step
        if trainer.workers.rank == 0:
            self._state, self._best = state, best
            self._write()

    def _write(self) -> None:
        assert self._run_dir is not None and self._state is not None
        spare = self._state["counters"]["step"] if self._best else self.spare
        self._writing = self._pool.submit(checkpoint.write, self._run_dir, self._state, self._seed,
                                          self._keep, spare)

    def _take_result(self) -> None:
        """Wait for what is being written; where it fails, say so and note when to try again."""
        try:
            self.wait()
        except OSError as error:
            warnings.warn(f"{error.filename}: {error.strerror}: this checkpoint could not be "
                          "written; the training goes on, and tries again", RuntimeWarning,
                          stacklevel=3)
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def wait(self) -> Path | None:
        """Return the newest checkpoint's folder once it is on the disk; None if there is none.

        Raises
        ------
        OSError
            If it could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            self.folder = writing.result()
            if self._best and self._state is not None:
                self.spare = self._state["counters"]["step"]
            self._state, self._pause = None, _FIRST_PAUSE
        return self.folder

    def end(self, trainer: Trainer) -> None:
        """Save the last step, unless that is done or it must not be.

        Raises
        ------
        OSError
            If it cannot be written.
        DivergenceError
            If a number is not finite.
        """
        try:
            if self._writing is not None:
                self._take_result()
            if is_whole(trainer):
                missing = self.step != trainer.global_step or self._state is not None
                if trainer.workers.gather([missing]).any():
                    self.save(trainer)
                self.wait()
        finally:
            self._pool.shutdown()
