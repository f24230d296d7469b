"""Signals that end training after the current step."""
from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import Callable, Iterator

from .job_role import report

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def stop_on_signal(on_signal: Callable[[int], object]) -> Iterator[None]:
    """Call a function with the number of the first SIGINT, SIGTERM or SIGHUP, in another thread.

    A second signal ends the process, but not within a second of the first: some senders signal a
    process and also its group. Outside of the main thread, where Python allows no handlers, signals
    keep their effect.
    """
    if threading.current_thread() is not threading.main_thread():
        report(ready=True)
        yield
        return
    with contextlib.ExitStack() as stack:
        reader, writer = os.pipe()
        thread = threading.Thread(target=_watch, args=(reader, on_signal), daemon=True)
        thread.start()
        # The thread holds the function, and so the trainer and its KVStore, whose destructor
        # aborts the process if it runs in another thread while Python exits.
        stack.callback(thread.join)
        stack.callback(os.close, writer)  # ends the thread
        os.set_blocking(writer, False)
        # Python's own handlers run only when MXNet returns; the other end of the wakeup descriptor
        # can be read at once.
        stack.callback(signal.set_wakeup_fd,
                       signal.set_wakeup_fd(writer, warn_on_full_buffer=False))
        for number in _STOPPING:
            # nohup ignores SIGHUP on purpose; a shell ignores SIGINT for background jobs.
            before = signal.getsignal(number)
            if number != signal.SIGHUP or before is not signal.SIG_IGN:
                signal.signal(number, lambda number, frame: None)
                stack.callback(signal.signal, number, before)
        report(ready=True)
        yield


def _watch(reader: int, on_signal: Callable[[int], object]) -> None:
    """Wait for signals; end the process at the second one."""
    with open(reader, "rb", buffering=0) as f:
        first = 0.0
        while byte := f.read(1):
            if byte[0] not in _STOPPING:  # Python writes every signal that it handles
                continue
            if not first:
                first = time.monotonic()
                on_signal(byte[0])
            elif time.monotonic() - first > 1:
                os._exit(128 + byte[0])
