"""One training of a run, from where the run is to its end."""
from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.loop import Hook, count_steps
from ..hooks import loggers
from ..hooks.checkpoints import Saver
from ..hooks.evaluation import EvaluationHook
from ..hooks.progress import Progress
from ..metrics.evaluator import Evaluator
from ..runs.checkpoint_files import read_files
from ..runs.checkpoint_folders import step_of
from ..runs.config import RunOptions, Settings, TrainConfig
from ..runs.run import Run
from ..runs.stop_reason import StopReason
from ..system.command_line import flag_name
from ..system.signals import StopOnSignal

if TYPE_CHECKING:
    from ..trainer import Trainer

EVALUATED = 2048  # images at each evaluation within a training


def restart_epoch(trainer: Trainer, folder: Path | None = None, old: TrainConfig | None = None,
                  new: TrainConfig | None = None, others: bool = False, restarted_at: Any = None) -> Any:
    """Begin the epoch anew where its order or its batches are others than a checkpoint's.

    The trainer is in the state of the checkpoint in `folder`; `old` and `new` are what the run had
    and has, `others` says whether the pictures differ, and `restarted_at` is that of config.json.
    All workers but the first have none of these. Warns where pictures may be shown again.

    Returns a step, or None: checkpoints up to it are of another order, or of other pictures. It is
    for config.json, which says so until the run has newer ones, however often it is killed before.
    """
    changed = [name for name in ("seed", "batch_size")
               if folder is not None and getattr(old, name) != getattr(new, name)]
    changed += ["data_path"] * others
    nbatch = 0 if folder is None else read_files(folder, ())[0]["nbatch"]
    anew = ("seed" in changed or others
            or (type(restarted_at) is int and trainer.global_step <= restarted_at))
    if trainer.workers.all_gather([anew]).any():
        trainer.nbatch = 0
    if changed and nbatch:
        warnings.warn(f"--override {','.join(changed)}: the epoch, of which {nbatch} batches were "
                      "done, begins anew, with pictures that it has shown", RuntimeWarning,
                      stacklevel=2)
    return trainer.global_step if anew else restarted_at


def find_limit(trainer: Trainer, options: RunOptions) -> StopReason | None:
    """Return the limit at which a restored training stands, if any; ValueError if beyond one."""
    step, epoch = trainer.global_step, trainer.epoch
    for name, limit, done, beyond in (
            ("num_epochs", options.num_epochs, epoch, trainer.nbatch > 0),
            ("max_steps", options.max_steps, step, False)):
        if limit is not None and (done > limit or (done == limit and beyond)):
            raise ValueError(f"{flag_name(name)} {limit}: the run is at step {step}, in epoch "
                             f"{epoch + 1}, already: give more, or leave it out")
        if limit == done:
            return StopReason(name, step, epoch, limit)
    return None


def run_training(trainer: Trainer, train_iter: Any, rand_iter: Any, settings: Settings,
          run: Run | None = None, seconds: float = 0.0, judge: Evaluator | None = None) -> None:
    """Train with all hooks that the settings ask for; note in the run how it ended.

    All workers but the first have no run, which gets all that is written, and no judge of what G
    makes. `seconds` are those that the run has taken before. Raises whatever a step, the data or a
    hook raises; the last step is saved then, too: see `Saver`.
    """
    config, options = settings
    total = count_steps(trainer, train_iter, options.num_epochs, options.max_steps)
    progress = Progress(total, trainer.global_step, quiet=run is None)
    displays = _make_displays(run, trainer, settings, progress) if run else []
    display = loggers.MetricLogger(options.disp_batches, *displays, seconds=seconds)
    beside: list[Hook] = []
    saver = Saver(run.path if run else None, options.checkpoint_steps, config.seed,
                  options.keep_checkpoints, step=trainer.global_step)
    if options.eval_steps is not None:
        show = loggers.LoggerGroup(*(place for place in displays
                                if isinstance(place, (loggers.JsonlLogger, loggers.TensorBoard))))
        # Of the log's lines those whose steps are on the disk: the best one is to be kept there.
        saved = {*map(step_of, run.list_checkpoints())} if run else set()
        records = [record for record in run.read_log() if record["step"] in saved] if run else []
        beside.append(EvaluationHook(options.eval_steps, saver, display, judge, EVALUATED, show,
                                    records))
    beside.append(saver)
    if run and options.keep_grids:
        beside.append(loggers.PruneGrids(run, saver, options.keep_grids, options.disp_batches))
    try:
        with StopOnSignal() as stop:
            trainer.fit(train_iter, rand_iter, options.num_epochs, max_steps=options.max_steps,
                        hooks=[progress, display, *beside, stop])
    finally:
        if run:
            _note_end(run, trainer)


def _note_end(run: Run, trainer: Trainer) -> None:
    """Write how it ended; where that fails, what ended it matters more."""
    ending, place = trainer.ending, (trainer.global_step, trainer.epoch)
    if not isinstance(ending, StopReason):
        noted = StopReason("error", *place, str(ending) or type(ending).__name__)
    elif ending.reason == "signal" and trainer.workers.count > 1:
        noted = StopReason("hook", *place)  # the launcher asks with another signal than it had
    else:
        noted = ending
    try:
        run.write_result(noted)
    except OSError as error:
        if isinstance(ending, StopReason):
            raise
        warnings.warn(f"and then: {error}", RuntimeWarning, stacklevel=3)


def _make_displays(run: Run, trainer: Trainer, settings: Settings, progress: Progress
                   ) -> list[loggers.Display]:
    options = settings.options
    displays: list[loggers.Display] = [progress.show, loggers.JsonlLogger(run), loggers.make_grids(run)]
    if options.fixed_noise:
        displays.append(loggers.make_fixed_noise(run, trainer, settings.config.seed))
    if options.tensorboard:
        board = loggers.TensorBoard(run, trainer.global_step)
        displays += [board, board.draw]
    if options.show:
        displays.append(loggers.make_windows())
    return displays
