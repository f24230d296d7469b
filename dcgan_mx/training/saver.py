"""Checkpoints beside the training."""
from __future__ import annotations

import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..machine.files import StrPath
from ..runs import checkpoint
from ..runs.checkpoint_folders import step_of
from .loop import is_whole

if TYPE_CHECKING:
    from ..trainer import Trainer

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before what failed is tried again


class Saver:
    """A hook that saves every few steps and at the end, in the background.

    The training waits for a copy of the numbers, not for the disk. What could not be written is
    told at once, and tried again until a newer checkpoint takes its place, or, if it is the best
    step's, a better one; the training goes on. Whatever ends the training, its last step is saved,
    unless it is so already, or a number is no longer finite, or the step is only half done. Of
    several workers all have to save, and the first one writes; where one of them fails and the
    others do not know of it, nothing is saved.

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
        # What is not yet on the disk, and whether it is the best: two at most, the newest one last.
        self._unsaved: list[tuple[dict[str, Any], bool]] = []
        self._writing: Future[None] | None = None
        self._pause, self._retry_at = _FIRST_PAUSE, 0.0

    def __call__(self, trainer: Trainer) -> None:
        """Save if it is time to."""
        if self._writing is not None and self._writing.done():
            self._take_result()
        if self._unsaved and self._writing is None and time.monotonic() > self._retry_at:
            self._begin()
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
            waiting = [] if best else [copy for copy in self._unsaved if copy[1]]
            self._unsaved = [*waiting, (state, best)]
            self._begin()

    def _begin(self) -> None:
        self._writing = self._pool.submit(self._write)

    def _write(self) -> None:
        """Write what is not yet on the disk, the newest first: it is what a run goes on from."""
        assert self._run_dir is not None
        while self._unsaved:
            state, best = self._unsaved[-1]
            spare = state["counters"]["step"] if best else self.spare
            folder = checkpoint.write(self._run_dir, state, self._seed, self._keep, spare)
            self.folder, self.spare = max(folder, self.folder or folder, key=step_of), spare
            self._unsaved.pop()

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
            writing.result()
            self._pause = _FIRST_PAUSE
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
            if is_whole(trainer) and self.step != trainer.global_step:
                self.save(trainer)
            elif self._unsaved:
                self._begin()
            self.wait()
        finally:
            self._pool.shutdown()
