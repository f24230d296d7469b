"""One training of a run, with its hooks, from its current state to its end."""
from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Sequence

from ..hooks.base import Hook, Logger
from ..hooks.checkpoints import Saver
from ..hooks.evaluation import EvaluationHook
from ..hooks.grids import FixedNoiseLogger, GridLogger, PruneGrids, WindowLogger
from ..hooks.loggers import JsonlLogger, MetricLogger, TensorBoardLogger
from ..hooks.progress import Progress
from ..metrics.evaluator import Evaluator
from ..runs.checkpoint_files import read_files, step_of
from ..runs.config import RunOptions, Settings
from ..runs.run import Run
from ..runs.stop_reason import StopReason
from ..system.errors import ArgumentError
from ..system.signals import StopOnSignal
from ..trainer import Trainer

EVALUATED = 2048  # images per evaluation during a training

# The order of the hooks at a step. Numbers are logged before the state is saved, so that no
# checkpoint is ahead of the log; the evaluation saves the best step, which Saver then does not
# save again; grids are pruned when it is known which checkpoint is the newest.
ORDER = (Progress, MetricLogger, EvaluationHook, Saver, PruneGrids)


def restart_epoch(trainer: Trainer, folder: Path | None = None, changed: Sequence[str] = (),
                  restarted_at: Any = None) -> Any:
    """Restart the epoch if its batches or their order differ from those of the checkpoint.

    The trainer is in the state of the checkpoint in `folder`; `changed` names the overridden
    settings on which the batches depend; `restarted_at` is from config.json. Workers other than
    rank 0 pass the trainer only. Warns if images may be shown again.

    Returns a step, or None: checkpoints up to it have another order, or other images. Written to
    config.json, it survives a kill before the next checkpoint.
    """
    nbatch = 0 if folder is None else read_files(folder, ())[0]["nbatch"]
    restart = (bool({"seed", "data_path"} & {*changed})
               or (type(restarted_at) is int and trainer.global_step <= restarted_at))
    if trainer.workers.all_gather([restart]).any():
        trainer.nbatch = 0
    if changed and nbatch:
        warnings.warn(f"--override {','.join(changed)}: the epoch restarts, after {nbatch} of its "
                      "batches; some images are shown twice", RuntimeWarning, stacklevel=2)
    return trainer.global_step if restart else restarted_at


def find_limit(trainer: Trainer, options: RunOptions) -> StopReason | None:
    """Return the limit at which a restored training stands, if any; ValueError if beyond one."""
    step, epoch = trainer.global_step, trainer.epoch
    for name, limit, done, beyond in (
            ("num_epochs", options.num_epochs, epoch, trainer.nbatch > 0),
            ("max_steps", options.max_steps, step, False)):
        if limit is not None and (done > limit or (done == limit and beyond)):
            raise ArgumentError(name, f"{limit} is already exceeded: the run is at step {step}, "
                                f"in epoch {epoch + 1}: give more, or omit it")
        if limit == done:
            return StopReason(name, step, epoch, limit)
    return None


def make_hooks(trainer: Trainer, total: int | None, settings: Settings, run: Run | None,
               seconds: float, evaluator: Evaluator | None) -> list[Hook]:
    """Make all hooks that the settings ask for, in their order."""
    config, options = settings
    progress = Progress(total, trainer.global_step, quiet=run is None)
    loggers: list[Logger] = []
    if run:
        loggers += [progress, JsonlLogger(run), GridLogger(run)]
    if run and options.fixed_noise:
        loggers.append(FixedNoiseLogger(run, trainer, config.seed))
    if run and options.tensorboard:
        loggers.append(TensorBoardLogger(run, trainer.global_step))
    if run and options.show:
        loggers.append(WindowLogger())
    metric_logger = MetricLogger(options.disp_batches, *loggers, seconds=seconds)
    saver = Saver(run.path if run else None, options.checkpoint_steps, config.seed,
                  options.keep_checkpoints, step=trainer.global_step)
    hooks: list[Hook] = [progress, metric_logger, saver]
    if options.eval_steps is not None:
        # Only steps whose checkpoints are on the disk: the best of them is kept there.
        saved = {*map(step_of, run.list_checkpoints())} if run else set()
        logged = [values for values in run.read_log() if values["step"] in saved] if run else []
        hooks.append(EvaluationHook(options.eval_steps, saver, metric_logger, evaluator,
                                    EVALUATED, logged))
    if run and options.keep_grids:
        hooks.append(PruneGrids(run, saver, options.keep_grids, options.disp_batches))
    return sorted(hooks, key=lambda hook: ORDER.index(type(hook)))


def run_training(trainer: Trainer, train_iter: Any, rand_iter: Any, settings: Settings,
                 run: Run | None = None, seconds: float = 0.0, evaluator: Evaluator | None = None
                 ) -> None:
    """Train with all hooks that the settings ask for; record in the run how it ended.

    Workers other than rank 0 have no run and no evaluator. `seconds` is the duration of the run so
    far. Raises what a step, the data or a hook raises; the last step is saved nevertheless: see
    `Saver`.
    """
    options = settings.options
    total = trainer.count_steps(train_iter, options.num_epochs, options.max_steps)
    hooks = make_hooks(trainer, total, settings, run, seconds, evaluator)
    try:
        with StopOnSignal(lambda number: trainer.request_stop("signal", number)):
            trainer.fit(train_iter, rand_iter, options.num_epochs, hooks, options.max_steps)
    finally:
        if run:
            _record_result(run, trainer)


def _record_result(run: Run, trainer: Trainer) -> None:
    """Write how the training ended; if it failed, only warn if this fails too."""
    result, place = trainer.result, (trainer.global_step, trainer.epoch)
    if not isinstance(result, StopReason):
        recorded = StopReason("error", *place, str(result) or type(result).__name__)
    elif result.reason == "signal" and trainer.workers.count > 1:
        recorded = StopReason("hook", *place)  # the launcher's signal is not the one that it got
    else:
        recorded = result
    try:
        run.write_result(recorded)
    except OSError as error:
        if isinstance(result, StopReason):
            raise
        warnings.warn(f"another error followed: {error}", RuntimeWarning, stacklevel=3)
