"""Signals end a training after its current step."""
import os
import signal
import threading
import time


class StopOnSignal:
    """A hook that ends the training after the step in which a signal arrived.

    SIGINT, SIGTERM and, unless it is ignored, SIGHUP. Another one, a second or more after the
    first, ends the process at once; some senders signal a process and its group, so that every
    signal comes twice.

    Attributes
    ----------
    received : int or None
        The signal's number.
    """

    def __init__(self):
        self.received = None
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        # Python's own handlers wait until MXNet returns; what is written here can be read at once.
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup ignores SIGHUP on purpose; a shell ignores SIGINT for whatever it runs behind it
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda number, frame: None)
        threading.Thread(target=self._watch, args=(reader,), daemon=True).start()

    def _watch(self, reader):
        while True:
            number = os.read(reader, 1)[0]
            if self.received is None:
                self.received, first = number, time.monotonic()
            elif time.monotonic() - first > 1:
                os._exit(128 + number)

    def __call__(self, trainer):
        """Have `fit` return if a signal has arrived."""
        if self.received is not None:
            trainer.stopping = self.received
