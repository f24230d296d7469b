"""`dcgan-mx train`: from flags to objects, and one training of a run."""
from __future__ import annotations

import contextlib
import json
import os
import platform
import warnings
from typing import Any, Sequence

import cv2
import numpy as np

from .. import __version__
from ..engine.collectives import Workers
from ..iterators import RandIter
from ..reports.report import write_report
from ..runs import checkpoint
from ..runs.config import SYNCED_FLAGS, Settings, TrainConfig, list_train_config
from ..runs.log import find_best
from ..runs.run import Run
from ..runs.stop_reason import StopReason
from ..symbols import make_dcgan_sym
from ..system.amx import prepare_bfloat16
from ..system.command_line import LAUNCHED_BY
from ..system.devices import make_contexts, make_kvstore
from ..system.runtime import mx
from ..trainer import Trainer
from . import run_training
from .resolve import load_init_weights, make_evaluator, make_train_iter
from .train_args import TrainArgs, check_displays, make_parser, parse

__all__ = ["main", "make_parser"]


def make_trainer(config: TrainConfig, symG: Any, symD: Any, contexts: list[Any] | None = None,
                 kvstore: Any = None, initializer: Any = None) -> Trainer:
    """Make the trainer of a recipe."""
    return Trainer(symG, symD, config.batch_size, (config.nc, config.size, config.size),
                   nz=config.nz, ctx=contexts, lr=config.lr, beta1=config.beta1, wd=config.wd,
                   d_steps=config.d_steps, g_loss=config.g_loss, kvstore=kvstore, ema_decay=config.ema_decay,
                   lr_g=config.lr_g, lr_d=config.lr_d, real_label=config.real_label,
                   lr_decay_start=config.lr_decay_start, ema_rel_std=config.ema_rel_std,
                   precision=config.precision, initializer=initializer)


def make_config(settings: Settings, contexts: list[Any], workers: Workers) -> dict[str, Any]:
    """Return every resolved flag, and what else decides or explains a run's numbers."""
    run_info = {"flags": settings.to_flags(), "device": ", ".join(map(str, contexts)),
              "workers": workers.count,
              "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
              "versions": {"dcgan_mx": __version__, "mxnet": mx.__version__,
                           "numpy": np.__version__, "opencv": cv2.__version__,
                           "python": platform.python_version()}}
    if LAUNCHED_BY in os.environ:
        run_info["launched_by"] = os.environ[LAUNCHED_BY]
    return run_info


def check_same_flags(request: TrainArgs, contexts: list[Any], workers: Workers) -> None:
    """Raise ValueError if workers differ in what decides a run's numbers, or when they meet."""
    resumes = workers.all_gather([request.resume])[:, 0]
    flags = request.settings.to_flags()
    if resumes.any() and not resumes[0]:
        raise ValueError(f"--run-dir {flags['run_dir']}: is not on the first worker's disk, but on "
                         "another's: bring it there, or give a new one")
    compared = {name: flags[name] for name in (*list_train_config(), *SYNCED_FLAGS)}
    workers.check_same(json.dumps({**compared, "devices": len(contexts)}), "flags")


def check_resume_config(old: dict[str, Any], new: dict[str, Any], override: Sequence[str] = ()) -> bool:
    """Compare the config that a run has with the one that it goes on with; do the data differ.

    Raises ValueError if they do without an override, or if the weights to begin with differ, where
    these are needed; warns of what else may change the numbers.
    """
    others: bool = old.get("data") != new["data"]
    if others and "data_path" not in override:
        now, before = (data["records"] if isinstance(data, dict) and "records" in data else None
                       for data in (new["data"], old.get("data")))
        raise ValueError(f"--data-path {new['flags']['data_path']}: these are not the pictures "
                         f"that the run began with (now {now}, at the start {before}): bring those "
                         "back, start a new run, or give --data-path and --override data-path to "
                         "go on with these")
    if new["init"] and old.get("init") != new["init"]:
        raise ValueError(f"--init-from {new['flags']['init_from']}: these are not the weights that the run "
                         "began with: bring those back, or start a new run")
    was, now = ((run_info.get("workers", 1), str(run_info.get("device")).count(",") + 1)
                for run_info in (old, new))
    if was != now:
        warnings.warn(f"--resume: workers x devices is {now[0]} x {now[1]}, and was {was[0]} x "
                      f"{was[1]}: BatchNorm sees other parts of the batches, and all go on with "
                      "the average of the moving statistics"
                      + "; the epoch begins anew" * (was[0] != now[0]),
                      RuntimeWarning, stacklevel=2)
    for name in ("device", "omp_num_threads", "versions"):
        if old.get(name) != new[name]:
            warnings.warn(f"--resume: {name} is {new[name]}, and was {old.get(name)}: the numbers "
                          "may differ in their last bits", RuntimeWarning, stacklevel=2)
    return others


