"""`dcgan-mx train`: build the objects, restore the run, train, report."""
from __future__ import annotations

import contextlib
import json
import os
import platform
import warnings
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from .. import __version__
from ..engine.collectives import Workers
from ..iterators import RandIter
from ..metrics.evaluator import first_images
from ..runs import checkpoint
from ..runs.checkpoint_files import read_files
from ..runs.config import SYNCED_FLAGS, Settings, TrainConfig, list_train_config
from ..runs.run import Run
from ..runs.stop_reason import StopReason
from ..symbols import make_dcgan_sym
from ..system.amx import prepare_bfloat16
from ..system.command_line import LAUNCHED_BY
from ..system.cpu import THREADS
from ..system.devices import make_contexts, make_kvstore
from ..system.errors import ArgumentError
from ..system.opencv import cv2
from ..system.runtime import mx
from ..trainer import Hook, Trainer
from ..visual import make_grid, save_image
from .resolve import describe_init, load_init_weights, make_evaluator, make_train_iter
from .run_training import EVALUATED, describe_resume, find_limit, run_training
from .train_args import TrainArgs, drop_unavailable, make_args, make_parser, parse

__all__ = ["main", "make_parser", "train"]


def main(argv: Sequence[str]) -> int:
    """Parse the flags and train; return the exit status."""
    return _train(parse(argv))[0]


def train(*, resume: bool = False, override: Sequence[str] = (), hooks: Sequence[Hook] = (),
          preset: str | None = None, **settings: Any) -> Run | None:
    """Train as the command `dcgan-mx train` does, and write the results to a run directory.

    All commands accept the run, and `dcgan-mx train --resume` continues it.

    Parameters
    ----------
    resume
        Resume the run in `run_dir`, or the newest run of `dataset`.
    override
        Names of settings that may differ from those of the resumed run.
    hooks
        Called after the command's own hooks: see `Trainer.fit`.
    preset
        Named settings, such as 'digits'; other settings take precedence.
    **settings
        The command's flags, with underscores, such as `dataset="mnist", max_steps=400`. The
        defaults are the command's; with `resume`, they are those of the run. `docs/flags.md`
        describes them all. Paths may be `pathlib.Path` objects.

    Returns
    -------
    Run or None
        The run; None on the workers of a distributed job other than rank 0. A signal, such as that
        of Ctrl-C, saves the last step and ends the training without an error:
        `run.read_result()` has the reason.

    Raises
    ------
    ValueError
        If a setting is invalid, or differs from that of the resumed run.
    OSError
        If a file cannot be read or written.
    DivergenceError
        If the networks have diverged.
    """
    hooks = [*hooks]  # raises before a run directory is made
    given = {name: os.fspath(value) if isinstance(value, os.PathLike) else
             value.item() if isinstance(value, np.generic) else value
             for name, value in settings.items()}
    if isinstance(given.get("gpu"), int):
        given["gpu"] = str(given["gpu"])
    return _train(make_args(given, resume, override, preset), hooks)[1]


def _train(args: TrainArgs, hooks: Sequence[Hook] = ()) -> tuple[int, Run | None]:
    """Build the objects, restore the run, train and report; return the exit status and the run."""
    config, options = settings = args.settings
    contexts = make_contexts(options.gpu, options.cpu_devices, options.require_gpu)
    if config.precision == "bfloat16":  # before MXNet computes anything, even for --init-from
        prepare_bfloat16(gpu=any(context.device_type == "gpu" for context in contexts))
    kvstore = make_kvstore(options.kv_store)
    workers = Workers(kvstore)
    first = workers.rank == 0
    if first:  # the others show nothing
        config, options = settings = drop_unavailable(args)
    run_info = make_run_info(settings, contexts, workers)
    if args.dry_run:
        if first:
            print(json.dumps(run_info, indent=2))
        return 0, None
    check_same_flags(args, contexts, workers)
    _check_apart(args)
    if args.preview is not None:
        if first:
            write_preview(args.preview, settings)
        return 0, None
    train_iter = make_train_iter(settings, workers)
    run_info["data"] = getattr(train_iter, "fingerprint", None)
    workers.check_same(f"{train_iter.num_batches} batches of {run_info['data']}", "data")
    rand_iter = RandIter(config.batch_size, config.nz, config.seed, workers.count, workers.rank)
    mx.random.seed(config.seed + workers.rank)
    initializer, run_info["init"] = load_initializer(args, contexts, workers)
    trainer = make_trainer(config, contexts, kvstore, initializer)
    evaluator = (make_evaluator(settings, EVALUATED, quick=True)
                 if options.eval_steps and first else None)

    # The run directory may be on the disk of rank 0 only, which alone reads and writes there.
    resume = bool(workers.all_gather([args.resume])[0, 0])
    run = None
    if first:
        run = Run(str(options.run_dir)) if resume else Run.create(options.run_dir, run_info)
    with run.lock() if run else contextlib.nullcontext():
        seconds = 0.0
        if resume:
            folder = restore(run, trainer, args, run_info)
            limit = find_limit(trainer, options)
            if limit:
                if run:
                    _report_limit(run, limit)
                return 0, run
            if run:
                print(f"resuming from {folder or 'the start: there is no checkpoint yet'}")
                seconds = run.rewind(trainer.global_step)
                run.write_config(run_info)
        if run:
            steps = train_iter.num_batches
            print(f"{train_iter.num_images} images: {steps} step{'s' * (steps > 1)} per epoch",
                  *([describe_init(str(config.init_from))] if initializer else []),
                  f"writing to {run.path}", sep="\n", flush=True)
        return run_training(trainer, train_iter, rand_iter, settings, run, seconds, evaluator,
                            hooks), run


