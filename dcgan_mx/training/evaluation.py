"""Metrics of quality during the training."""
from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable

from ..images.evaluation import Judge
from ..images.latent import make_latents
from ..images.sample import make_generator
from ..machine.memory import give_back
from ..runs.log import FIGURES, find_best
from .hooks import Display
from .module_state import get_parameters
from .saver import Saver

if TYPE_CHECKING:
    from ..trainer import Trainer


class EvaluateEvery:
    """A hook that evaluates G's images of the same latent vectors, every `n` steps.

    The best step so far is saved, and its checkpoint is kept. No number of the training changes.

    Parameters
    ----------
    n : at least 1
    saver
    judge
        None on all workers but the first.
    images
        Number of images that G makes.
    display
        Called with the trainer and the record of an evaluation.
    records
        The run's log so far, of steps whose checkpoints are on the disk.
    seconds
        That the run has taken before.
    leave_out
        Called with the seconds that an evaluation took.

    Raises
    ------
    DivergenceError
        When called, if a number is not finite.
    """

    def __init__(self, n: int, saver: Saver, judge: Judge | None = None, images: int = 0,
                 display: Display = lambda trainer, record: None,
                 records: list[dict[str, Any]] | None = None, seconds: float = 0.0,
                 leave_out: Callable[[float], None] = lambda seconds: None) -> None:
        self._n, self._saver, self._judge, self._images = n, saver, judge, images
        self._display, self._records = display, list(records or [])
        self._start, self._leave_out = time.perf_counter() - seconds, leave_out
        best = find_best(self._records)
        saver.spare = best["step"] if best else None

    def __call__(self, trainer: Trainer) -> None:
        """Evaluate if it is time to."""
        if trainer.global_step % self._n:
            return
        trainer.check_finite()
        start = time.perf_counter()
        best = self._judge is not None and self._evaluate(trainer, self._judge)
        if trainer.workers.gather([best]).any():
            self._saver.save(trainer, best=True)
        if self._judge is not None:
            give_back()  # the heap would stay as large as an evaluation needs it
        self._leave_out(time.perf_counter() - start)

    def _evaluate(self, trainer: Trainer, judge: Judge) -> bool:
        """Show the metrics; return whether they are the best."""
        generator = make_generator(trainer.modG.symbol, get_parameters(trainer.modG),
                                   trainer.average.get(), trainer.contexts[0])
        figures = judge.judge(generator.generate(make_latents(self._images, generator.nz)))
        record = {"epoch": trainer.epoch, "step": trainer.global_step,
                  "seconds": time.perf_counter() - self._start,
                  **{name: figures[name] for name in FIGURES if name in figures}}
        self._records.append(record)
        self._display(trainer, record)
        return find_best(self._records) is record
