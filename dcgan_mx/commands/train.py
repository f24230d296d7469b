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
from ..iterators import RandIter
from ..machine.amx import prepare_bfloat16
from ..machine.device import make_contexts, make_kvstore
from ..machine.runtime import mx
from ..machine.typed import LAUNCHED_BY
from ..pages.report import write_report
from ..runs import checkpoint
from ..runs.ending import Ending
from ..runs.log import find_best
from ..runs.run import Run
from ..runs.settings import MEETING, Recipe, Settings, list_recipe
from ..symbols import make_dcgan_sym
from ..trainer import Trainer
from ..training import session
from ..training.workers import Workers
from .request import Request, make_parser, parse, require_displays
from .source import find_beginning, make_judge, make_train_iter

__all__ = ["main", "make_parser"]


def make_trainer(recipe: Recipe, symG: Any, symD: Any, contexts: list[Any] | None = None,
                 kvstore: Any = None, initializer: Any = None) -> Trainer:
    """Make the trainer of a recipe."""
    return Trainer(symG, symD, recipe.batch_size, (recipe.nc, recipe.size, recipe.size),
                   nz=recipe.nz, ctx=contexts, lr=recipe.lr, beta1=recipe.beta1, wd=recipe.wd,
                   d_steps=recipe.d_steps, g_loss=recipe.g_loss, kvstore=kvstore, ema=recipe.ema,
                   lr_g=recipe.lr_g, lr_d=recipe.lr_d, real_label=recipe.real_label,
                   lr_decay=recipe.lr_decay, ema_width=recipe.ema_width,
                   precision=recipe.precision, initializer=initializer)


def make_config(settings: Settings, contexts: list[Any], workers: Workers) -> dict[str, Any]:
    """Return every resolved flag, and what else decides or explains a run's numbers."""
    config = {"flags": settings.to_flags(), "device": ", ".join(map(str, contexts)),
              "workers": workers.count,
              "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
              "versions": {"dcgan_mx": __version__, "mxnet": mx.__version__,
                           "numpy": np.__version__, "opencv": cv2.__version__,
                           "python": platform.python_version()}}
    if LAUNCHED_BY in os.environ:
        config["launched_by"] = os.environ[LAUNCHED_BY]
    return config


def require_same_flags(request: Request, contexts: list[Any], workers: Workers) -> None:
    """Raise ValueError if workers differ in what decides a run's numbers, or when they meet."""
    resumes = workers.gather([request.resume])[:, 0]
    flags = request.settings.to_flags()
    if resumes.any() and not resumes[0]:
        raise ValueError(f"--run-dir {flags['run_dir']}: is not on the first worker's disk, but on "
                         "another's: bring it there, or give a new one")
    compared = {name: flags[name] for name in (*list_recipe(), *MEETING)}
    workers.require_same(json.dumps({**compared, "devices": len(contexts)}), "flags")


def check_same(old: dict[str, Any], new: dict[str, Any], override: Sequence[str] = ()) -> bool:
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
        raise ValueError(f"--init {new['flags']['init']}: these are not the weights that the run "
                         "began with: bring those back, or start a new run")
    was, now = ((config.get("workers", 1), str(config.get("device")).count(",") + 1)
                for config in (old, new))
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


def find_initializer(request: Request, contexts: list[Any], workers: Workers
                     ) -> tuple[Any, dict[str, Any] | None]:
    """Return what `find_beginning` does; nothing without --init, or if there is a checkpoint."""
    recipe, conduct = request.settings
    there = request.resume and bool(checkpoint.list(str(conduct.run_dir)))
    if recipe.init is None or workers.gather([there])[0, 0]:
        return None, None
    initializer, fingerprint = find_beginning(recipe, contexts[0])
    workers.require_same(json.dumps(fingerprint), "weights to begin with")
    return initializer, fingerprint