def _check_apart(args: TrainArgs) -> None:
    """Raise ArgumentError if the preview or the new run would be among the training images."""
    config, options = args.settings
    name, path = (("preview", args.preview) if args.preview is not None else
                  ("run_dir", options.run_dir or "runs/new"))
    if (config.dataset == "folder" and options.data_path and (args.preview or not args.resume)
            and Path(options.data_path).resolve() in Path(path).resolve().parents):
        raise ArgumentError(name, f"{path} is in the folder of the training images, "
                            f"{options.data_path}, and would add images to it: give a path outside "
                            "of that folder")


def _report_limit(run: Run, limit: StopReason) -> None:
    """Print that a run has reached its limit; write its result if that failed, or was lost."""
    if run.read_result() is None:
        run.write_result(limit)
    print(f"{limit.describe()}\n{describe_resume(run, limit)}")


def write_preview(path: str, settings: Settings) -> None:
    """Write a grid of the first 64 images of the training, or of all if there are fewer."""
    train_iter = make_train_iter(settings.replace({"batch_size": 1}), Workers())
    n = min(64, train_iter.num_batches)
    save_image(path, make_grid(first_images(train_iter, n)))
    total = train_iter.num_images
    print(f"{path}: {f'{n} of {total}' if n < total else n} training images")


def make_trainer(config: TrainConfig, contexts: list[Any], kvstore: Any = None,
                 initializer: Any = None) -> Trainer:
    """Make the networks and the trainer that a config describes."""
    symG, symD = make_dcgan_sym(config.ngf, config.ndf, config.nc, size=config.size)
    return Trainer(symG, symD, config.batch_size, (config.nc, config.size, config.size),
                   nz=config.nz, ctx=contexts, lr=config.lr, beta1=config.beta1, wd=config.wd,
                   d_steps=config.d_steps, g_loss=config.g_loss, kvstore=kvstore,
                   ema_decay=config.ema_decay, lr_g=config.lr_g, lr_d=config.lr_d,
                   real_label=config.real_label, initializer=initializer,
                   lr_decay_start=config.lr_decay_start, ema_rel_std=config.ema_rel_std,
                   precision=config.precision, translate=config.translate,
                   instance_noise=config.instance_noise, seed=config.seed)


def make_run_info(settings: Settings, contexts: list[Any], workers: Workers) -> dict[str, Any]:
    """Return the content of config.json: the settings, and what else affects results."""
    run_info = {"flags": settings.to_flags(), "device": ", ".join(map(str, contexts)),
                "workers": workers.count,
                "omp_num_threads": next(filter(None, map(os.environ.get, THREADS)), None),
                "versions": {"dcgan_mx": __version__, "mxnet": mx.__version__,
                             "numpy": np.__version__, "opencv": cv2.__version__,
                             "python": platform.python_version()}}
    if LAUNCHED_BY in os.environ:
        run_info["launched_by"] = json.loads(os.environ[LAUNCHED_BY])
    return run_info


def check_same_flags(args: TrainArgs, contexts: list[Any], workers: Workers) -> None:
    """Raise ValueError if workers differ in settings that affect results or synchronization."""
    resumes = workers.all_gather([args.resume])[:, 0]
    flags = args.settings.to_flags()
    if resumes.any() and not resumes[0]:
        raise ArgumentError("run_dir", f"{flags['run_dir']} exists on another worker's disk, but "
                            "not on that of rank 0: copy it there, or give a new one")
    compared = {name: flags[name] for name in (*list_train_config(), *SYNCED_FLAGS)}
    workers.check_same(json.dumps({**compared, "devices": len(contexts)}), "flags")


