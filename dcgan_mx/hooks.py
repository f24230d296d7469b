"""What happens beside the training: `f(trainer)`, called after every step."""
import json
import math
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from . import checkpoint
from .trainer import DivergenceError
from .visual import make_grid, save_png, standardise, visual


def display_every(n, *displays, seconds=0.0):
    """Make a hook that measures, and hands the numbers to each display, every `n` steps.

    Parameters
    ----------
    n : int, at least 1
        Steps between displays.
    *displays : callable
        Called with the trainer and a dict: `epoch` (epochs done), `step`, `acc` in [0, 1],
        `g_entropy` and `d_entropy` in nats, averaged since the last display, `images_per_s`
        since then, and `seconds` of the whole run.
    seconds : float
        That the run has taken before.

    Notes
    -----
    The hook raises `trainer.DivergenceError`, before anything is displayed, if an average, a
    parameter or a moving statistic is not finite.
    """
    last = time.perf_counter()
    start = last - seconds

    def hook(trainer):
        nonlocal last
        if trainer.global_step % n:
            return
        trainer.check_finite()  # waits for the steps to be computed
        averages = trainer.metrics.get()
        for name, value in averages.items():
            if value is not None and not math.isfinite(value):
                raise DivergenceError(f"step {trainer.global_step}: {name} is {value}: give a "
                                      "lower --lr")
        now = time.perf_counter()
        record = {"epoch": trainer.epoch, "step": trainer.global_step, **averages,
                  "images_per_s": n * trainer.batch_size / (now - last), "seconds": now - start}
        last = now
        trainer.metrics.reset()
        for display in displays:
            display(trainer, record)
    return hook


def make_log(path):
    """Make a display that appends each record to a file, one JSON object a line."""
    def display(trainer, record):
        with open(path, "a", encoding="utf-8") as f:
            f.write(json.dumps(record) + "\n")
            f.flush()
            os.fsync(f.fileno())  # a checkpoint is never ahead of the log
    return display


def make_grids(folder):
    """Make a display that writes gout-, diff- and data-<step>.png into a folder."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)

    def display(trainer, record):
        for name, images in _images(trainer):
            save_png(folder / f"{name}-{trainer.global_step:08d}.png", make_grid(images))
    return display


def make_windows():
    """Make a display that shows the three grids in windows."""
    def display(trainer, record):
        for name, images in _images(trainer):
            visual(name, images)
    return display


def _images(trainer):
    """The three pictures of the blog: fakes, the gradient that G received at them, reals."""
    yield "gout", trainer.outG.asnumpy()
    if trainer.diffD is not None:
        yield "diff", standardise(trainer.diffD.asnumpy())
    yield "data", trainer.batch.data[0].asnumpy()


class Progress:
    """A progress bar: as a hook it counts steps, as a display it shows a record.

    Parameters
    ----------
    total : int
        Steps of the whole run.
    done : int
        Steps that an earlier part of the run has done.
    """

    def __init__(self, total, done=0):
        self._bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True)

    def __call__(self, trainer):
        """Count a step."""
        self._bar.update(trainer.global_step - self._bar.n)

    def show(self, trainer, record):
        """Show the numbers of a record."""
        shown = [f"{record['images_per_s']:.1f} images/s"]
        for word, name in (("acc", "acc"), ("G", "g_entropy"), ("D", "d_entropy")):
            if record[name] is not None:
                shown.append(f"{word} {record[name]:.2f}")
        self._bar.set_postfix_str(", ".join(shown), refresh=False)

    def close(self):
        """Leave the bar on the screen as it is."""
        self._bar.close()


class Saver:
    """Saves in the background: the training waits for a copy of the numbers, not for the disk.

    Parameters
    ----------
    run_dir, seed, keep
        As in `checkpoint.save`.

    Attributes
    ----------
    step : int or None
        Of the checkpoint that was saved last; None before the first.
    """

    def __init__(self, run_dir, seed=None, keep=0):
        self._run_dir, self._seed, self._keep = run_dir, seed, keep
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing = None
        self.step = None

    def save(self, trainer):
        """Copy the state and begin to write it; first finish the last one.

        Raises
        ------
        OSError
            If the last one could not be written.
        DivergenceError
            If a number is not finite.
        """
        self.wait()
        state = trainer.get_state()
        self._writing = self._pool.submit(checkpoint.write, self._run_dir, state, self._seed,
                                          self._keep)
        self.step = trainer.global_step

    def wait(self):
        """Return the last checkpoint's folder once it is on the disk; None before the first.

        Raises
        ------
        OSError
            If it could not be written.
        """
        return self._writing and self._writing.result()


def save_every(saver, n=None):
    """Make a hook that saves every `n` steps, or at the end of every epoch if `n` is None."""
    def hook(trainer):
        if (trainer.nbatch if n is None else trainer.global_step % n) == 0:
            saver.save(trainer)
    return hook


class StopOnSignal:
    """A hook that ends the training after the step in which SIGINT or SIGTERM arrived.

    A second signal ends the process at once.

    Attributes
    ----------
    received : int or None
        The signal's number.
    """

    def __init__(self):
        self.received = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number, frame):
        self.received = number
        for known in (signal.SIGINT, signal.SIGTERM):
            signal.signal(known, signal.SIG_DFL)

    def __call__(self, trainer):
        """Have `fit` return if a signal has arrived."""
        if self.received is not None:
            trainer.stopping = True
