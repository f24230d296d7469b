"""One training of a run, with its hooks, from its current state to its end."""
from __future__ import annotations

import contextlib
import warnings
from typing import Any, Sequence

from ..hooks.base import Hook, Logger
from ..hooks.checkpoints import Saver
from ..hooks.evaluation import EvaluationHook
from ..hooks.grids import FixedNoiseLogger, GridLogger, PruneGrids, WindowLogger
from ..hooks.health import TrainingHealth
from ..hooks.loggers import JsonlLogger, MetricLogger, TensorBoardLogger
from ..hooks.progress import Progress
from ..metrics.evaluator import Evaluator
from ..reports.live import LiveReport
from ..reports.report import write_report
from ..runs.checkpoint_files import step_of
from ..runs.config import PRESETS, RunOptions, Settings, TrainConfig
from ..runs.log import find_best
from ..runs.run import Run
from ..runs.stop_reason import StopReason
from ..system.errors import ArgumentError, one_line
from ..system.signals import stop_on_signal
from ..trainer import Trainer

EVALUATED = 2048  # images per evaluation during training


def find_limit(trainer: Trainer, options: RunOptions) -> StopReason | None:
    """Return the limit that a restored run has reached; ArgumentError if it is exceeded."""
    step, epoch = trainer.global_step, trainer.epoch
    for name, limit, done, beyond in (
            ("num_epochs", options.num_epochs, epoch, trainer.nbatch > 0),
            ("max_steps", options.max_steps, step, False)):
        if limit is not None and (done > limit or (done == limit and beyond)):
            raise ArgumentError(name, f"{limit} is already exceeded: the run is at step {step}, "
                                f"in epoch {epoch + 1}: give a higher limit, or omit it")
        if limit == done:
            return StopReason(name, step, epoch, limit)
    return None


def find_preset(config: TrainConfig) -> str | None:
    """Return a preset for the data set whose settings the training does not have already."""
    for name, settings in PRESETS.items():
        if settings["dataset"] == config.dataset and any(
                getattr(config, setting) != value for setting, value in settings.items()):
            return name
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
    saver = Saver(run.path if run else None, options.checkpoint_steps, config.seed,
                  options.keep_checkpoints, step=trainer.global_step)
    report = []
    if run and not options.show:  # windows and reports share matplotlib's global settings
        report.append(LiveReport(run, saver))
    metric_logger = MetricLogger(options.disp_batches, *loggers, *report, seconds=seconds,
                                 health=TrainingHealth(run.read_log(), find_preset(config))
                                 if run else None)
    # Numbers are logged before the state is saved, so that no checkpoint is ahead of the log. The
    # evaluation saves the best step, which the saver then does not save again. Grids are pruned
    # when it is known which checkpoint is the newest.
    hooks: list[Hook] = [progress, metric_logger]
    if options.eval_steps is not None:
        # Only steps whose checkpoints are on the disk: the best of them is kept there.
        saved = {*map(step_of, run.list_checkpoints())} if run else set()
        logged = [values for values in run.read_log() if values["step"] in saved] if run else []
        hooks.append(EvaluationHook(options.eval_steps, saver, metric_logger, evaluator,
                                    EVALUATED, logged))
    hooks.append(saver)
    if run and options.keep_grids:
        hooks.append(PruneGrids(run, saver, options.keep_grids, options.disp_batches))
    return [*hooks, *report]


def run_training(trainer: Trainer, train_iter: Any, rand_iter: Any, settings: Settings,
                 run: Run | None, seconds: float, evaluator: Evaluator | None,
                 more_hooks: Sequence[Hook] = ()) -> int:
    """Train with all hooks that the settings ask for; record and print how the training ended.

    Workers other than rank 0 have no run and no evaluator. `seconds` is the duration of the run so
    far. Returns the exit code. Raises what a step, the data or a hook raises; the last step is
    saved nevertheless: see `Saver`.
    """
    options = settings.options
    total = trainer.count_steps(train_iter, options.num_epochs, options.max_steps)
    hooks = [*make_hooks(trainer, total, settings, run, seconds, evaluator), *more_hooks]
    try:
        try:
            with stop_on_signal(lambda number: trainer.request_stop("signal", number)):
                trainer.fit(train_iter, rand_iter, options.num_epochs, hooks, options.max_steps)
        finally:
            if run:
                record_result(run, trainer)
    finally:
        if run:
            report_end(run)
        stop = trainer.stop_request
        if stop and stop.reason == "data":
            # The launcher ends the job as soon as the worker without data exits: wait until rank 0
            # has saved.
            trainer.workers.all_gather([0])
    return 128 + stop.signal if stop and stop.signal else 0


def record_result(run: Run, trainer: Trainer) -> None:
    """Write how the training ended; if it failed, only warn if this fails too."""
    result, place = trainer.result, (trainer.global_step, trainer.epoch)
    if not isinstance(result, StopReason):
        recorded = StopReason("error", *place, one_line(result))
    elif result.reason == "signal" and trainer.workers.count > 1:
        recorded = StopReason("hook", *place)  # the launcher may have got another signal
    else:
        recorded = result
    try:
        run.write_result(recorded)
    except OSError as error:
        if isinstance(result, StopReason):
            raise
        warnings.warn(f"another error followed: {error}", RuntimeWarning, stacklevel=3)


def report_end(run: Run) -> None:
    """Write the run's report; print how the training ended and how to resume it.

    Warns about whatever cannot be read or written: this must not replace an error of the training.
    """
    lines, best = [], None
    try:
        best = find_best(run.read_log())
        lines.append(f"see {write_report(run.path)}")
    except Exception as error:  # such as nothing to show yet, or too little memory for matplotlib
        warnings.warn(f"there is no report: {one_line(error)}", RuntimeWarning, stacklevel=2)
    if best:
        lines.append(f"best evaluated step: {best['step']}")
    try:
        result, saved = run.read_result(), run.list_checkpoints()[-1:]
        lines.append("; ".join([*([result.describe()] if result else []),
                                *(f"saved in {folder}" for folder in saved)]))
        lines.append(describe_resume(run, result))
    except (ValueError, OSError) as error:  # such as a config.json that was removed or changed
        warnings.warn(f"the command that resumes this run is unknown: {one_line(error)}",
                      RuntimeWarning, stacklevel=2)
    with contextlib.suppress(OSError):  # the reader of a pipe may have been signalled too
        print("\n".join(lines), flush=True)


def describe_resume(run: Run, result: StopReason | None) -> str:
    """Return the line that says how to resume a run."""
    longer = result is not None and result.finished
    return f"to {'train longer' if longer else 'resume'}: {run.resume_command(result)}"
