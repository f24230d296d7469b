"""Signals end a training after its current step."""
from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import Any

from .job_role import report


class StopOnSignal:
    """A hook that ends the training after the step in which SIGINT, SIGTERM or SIGHUP arrived.

    Use it as a context: `with StopOnSignal() as stop`; `stop.received` is the signal's number, or
    None. A second signal ends the process at once, but not within a second of the first: some
    senders signal a process and its group, so that every signal comes twice.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> StopOnSignal:
        """Begin to listen."""
        with contextlib.ExitStack() as stack:
            reader, writer = os.pipe()
            stack.callback(os.close, writer)  # ends `_watch`
            os.set_blocking(writer, False)
            # Python's own handlers wait until MXNet returns; what is written here can be read at
            # once.
            stack.callback(signal.set_wakeup_fd,
                           signal.set_wakeup_fd(writer, warn_on_full_buffer=False))
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                # nohup ignores SIGHUP on purpose; a shell ignores SIGINT for what it runs behind it
                before = signal.getsignal(number)
                if number != signal.SIGHUP or before is not signal.SIG_IGN:
                    signal.signal(number, lambda number, frame: None)
                    stack.callback(signal.signal, number, before)
            threading.Thread(target=self._watch, args=(reader,), daemon=True).start()
            self._stack = stack.pop_all()
        report(ready=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave signals to whoever had them before."""
        self._stack.close()

    def _watch(self, reader: int) -> None:
        with open(reader, "rb", buffering=0) as f:
            first = 0.0
            while byte := f.read(1):
                if self.received is None:
                    self.received, first = byte[0], time.monotonic()
                elif time.monotonic() - first > 1:
                    os._exit(128 + byte[0])

    def __call__(self, trainer: Any) -> None:
        """Have `fit` return if a signal has arrived."""
        if self.received is not None:
            trainer.stopping, trainer.stop_signal = True, self.received
