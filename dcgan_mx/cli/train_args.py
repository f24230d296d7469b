"""The command line of `dcgan-mx train`."""
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
from ..system.errors import ArgumentError
from ..visual import can_show
from .flags import merge_resume_config
from .parser import Parser


class TrainArgs(NamedTuple):
    """The parsed command line."""

    settings: Settings
    resume: bool  # there is a run directory to resume
    dry_run: bool
    given: frozenset[str]  # names of the settings on the command line or in the preset
    override: tuple[str, ...]


def make_parser() -> Parser:
    """Make the parser of the command."""
    command = command_line("train")
    parser = Parser(command, "Train a DCGAN. The defaults are the blog post's.",
                    usage=f"{command} --dataset NAME [flags]\n       {command} --resume [flags]")
    for name in list_fields():
        parser.add_setting(name)
        if name == "run_dir":
            parser.add("--resume", "resume the run in --run-dir, or the newest run of --dataset",
                       "output", action="store_true")
            parser.add("--override", "settings that may differ from those of the resumed run, such "
                       "as lr,seed", "output", type=_names, default=(), metavar="NAMES")
    parser.add("--preset", "named settings for a data set; other flags take precedence",
               "training", choices=tuple(PRESETS), default=())
    parser.add("--dry-run", "print the resolved settings and exit", "output", action="store_true")
    return parser


def _names(text: str) -> tuple[str, ...]:
    """Parse the names of --override."""
    names = tuple(name.strip().replace("-", "_") for name in text.split(","))
    for name in names:
        if name not in OVERRIDABLE:
            raise argparse.ArgumentTypeError(f"{name!r} cannot be overridden: expected names among "
                                             f"{', '.join(OVERRIDABLE)}; or start a new run")
    return names


def parse(argv: Sequence[str]) -> TrainArgs:
    """Parse the command's flags; with --resume, merge them into the run's settings.

    Raises ValueError if a flag is invalid, or if it affects results and differs from the resumed
    run's; raises OSError if the run's settings cannot be read.
    """
    given = vars(make_parser().parse_args(argv))
    resume, override, dry_run, preset = (
        given.pop(name) for name in ("resume", "override", "dry_run", "preset"))
    given = {**PRESETS.get(preset or "", {}), **given}
    check_settings(**given)  # argparse lets --dataset=-- through, as an empty list
    if LAUNCHED_BY in os.environ:
        given.setdefault("kv_store", "dist_sync")
    run_dir, dataset = given.get("run_dir"), given.get("dataset")
    if run_dir == "":
        raise ArgumentError("run_dir", "it is empty: give a name, or omit it")
    if override and not resume:
        raise ArgumentError("override", "it needs --resume: add that, or omit it")
    if resume and run_dir is None:
        run_dir = _find_newest_run(dataset)
    exists = run_dir is not None and os.path.lexists(run_dir)
    if resume and run_dir is not None and (exists or dataset is None):
        settings, notes = merge_resume_config(Run(run_dir).read_settings(), given, override,
                                              run_dir)
        for note in notes:
            warnings.warn(f"--resume: {note}", RuntimeWarning, stacklevel=2)
        return TrainArgs(settings, True, dry_run, frozenset(given), override)
    if dataset is None:
        raise ArgumentError("dataset", f"it is missing: give one of {', '.join(DATASETS)}; see "
                            "--help")
    if exists:
        raise ArgumentError("run_dir", f"{run_dir} already exists: give a new one, or --resume")
    # --resume without a run directory yet starts it: the same command starts and resumes a run.
    return TrainArgs(DEFAULTS.replace(given), False, dry_run, frozenset(given), ())


def _find_newest_run(dataset: str | None) -> str:
    """Return the folder of the run of a data set that was last started or resumed."""
    if dataset is None:
        raise ArgumentError("resume", "give --run-dir, or the --dataset of a run in runs/")
    configs = list(Path("runs").glob(f"{dataset}-*/config.json"))
    if not configs:
        raise ArgumentError("resume", f"there is no run of {dataset} in "
                            f"{Path('runs').absolute()}: give --run-dir, or omit it")
    return str(max(configs, key=lambda path: path.stat().st_mtime_ns).parent)


def drop_unavailable(args: TrainArgs) -> Settings:
    """Return the settings without --show and --tensorboard where they are not available here.

    Raises ValueError if one of them is on the command line, not from the resumed run.
    """
    settings, missing = args.settings, {}
    if settings.options.show and not can_show():
        missing["show"] = ("matplotlib cannot open a window here: set DISPLAY or MPLBACKEND, or "
                           "look at the grids in the run directory")
    if settings.options.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        missing["tensorboard"] = ("the package tensorboardX is missing: pip install "
                                  "'dcgan-mx[tensorboard]', or tensorboardX itself")
    for name, problem in missing.items():
        if name in args.given:
            raise ArgumentError(name, problem)
        warnings.warn(f"--{name}: {problem}; continuing without it", RuntimeWarning, stacklevel=2)
    return settings.replace(dict.fromkeys(missing, False))
