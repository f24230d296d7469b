"""What the command line of `dcgan-mx train` asks for."""
from __future__ import annotations

import argparse
import importlib.util
import os
import warnings
from pathlib import Path
from typing import NamedTuple, Sequence

from ..runs.config import (
    DATASETS,
    DEFAULTS,
    OVERRIDABLE,
    PRESETS,
    Settings,
    check_settings,
    list_fields,
)
from ..runs.run import Run
from ..system.command_line import LAUNCHED_BY, command_line
from ..visual import can_show
from .flags import merge_resume_config
from .parser import Parser


class TrainArgs(NamedTuple):
    """What the command line asks for."""

    settings: Settings
    resume: bool  # the run's folder is there to go on with
    dry_run: bool
    given: frozenset[str]  # names of the settings that do not come from the run
    override: tuple[str, ...]


def make_parser() -> Parser:
    """Make the parser of the command."""
    command = command_line("train")
    parser = Parser(command, "Train a DCGAN as in the blog post; the defaults are the blog's.",
                    usage=f"{command} --dataset NAME [flags]\n       {command} --resume [flags]")
    for name in list_fields():
        parser.add_setting(name)
        if name == "run_dir":
            parser.add("--resume", "go on with the run in --run-dir, or with the newest of this "
                       "data set", "output", action="store_true")
            parser.add("--override", "flags that may differ from those of the resumed run, as in "
                       "lr,seed", "output", type=_names, default=(), metavar="NAMES")
    parser.add("--preset", "settings for a data set that are not the blog's; other flags change "
               "them", "training", choices=tuple(PRESETS), default=())
    parser.add("--dry-run", "print the settings and leave", "output", action="store_true")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().replace("-", "_") for name in text.split(","))
    for name in names:
        if name not in OVERRIDABLE:
            raise argparse.ArgumentTypeError(f"{name!r} cannot be overridden: give some of "
                                             f"{', '.join(OVERRIDABLE)}, or start a new run")
    return names


def parse(argv: Sequence[str]) -> TrainArgs:
    """Parse the command's flags; with --resume, on top of what the run has.

    Raises ValueError if a flag is bad, or differs from the resumed run's where that decides its
    numbers, and OSError if the run's settings cannot be read.
    """
    given = vars(make_parser().parse_args(argv))
    resume, override, dry_run, preset = (
        given.pop(name) for name in ("resume", "override", "dry_run", "preset"))
    given = {**PRESETS.get(preset or "", {}), **given}
    check_settings(**given)  # argparse lets --dataset=-- through, as an empty list
    if LAUNCHED_BY in os.environ:
        given.setdefault("kv_store", "dist_sync")  # what else would a launched worker want
    run_dir, dataset = given.get("run_dir"), given.get("dataset")
    if run_dir == "":
        raise ValueError("--run-dir is empty: give a name, or leave it out")
    if override and not resume:
        raise ValueError("--override without --resume: leave it out")
    if resume and run_dir is None:
        run_dir = _find_newest_run(dataset)
    there = run_dir is not None and os.path.lexists(run_dir)
    if resume and run_dir is not None and (there or dataset is None):
        settings, notes = merge_resume_config(Run(run_dir).read_settings(), given, override, run_dir)
        for note in notes:
            warnings.warn(f"--resume: {note}", RuntimeWarning, stacklevel=2)
        return TrainArgs(settings, True, dry_run, frozenset(given), override)
    if dataset is None:
        raise ValueError(f"--dataset is missing: give one of {', '.join(DATASETS)}; see --help")
    if there:
        raise ValueError(f"--run-dir {run_dir}: exists already: give a new one, or --resume")
    # With --resume: the first start of a command that will be typed again.
    return TrainArgs(DEFAULTS.replace(given), False, dry_run, frozenset(given), ())


def _find_newest_run(dataset: str | None) -> str:
    """Return the folder of the run of a data set that was started or resumed last."""
    if dataset is None:
        raise ValueError("--resume: which run? give --run-dir, or the command that started it")
    configs = list(Path("runs").glob(f"{dataset}-*/config.json"))
    if not configs:
        raise ValueError(f"--resume: no run of {dataset} in {Path('runs').absolute()}: give "
                         "--run-dir, or leave --resume out")
    return str(max(configs, key=lambda path: path.stat().st_mtime_ns).parent)


def check_displays(request: TrainArgs) -> Settings:
    """Return the settings without those displays of a resumed run that cannot be had here.

    Raises ValueError if one that was asked for now cannot be.
    """
    settings, missing = request.settings, {}
    if settings.options.show and not can_show():
        missing["show"] = ("--show: matplotlib can open no window here: set DISPLAY or MPLBACKEND, "
                           "or look at the grids in the run directory")
    if settings.options.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        missing["tensorboard"] = ("--tensorboard: the package tensorboardX is missing: pip install "
                                  "'dcgan-mx[tensorboard]', or tensorboardX itself")
    for name, problem in missing.items():
        if name in request.given:
            raise ValueError(problem)
        warnings.warn(f"{problem}; going on without it", RuntimeWarning, stacklevel=2)
    return settings.replace(dict.fromkeys(missing, False))
