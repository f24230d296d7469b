"""Metrics of quality during the training."""
from __future__ import annotations

import time
from typing import TYPE_CHECKING, Sequence

from ..engine.module_state import get_parameters
from ..metrics.evaluator import Evaluator
from ..runs.log import METRICS, find_best
from ..sampling.generator import make_generator
from ..sampling.latent import make_latents
from ..system.memory import trim_heap
from .checkpoints import Saver
from .loggers import Display, MetricLogger, Record

if TYPE_CHECKING:
    from ..trainer import Trainer


class EvaluationHook:
    """A hook that evaluates G's images of the same latent vectors, every `n` steps.

    The best step so far is saved, and its checkpoint kept. No number of the training changes.

    Parameters
    ----------
    n, saver, clock
        Steps between evaluations, and the hooks that save and that time the run.
    judge, images
        What evaluates G, on this many images; None on all workers but the first.
    display, records
        What shows the evaluations, and the run's log of steps whose checkpoints are on the disk.
    """

    def __init__(self, n: int, saver: Saver, clock: MetricLogger, judge: Evaluator | None,
                 images: int, display: Display, records: Sequence[Record] = ()) -> None:
        self._n, self._saver, self._clock = n, saver, clock
        self._judge, self._images = judge, images
        self._display, self._records = display, [*records]
        best = find_best(self._records)
        saver.best_step = best["step"] if best else None

    def __call__(self, trainer: Trainer) -> None:
        """Evaluate if it is time to."""
        if trainer.global_step % self._n:
            return
        trainer.check_finite()
        start = time.perf_counter()
        best = self._judge is not None and self._evaluate(trainer, self._judge)
        if trainer.workers.all_gather([best]).any():
            self._saver.save(trainer, best=True)
        if self._judge is not None:
            trim_heap()  # the heap would stay as large as an evaluation needs it
        self._clock.exclude_time(time.perf_counter() - start)

    def _evaluate(self, trainer: Trainer, judge: Evaluator) -> bool:
        """Display the metrics; return whether they are the best."""
        generator = make_generator(trainer.modG.symbol, get_parameters(trainer.modG),
                                   trainer.average.get(), trainer.contexts[0])
        figures = judge.evaluate(generator.generate(make_latents(self._images, generator.nz)))
        record = {"epoch": trainer.epoch, "step": trainer.global_step,
                  "seconds": time.perf_counter() - self._clock.start,
                  **{name: figures[name] for name in METRICS if name in figures}}
        self._records.append(record)
        self._display(trainer, record)
        return find_best(self._records) is record