def find_initializer(request: TrainArgs, contexts: list[Any], workers: Workers
                     ) -> tuple[Any, dict[str, Any] | None]:
    """Return what `find_beginning` does; nothing without --init-from, or if there is a checkpoint."""
    config, options = request.settings
    there = request.resume and bool(checkpoint.list_checkpoints(str(options.run_dir)))
    if config.init_from is None or workers.all_gather([there])[0, 0]:
        return None, None
    initializer, fingerprint = load_init_weights(config, contexts[0])
    workers.check_same(json.dumps(fingerprint), "weights to begin with")
    return initializer, fingerprint


def main(argv: Sequence[str]) -> int:
    """Train; return the exit status."""
    request = parse(argv)
    config, options = settings = request.settings
    contexts = make_contexts(options.gpu, options.cpu_devices, options.require_gpu)
    if config.precision == "bfloat16":  # before anything is fetched, or computed for --init-from
        prepare_bfloat16(gpu=any(context.device_type == "gpu" for context in contexts))
    kvstore = make_kvstore(options.kv_store)
    workers = Workers(kvstore)
    if workers.rank == 0:  # no other one shows anything
        config, options = settings = check_displays(request)
    run_info = make_config(settings, contexts, workers)
    if request.dry_run:
        if workers.rank == 0:
            print(json.dumps(run_info, indent=2))
        return 0

    check_same_flags(request, contexts, workers)
    train_iter = make_train_iter(settings, workers)
    run_info["data"] = getattr(train_iter, "fingerprint", None)
    workers.check_same(f"{train_iter.num_batches} batches of {run_info['data']}", "data")
    rand_iter = RandIter(config.batch_size, config.nz, config.seed, workers.count, workers.rank)
    mx.random.seed(config.seed + workers.rank)
    symG, symD = make_dcgan_sym(config.ngf, config.ndf, config.nc, size=config.size)
    initializer, run_info["init"] = find_initializer(request, contexts, workers)
    trainer = make_trainer(config, symG, symD, contexts, kvstore, initializer)
    judge = (make_evaluator(settings, run_training.EVALUATED, quick=True)
             if options.eval_steps and workers.rank == 0 else None)
    # The run directory may be on the first worker's disk only; it alone reads and writes there.
    resume = bool(workers.all_gather([request.resume])[0, 0])
    run = None
    if workers.rank == 0:
        run = Run(str(options.run_dir)) if resume else Run.create(options.run_dir, run_info)
    with run.lock() if run else contextlib.nullcontext():
        seconds = restore(run, trainer, request, run_info) if resume else 0.0
        if seconds is None:
            return 0
        if run:
            print(f"writing to {run.path}", flush=True)
        try:
            run_training.run_training(trainer, train_iter, rand_iter, settings, run, seconds, judge)
        finally:
            if run:
                tell_end(run)
            if trainer.stopping and not trainer.stop_signal:
                # A worker cannot continue: the others wait here until the launcher ends the job.
                trainer.workers.all_gather([0])
    return 128 + trainer.stop_signal if trainer.stop_signal else 0


def restore(run: Run | None, trainer: Trainer, request: TrainArgs, run_info: dict[str, Any]
            ) -> float | None:
    """Bring a trainer, the config and the run to the newest checkpoint.

    All workers but the first have no run, and are told by it. Returns the seconds that the run has
    taken so far; None if it stands at its limit already.
    """
    if run is None:
        checkpoint.load_latest(None, trainer)
        run_training.restart_epoch(trainer)
        return None if run_training.find_limit(trainer, request.settings.options) else 0.0
    old = run.read_config()
    others = check_resume_config(old, run_info, request.override)
    run_info["init"] = run_info["init"] or old.get("init")
    folder = checkpoint.load_latest(run.path, trainer)
    run_info["restarted_at"] = run_training.restart_epoch(
        trainer, folder, run.read_settings().config, request.settings.config, others,
        old.get("restarted_at"))
    ending = run_training.find_limit(trainer, request.settings.options)
    if ending:
        print(f"{ending.describe()}\n{describe_further(run, ending)}")
        return None
    print(f"going on from {folder or 'the start: there is no checkpoint yet'}")
    seconds = run.rewind(trainer.global_step)
    run.write_config(run_info)
    return seconds


def tell_end(run: Run) -> None:
    """Write the run's report, and say how the training ended and how to go on."""
    lines, best = [], None
    try:
        best = find_best(run.read_log())
        lines.append(f"see {write_report(run.path)}")
    except (ValueError, OSError) as error:  # nothing to show yet, or not to be read
        warnings.warn(f"there is no report: {error}", RuntimeWarning, stacklevel=2)
    if best:
        lines.append(f"the best step of those evaluated: {best['step']}")
    ending, saved = run.read_result(), run.list_checkpoints()[-1:]
    lines.append("; ".join([*([ending.describe()] if ending else []),
                            *(f"saved in {folder}" for folder in saved)]))
    with contextlib.suppress(OSError):  # a pipe's other end may have had the signal, too
        print("\n".join([*lines, describe_further(run, ending)]), flush=True)


def describe_further(run: Run, ending: StopReason | None) -> str:
    """Return the line that says how to go on with a run."""
    longer = ending is not None and ending.finished
    return f"to {'train longer' if longer else 'go on'}: {run.resume_command(ending)}"
