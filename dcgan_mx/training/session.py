"""One training of a run, from where the run is to its end."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..machine.signals import StopOnSignal
from ..runs.ending import Ending
from ..runs.run import Run
from ..runs.settings import Conduct, Settings, spell
from . import hooks
from .progress import Progress
from .saver import Saver

if TYPE_CHECKING:
    from ..trainer import Trainer


def find_limit(trainer: Trainer, conduct: Conduct) -> Ending | None:
    """Return the limit at which a restored training stands already; None if there is more to do.

    Raises
    ------
    ValueError
        If it stands beyond one.
    """
    step, epoch = trainer.global_step, trainer.epoch
    for name, limit, done, beyond in (
            ("num_epochs", conduct.num_epochs, epoch, trainer.nbatch > 0),
            ("max_steps", conduct.max_steps, step, False)):
        if limit is not None and (done > limit or (done == limit and beyond)):
            raise ValueError(f"{spell(name)} {limit}: the run is at step {step}, in epoch "
                             f"{epoch + 1}, already: give more, or leave it out")
        if limit == done:
            return Ending(name, step, epoch, limit)
    return None


def train(trainer: Trainer, train_iter: Any, rand_iter: Any, settings: Settings,
          run: Run | None = None, seconds: float = 0.0) -> None:
    """Train with all hooks that the settings ask for; note in the run how it ended.

    Parameters
    ----------
    trainer, train_iter, rand_iter
    settings
    run
        Gets all that is written; left out on all workers but the first.
    seconds
        That the run has taken before.

    Raises
    ------
    Exception
        Whatever a step, the data or a hook raises. The last step is saved then, too: see `Saver`.
    """
    recipe, conduct = settings
    progress = Progress(_count_steps(trainer, train_iter, settings), trainer.global_step,
                        quiet=run is None)
    displays = [] if run is None else _make_displays(run, trainer, settings, progress)
    saver = Saver(None if run is None else run.path, conduct.checkpoint_steps, recipe.seed,
                  conduct.keep, step=trainer.global_step)
    try:
        with StopOnSignal() as stop:
            trainer.fit(train_iter, rand_iter, conduct.num_epochs, max_steps=conduct.max_steps,
                        hooks=[progress, hooks.DisplayEvery(conduct.disp_batches, *displays,
                                                            seconds=seconds), saver, stop])
    finally:
        if run is not None:
            run.end(_describe(trainer))


def _describe(trainer: Trainer) -> Ending:
    ending, place = trainer.ending, (trainer.global_step, trainer.epoch)
    if not isinstance(ending, Ending):
        return Ending("error", *place, str(ending) or type(ending).__name__)
    if ending.reason == "signal" and trainer.workers.count > 1:
        return Ending("hook", *place)  # the launcher asks with another signal than it had
    return ending


def _count_steps(trainer: Trainer, train_iter: Any, settings: Settings) -> int | None:
    """Return how many steps the run will have at its end."""
    conduct = settings.conduct
    if conduct.num_epochs is None:
        return conduct.max_steps
    to_do = (conduct.num_epochs - trainer.epoch) * int(train_iter.num_batches) - trainer.nbatch
    total = trainer.global_step + to_do
    return total if conduct.max_steps is None else min(total, conduct.max_steps)


def _make_displays(run: Run, trainer: Trainer, settings: Settings, progress: Progress
                   ) -> list[hooks.Display]:
    conduct = settings.conduct
    displays: list[hooks.Display] = [progress.show, hooks.Log(run), hooks.make_grids(run)]
    if conduct.fixed_noise:
        displays.append(hooks.make_fixed_noise(run, trainer, settings.recipe.seed))
    if conduct.tensorboard:
        displays.append(hooks.TensorBoard(run))
    if conduct.show:
        displays.append(hooks.make_windows())
    return displays