def load_initializer(args: TrainArgs, contexts: list[Any], workers: Workers
                     ) -> tuple[Any, dict[str, Any] | None]:
    """Return the initializer and fingerprint of --init-from; None without, or with a checkpoint."""
    config, options = args.settings
    saved = args.resume and bool(Run(str(options.run_dir)).list_checkpoints())
    if config.init_from is None or workers.all_gather([saved])[0, 0]:
        return None, None
    initializer, fingerprint = load_init_weights(config, contexts[0])
    workers.check_same(json.dumps(fingerprint), "initial weights")
    return initializer, fingerprint


def restore(run: Run | None, trainer: Trainer, args: TrainArgs, run_info: dict[str, Any]
            ) -> Path | None:
    """Restore the newest checkpoint, and complete `run_info` from the run's config.json.

    Restarts the epoch if an overridden setting changes its images or their order. Returns the
    folder of the checkpoint; None if there is none. Workers other than rank 0 have no run, and
    receive rank 0's state.
    """
    if run is None:
        folder, restart = checkpoint.load_latest(None, trainer), False
    else:
        old, old_config = run.read_config(), run.read_settings().config
        changed = ["data_path"] * check_resume_config(old, run_info, args.override)
        run_info["init"] = run_info["init"] or old.get("init")
        folder = checkpoint.load_latest(run.path, trainer)
        result = run.read_result() if folder is None else None
        if result and result.step and result.reason != "error":  # which saved a checkpoint
            raise ArgumentError("run_dir", f"{run.path} was trained up to step {result.step}, but "
                                "has no checkpoint: restore its folder checkpoints, or start a "
                                "new run")
        if folder is not None:
            changed = [name for name in ("seed", "batch_size")
                       if getattr(old_config, name) != getattr(args.settings.config, name)
                       ] + changed
            nbatch = read_files(folder, ())[0]["nbatch"]
            if changed and nbatch:
                warnings.warn(f"--override {','.join(changed)}: the epoch restarts, after {nbatch} "
                              "of its batches; some images are shown twice", RuntimeWarning,
                              stacklevel=2)
        # Checkpoints up to `restarted_at` have another order or other images. In config.json, this
        # survives a kill before the next checkpoint.
        restarted_at = old.get("restarted_at")
        restart = (not {"seed", "data_path"}.isdisjoint(changed)
                   or type(restarted_at) is int and trainer.global_step <= restarted_at)
        run_info["restarted_at"] = trainer.global_step if restart else restarted_at
    if trainer.workers.all_gather([restart]).any():
        trainer.nbatch = 0
    return folder


def check_resume_config(old: dict[str, Any], new: dict[str, Any], override: Sequence[str]) -> bool:
    """Compare a run's config.json with the one of its resumption; return whether the data differ.

    Raises ValueError if they differ without an override, or if the initial weights differ while
    there is no checkpoint yet; warns of other differences that may change results.
    """
    other_data: bool = old.get("data") != new["data"]
    if other_data and "data_path" not in override:
        now, before = (data["records"] if isinstance(data, dict) and "records" in data else None
                       for data in (new["data"], old.get("data")))
        raise ArgumentError("data_path", f"{new['flags']['data_path']} has other images than the "
                            f"run started with (records now {now}, at the start {before}): restore "
                            "those, start a new run, or add --override data-path")
    if new["init"] and old.get("init") != new["init"]:
        raise ArgumentError("init_from", f"{new['flags']['init_from']} has other weights than the "
                            "run started with: restore those, or start a new run")
    was, now = ((info.get("workers", 1), str(info.get("device")).count(",") + 1)
                for info in (old, new))
    if was != now:
        warnings.warn(f"--resume: workers x devices changed from {was[0]} x {was[1]} to {now[0]} x "
                      f"{now[1]}: BatchNorm sees other parts of the batches, and all continue with "
                      "the averaged moving statistics"
                      + "; the epoch restarts" * (was[0] != now[0]),
                      RuntimeWarning, stacklevel=2)
    for name in ("device", "omp_num_threads", "versions"):
        if old.get(name) != new[name]:
            warnings.warn(f"--resume: {name} changed from {old.get(name)} to {new[name]}: results "
                          "may differ in their last bits", RuntimeWarning, stacklevel=2)
    return other_data