def main(argv: Sequence[str]) -> int:
    """Train; return the exit status."""
    request = parse(argv)
    recipe, conduct = settings = request.settings
    contexts = make_contexts(conduct.gpu, conduct.cpu_devices, conduct.require_gpu)
    if recipe.precision == "bfloat16":  # before anything is fetched, or computed for --init
        prepare_bfloat16(gpu=any(context.device_type == "gpu" for context in contexts))
    kvstore = make_kvstore(conduct.kv_store)
    workers = Workers(kvstore)
    if workers.rank == 0:  # no other one shows anything
        recipe, conduct = settings = require_displays(request)
    config = make_config(settings, contexts, workers)
    if request.dry_run:
        if workers.rank == 0:
            print(json.dumps(config, indent=2))
        return 0

    require_same_flags(request, contexts, workers)
    train_iter = make_train_iter(settings, workers)
    config["data"] = getattr(train_iter, "fingerprint", None)
    workers.require_same(f"{train_iter.num_batches} batches of {config['data']}", "data")
    rand_iter = RandIter(recipe.batch_size, recipe.nz, recipe.seed, workers.count, workers.rank)
    mx.random.seed(recipe.seed + workers.rank)
    symG, symD = make_dcgan_sym(recipe.ngf, recipe.ndf, recipe.nc, size=recipe.size)
    initializer, config["init"] = find_initializer(request, contexts, workers)
    trainer = make_trainer(recipe, symG, symD, contexts, kvstore, initializer)
    judge = (make_judge(settings, session.EVALUATED, quick=True)
             if conduct.eval_steps and workers.rank == 0 else None)
    # The run directory may be on the first worker's disk only; it alone reads and writes there.
    resume = bool(workers.gather([request.resume])[0, 0])
    run = None
    if workers.rank == 0:
        run = Run(str(conduct.run_dir)) if resume else Run.create(conduct.run_dir, config)
    with run.lock() if run else contextlib.nullcontext():
        seconds = restore(run, trainer, request, config) if resume else 0.0
        if seconds is None:
            return 0
        if run:
            print(f"writing to {run.path}", flush=True)
        try:
            session.train(trainer, train_iter, rand_iter, settings, run, seconds, judge)
        finally:
            if run:
                tell_end(run)
            if trainer.stopping and not trainer.stop_signal:
                # A worker cannot continue: the others wait here until the launcher ends the job.
                trainer.workers.gather([0])
    return 128 + trainer.stop_signal if trainer.stop_signal else 0


def restore(run: Run | None, trainer: Trainer, request: Request, config: dict[str, Any]
            ) -> float | None:
    """Bring a trainer, the config and the run to the newest checkpoint.

    All workers but the first have no run, and are told by it. Returns the seconds that the run has
    taken so far; None if it stands at its limit already.
    """
    if run is None:
        checkpoint.load_latest(None, trainer)
        session.restart_epoch(trainer)
        return None if session.find_limit(trainer, request.settings.conduct) else 0.0
    old = run.read_config()
    others = check_same(old, config, request.override)
    config["init"] = config["init"] or old.get("init")
    folder = checkpoint.load_latest(run.path, trainer)
    config["restarted_at"] = session.restart_epoch(
        trainer, folder, run.read_settings().recipe, request.settings.recipe, others,
        old.get("restarted_at"))
    ending = session.find_limit(trainer, request.settings.conduct)
    if ending:
        print(f"{ending.describe()}\n{describe_further(run, ending)}")
        return None
    print(f"going on from {folder or 'the start: there is no checkpoint yet'}")
    seconds = run.rewind(trainer.global_step)
    run.write_config(config)
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
    ending, saved = run.read_ending(), run.list_checkpoints()[-1:]
    lines.append("; ".join([*([ending.describe()] if ending else []),
                            *(f"saved in {folder}" for folder in saved)]))
    with contextlib.suppress(OSError):  # a pipe's other end may have had the signal, too
        print("\n".join([*lines, describe_further(run, ending)]), flush=True)


def describe_further(run: Run, ending: Ending | None) -> str:
    """Return the line that says how to go on with a run."""
    further = ending.further if ending else []
    return f"to {'train longer' if further else 'go on'}: {run.resume_command(*further)}"
