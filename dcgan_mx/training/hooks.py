"""What happens beside the training: `f(trainer)`, called after every step."""
import contextlib
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from ..runs import checkpoint
from ..machine.files import append_line
from ..images.latent import make_latents
from .module_state import get_parameters
from ..images.sample import Generator
from ..trainer import DivergenceError
from ..visual import make_grid, save_png, standardise, visual


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

    Returns
    -------
    callable
        Raises `trainer.DivergenceError`, before anything is displayed, if an average, a parameter
        or a moving statistic is not finite.
    """
    last = time.perf_counter()
    start = last - seconds
    last_step = None

    def hook(trainer):
        nonlocal last, last_step
        if last_step is None:
            last_step = trainer.global_step - 1
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
                  "images_per_s": (trainer.global_step - last_step) * trainer.batch_size
                                  * trainer.workers.count / (now - last), "seconds": now - start}
        last, last_step = now, trainer.global_step
        trainer.metrics.reset()
        for display in displays:
            display(trainer, record)
    return hook


def make_log(path):
    """Make a display that appends each record to a file, one JSON object a line.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    callable
        Raises OSError if the line cannot be written.
    """
    def display(trainer, record):
        append_line(path, json.dumps(record))  # synced: no checkpoint is ahead of the log
    return display


def make_grids(folder):
    """Make a display that writes gout-, diff- and data-<step>.png into a folder.

    Parameters
    ----------
    folder : str or os.PathLike
        Made if it is not there.

    Returns
    -------
    callable
        Raises OSError if a picture cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(exist_ok=True)

    def display(trainer, record):
        for name, images in _images(trainer):
            save_png(folder / f"{name}-{trainer.global_step:08d}.png", make_grid(images))
    return display


def make_fixed_noise(folder, trainer, seed=0):
    """Make a display that writes fixed-<step>.png: the same latent vectors each time.

    Parameters
    ----------
    folder : str or os.PathLike
        Made if it is not there.
    trainer : Trainer
    seed : int, at least 0
        Of the 64 vectors. BatchNorm takes its numbers from these 64, as during the training.

    Returns
    -------
    callable
        Raises OSError if a picture cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    generator = Generator(trainer.modG.symbol, get_parameters(trainer.modG),
                          trainer.contexts[0], bn="batch")
    z = make_latents(64, generator.nz, seed)

    def display(trainer, record):
        generator.set_params(get_parameters(trainer.modG))
        save_png(folder / f"fixed-{trainer.global_step:08d}.png", make_grid(generator.generate(z)))
    return display


def make_tensorboard(folder):
    """Make a display that writes scalars and the three grids for TensorBoard.

    Parameters
    ----------
    folder : str or os.PathLike
        Gets event files, also where it has some of an earlier part of the run.

    Returns
    -------
    callable

    Raises
    ------
    ImportError
        If the package tensorboardX is not installed.
    """
    from tensorboardX import SummaryWriter
    writer = None

    def display(trainer, record):
        nonlocal writer
        if writer is None:  # what an earlier part wrote from here on is replaced
            writer = SummaryWriter(str(folder), purge_step=record["step"])
        for name in ("acc", "g_entropy", "d_entropy", "images_per_s"):
            if record[name] is not None:
                writer.add_scalar(name, record[name], record["step"])
        for name, images in _images(trainer):
            writer.add_image(name, make_grid(images), record["step"], dataformats="HWC")
        writer.flush()
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
    quiet : bool
        Show nothing.
    """

    def __init__(self, total, done=0, quiet=False):
        self._bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True, disable=quiet)

    def __call__(self, trainer):
        """Count a step."""
        with contextlib.suppress(OSError):  # nobody reads it any more: no reason to stop
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
        with contextlib.suppress(OSError):
            self._bar.close()


class Saver:
    """Saves in the background: the training waits for a copy of the numbers, not for the disk.

    Of several workers all have to save, and the first one writes.

    Parameters
    ----------
    run_dir, seed, keep
        As in `checkpoint.save`.

    Attributes
    ----------
    step : int or None
        Of the checkpoint that was last begun; None before the first.
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
        if trainer.workers.rank == 0:
            self._writing = self._pool.submit(checkpoint.write, self._run_dir, state, self._seed,
                                              self._keep)
        self.step = trainer.global_step

    def wait(self):
        """Return the last checkpoint's folder once it is on the disk; None if none was written.

        Raises
        ------
        OSError
            If it could not be written.
        """
        return self._writing and self._writing.result()

    def close(self):
        """Return when nothing is being written any more, whatever became of it."""
        self._pool.shutdown()


def save_every(saver, n=None):
    """Make a hook that saves every `n` steps.

    Parameters
    ----------
    saver : Saver
    n : int, at least 1, optional
        If left out, it saves at the end of every epoch.

    Returns
    -------
    callable
    """
    def hook(trainer):
        if (trainer.nbatch if n is None else trainer.global_step % n) == 0:
            saver.save(trainer)
    return hook
