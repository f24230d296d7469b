"""The report of a run while it is training."""
from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ..hooks.base import Hook, Logger, Record
from ..hooks.checkpoints import Saver
from ..runs.run import Run
from ..trainer import Trainer
from .report import write_report

_PAUSE = 30.0  # seconds between two reports


class LiveReport(Hook, Logger):
    """A hook that rewrites the report, in a thread, after a checkpoint, evaluation or warning.

    As a logger it learns of evaluations and warnings; `saver` is a hook before this one. An error
    does not end the training: the command writes the last report, and reports the error.
    """

    def __init__(self, run: Run, saver: Saver) -> None:
        self._run, self._saver, self._step = run, saver, saver.step
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="report")
        self._writing: Future[Path] | None = None
        self._due, self._next = False, 0.0

    def log(self, record: Record) -> None:
        """Write a report soon if this is an evaluation or a warning."""
        self._due |= record.kind != "training"

    def on_step(self, trainer: Trainer) -> None:
        """Begin to write the report if it is due and the last one is written."""
        self._due |= self._saver.step != self._step
        self._step = self._saver.step
        free = self._writing is None or self._writing.done()
        if self._due and free and time.monotonic() >= self._next:
            self._due, self._next = False, time.monotonic() + _PAUSE
            self._writing = self._pool.submit(write_report, self._run.path, live=True)

    def on_end(self, trainer: Trainer) -> None:
        """Wait until the report is written."""
        self._pool.shutdown()
