"""Quality metrics during the training."""
from __future__ import annotations

import time
import warnings
from typing import Any, Sequence

from ..engine.module_state import get_parameters
from ..metrics.evaluator import Evaluator
from ..runs.log import METRICS, find_best
from ..sampling.generator import make_generator
from ..sampling.latent import make_latents
from ..system.errors import one_line
from ..system.memory import trim_heap
from ..trainer import Trainer
from .base import Hook, Record
from .checkpoints import Saver
from .loggers import MetricLogger


class EvaluationHook(Hook):
    """A hook that evaluates G's images of the same latent vectors, and saves the best step so far.

    It warns if an evaluation fails, and the training continues.

    Parameters
    ----------
    every, num_images
        Steps between evaluations, which do not affect the training, and images per evaluation.
    saver, metric_logger
        The hooks that save the best step, and that time the run and log the evaluations.
    evaluator
        None on workers other than rank 0.
    logged
        Records of the run's log whose checkpoints are on the disk.
    """

    def __init__(self, every: int, saver: Saver, metric_logger: MetricLogger,
                 evaluator: Evaluator | None, num_images: int,
                 logged: Sequence[dict[str, Any]] = ()) -> None:
        self._every, self._saver, self._metric_logger = every, saver, metric_logger
        self._evaluator, self._num_images, self._logged = evaluator, num_images, [*logged]
        best = find_best(self._logged)
        saver.best_step = best["step"] if best else None

    def on_step(self, trainer: Trainer) -> None:
        """Evaluate if it is due."""
        if trainer.global_step % self._every:
            return
        trainer.check_finite()
        start = time.perf_counter()
        best = False
        if self._evaluator is not None:
            try:
                best = self._evaluate(trainer, self._evaluator)
            except Exception as error:
                warnings.warn(f"step {trainer.global_step} is not evaluated: {one_line(error)}; "
                              "the training continues", RuntimeWarning, stacklevel=2)
        if trainer.workers.all_gather([best]).any():
            self._saver.save(trainer, best=True)
        if self._evaluator is not None:
            trim_heap()  # else the process keeps the memory that an evaluation needs
        self._metric_logger.exclude_time(time.perf_counter() - start)

    def _evaluate(self, trainer: Trainer, evaluator: Evaluator) -> bool:
        """Log the metrics; return whether they are the best so far."""
        generator = make_generator(trainer.modG.symbol, get_parameters(trainer.modG),
                                   trainer.average.get(), trainer.contexts[0])
        z = make_latents(self._num_images, generator.nz)
        metrics = evaluator.evaluate(generator.generate(z))
        values = {"epoch": trainer.epoch, "step": trainer.global_step,
                  "seconds": self._metric_logger.seconds,
                  **{name: metrics[name] for name in (*METRICS, "classifier") if name in metrics}}
        self._logged.append(values)
        self._metric_logger.log(Record("evaluation", trainer.global_step, values, {}))
        return find_best(self._logged) is values
