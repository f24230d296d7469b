"""What happens beside the training: `f(trainer)`, called after every step."""
import json
import time
from pathlib import Path

from tqdm import tqdm

from . import checkpoint
from .visual import make_grid, save_png, standardise, visual


def display_every(n, *displays):
    """Make a hook that measures, and hands the numbers to each display, every `n` steps.

    Parameters
    ----------
    n : int, at least 1
        Steps between displays.
    *displays : callable
        Called with the trainer and a dict: `epoch` (epochs done), `step`, `acc` in [0, 1],
        `g_entropy` and `d_entropy` in nats, averaged since the last display, `images_per_s`
        since then, and `seconds` since the first step.
    """
    start = last = time.perf_counter()

    def hook(trainer):
        nonlocal last
        if trainer.global_step % n:
            return
        averages = trainer.metrics.get()  # waits for the steps to be computed
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
    """

    def __init__(self, total):
        self._bar = tqdm(total=total, unit="step", dynamic_ncols=True)

    def __call__(self, trainer):
        """Count a step."""
        self._bar.update(trainer.global_step - self._bar.n)

    def show(self, trainer, record):
        """Show the numbers of a record."""
        self._bar.set_postfix_str(
            f"{record['images_per_s']:.1f} images/s, acc {record['acc']:.2f}, "
            f"G {record['g_entropy']:.2f}, D {record['d_entropy']:.2f}", refresh=False)

    def close(self):
        """Leave the bar on the screen as it is."""
        self._bar.close()


def save_every_epoch(run_dir):
    """Make a hook that saves both networks at the end of every epoch."""
    def hook(trainer):
        if trainer.nbatch == 0:
            checkpoint.save(run_dir, trainer)
    return hook
