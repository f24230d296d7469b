"""The command line of `dcgan-mx train`: its flags, and how they combine with a resumed run."""
from __future__ import annotations

import argparse
import importlib.util
import os
import warnings
from pathlib import Path
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from ..runs.config import (
    DATASETS,
    DEFAULTS,
    IMAGE_DEFAULTS,
    OVERRIDABLE,
    PRESETS,
    Settings,
    check_settings,
    list_fields,
    list_train_config,
)
from ..runs.run import Run
from ..system.command_line import LAUNCHED_BY, flag_name
from ..system.errors import ArgumentError
from ..visual import can_show, check_image_name
from .parser import Parser

# Help texts by group and setting. A default of None is explained here; others are appended.
HELP = {
    "data": {
        "dataset": "data set to train on: digits, clothes, a record file, a folder of images, or "
                   "synthetic discs",
        "data_path": "record file (imagenet), folder or archive of images (folder), or the "
                     "directory that holds or will hold the downloaded data set (default: ./data "
                     "if it exists or in a clone, else a cache folder)",
        "crop": "part of each image to use: a square of 192 to 256 pixels at a random position "
                "(random), the largest square in the center (center), or the whole image (none) "
                "(default: random for imagenet, center for folder)",
        "mirror": "mirror half of the images at random (default: yes for imagenet, no for folder)",
        "fit": "with --crop none: make images square with margins, or stretch them (default: pad)",
        "pad_color": "color of the margins (default: white)",
        "data_threads": "threads that prepare batches; they do not affect results",
    },
    "networks": {
        "nz": "length of the latent vector",
        "ngf": "channels of the generator's last hidden layer",
        "ndf": "channels of the discriminator's first layer",
        "nc": "channels of an image: 1 (gray) or 3 (RGB)",
        "size": "height and width of an image in pixels",
    },
    "training": {
        "batch_size": "images per step, on each worker",
        "lr": "Adam's learning rate; replaces the rates of a preset",
        "beta1": "Adam's decay rate of the first moment",
        "wd": "weight decay",
        "lr_g": "generator learning rate (default: --lr)",
        "lr_d": "discriminator learning rate (default: --lr)",
        "lr_decay_start": "number of updates after which the learning rates decay: at update t, "
                          "they are multiplied by N/t (default: no decay)",
        "ema_decay": "decay of the exponential moving average of the generator's weights, such as "
                     "0.99; 0: no average; replaces --ema-rel-std of a preset",
        "ema_rel_std": "width of the power-function average of the generator's weights, relative "
                       "to the training time, such as 0.1 (EDM2's sigma_rel); 0: no average",
        "translate": "shift every image that the discriminator sees by up to N pixels in each "
                     "direction, at random",
        "instance_noise": "standard deviation of the noise added to every image that the "
                          "discriminator sees (pixels are in [-1, 1])",
        "real_label": "discriminator's target for real images; below 1: one-sided label smoothing",
        "d_steps": "discriminator updates per generator update (the paper's k)",
        "g_loss": "generator loss: -log D(G(z)), or log(1 - D(G(z)))",
        "precision": "number format of the networks; bfloat16 needs a processor with AVX512-BF16 "
                     "or AMX",
        "init_from": "initialize the generator from pretrained:NAME, a run directory, a checkpoint "
                     "or a model of MXNet's example (.params file or prefix); with "
                     "SOURCE,SOURCE also the discriminator, from the second (default: random "
                     "weights, N(0, 0.02))",
        "seed": "seed of weights, latent vectors, data order, shifts and instance noise",
        "num_epochs": "stop after N passes over the data, including those before --resume",
        "max_steps": "stop after N steps, including those before --resume (default: no limit)",
    },
    "output": {
        "run_dir": "new directory for all results (default: runs/DATASET-TIME)",
        "checkpoint_steps": "save a checkpoint every N steps (default: every epoch)",
        "eval_steps": "measure image quality every N steps, and keep the checkpoint of the best "
                      "step (default: never)",
        "keep_checkpoints": "newest checkpoints to keep; 0: all",
        "keep_grids": "newest image grids of each kind to keep, besides up to 100 spread over the "
                      "run for its video and report; 0: all",
        "disp_batches": "log metrics and save image grids every N steps",
        "fixed_noise": "also save grids of the images of 64 fixed latent vectors",
        "tensorboard": "also write TensorBoard events to the run directory",
        "show": "also show the grids in windows",
    },
    "devices": {
        "gpu": "GPU number, or several separated by commas; if MXNet sees no GPU, the CPU is used, "
               "with a warning (default: the CPU)",
        "cpu_devices": "split each batch over N CPU contexts, as over N GPUs; slower (default: 1)",
        "kv_store": "where gradients are summed: in host memory (local), on a GPU (device), or by "
                    "the servers that the launcher starts (dist_sync, dist_device_sync)",
        "require_gpu": "with --gpu: fail if MXNet sees no GPU, instead of using the CPU",
    },
}
_RATES = ("lr_g", "lr_d")  # replace lr
# The settings of a preset that a given setting replaces, besides the one of its own name.
_REPLACED = {"lr": _RATES, "ema_decay": ("ema_rel_std",)}
# The placeholder of a value that is a string.
METAVARS = {"data_path": "PATH", "init_from": "SOURCE", "run_dir": "DIR", "gpu": "N[,N...]"}


class TrainArgs(NamedTuple):
    """The parsed command line."""

    settings: Settings
    resume: bool  # there is a run directory to resume
    dry_run: bool
    preview: str | None  # an image file to write instead of training
    given: frozenset[str]  # names of the settings on the command line or in the preset
    override: tuple[str, ...]


class _Switch(argparse.Action):
    """A flag with a negative: --NAME and --no-NAME."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: Any, option_string: str | None = None) -> None:
        """Store which of the two was given."""
        setattr(namespace, self.dest, not str(option_string).startswith("--no-"))


def make_parser() -> Parser:
    """Make the parser of the command; a setting that is not given is None."""
    parser = Parser("train", "Train a DCGAN. The defaults are those of MXNet's example dcgan.py.",
                    "%(prog)s (--dataset NAME | --preset NAME) [flags]\n       "
                    "%(prog)s --resume [flags]")
    groups = {}
    for title, texts in HELP.items():
        group = groups[title] = parser.add_argument_group(title)
        for name, text in texts.items():
            _add_setting(parser, group, name, text)
            if name == "run_dir":
                parser.add("--resume", "resume the run in --run-dir, or the newest run of "
                           "--dataset", group=group, action="store_true")
                parser.add("--override", "settings that may differ from those of the resumed run, "
                           "such as lr,seed", group=group, metavar="NAMES",
                           type=lambda text: tuple(
                               name.strip().replace("-", "_") for name in text.split(",")))
    parser.add("--preset", "named settings for a data set; other flags take precedence",
               tuple(PRESETS), groups["training"])
    parser.add("--preview", "draw 64 training images as the networks see them, and exit",
               group=groups["data"], metavar="FILE.png")
    parser.add("--dry-run", "print the resolved settings and exit", group=groups["output"],
               action="store_true")
    return parser


def _add_setting(parser: Parser, group: Any, name: str, text: str) -> None:
    field, flag = list_fields()[name], flag_name(name)
    allowed = field.metadata["allowed"]
    if allowed is bool:
        parser.add(f"{flag} {flag.replace('--', '--no-', 1)}", text, group=group, dest=name,
                   action=_Switch, nargs=0)
        return
    if field.default is not None:
        text += f" (default: {field.default})"
    if allowed is str:
        parser.add(flag, text, group=group, metavar=METAVARS[name])
    else:
        parser.add(flag, text, allowed, group)


def parse(argv: Sequence[str]) -> TrainArgs:
    """Parse the command's flags; see `make_args`."""
    args = vars(make_parser().parse_args(argv))
    resume, dry_run, preview = (args.pop(name) for name in ("resume", "dry_run", "preview"))
    override, preset = args.pop("override") or (), args.pop("preset")
    given = {name: value for name, value in args.items() if value is not None}
    return make_args(given, resume, override, preset, dry_run, preview)


def make_args(given: dict[str, Any], resume: bool, override: Sequence[str] = (),
              preset: str | None = None, dry_run: bool = False, preview: str | None = None
              ) -> TrainArgs:
    """Complete the given settings with the preset, and the defaults or those of the resumed run.

    Raises ValueError if a setting is unknown or invalid, or if it affects results and differs from
    the resumed run's; raises OSError if the run's settings cannot be read.
    """
    for name in given.keys() - list_fields().keys():
        raise ArgumentError(name, "there is no such setting: expected one of "
                            f"{', '.join(list_fields())}")
    for name in {*override}.difference(OVERRIDABLE):
        raise ArgumentError("override", f"{name!r} cannot be overridden: expected names among "
                            f"{', '.join(OVERRIDABLE)}; or start a new run")
    if preset not in (None, *PRESETS):
        raise ArgumentError("preset", f"invalid value {preset!r}: expected one of "
                            f"{', '.join(PRESETS)}")
    replaced = {name for setting in given for name in _REPLACED.get(setting, ())}
    preset_values = {name: value for name, value in PRESETS.get(preset or "", {}).items()
                     if name not in replaced}
    given, override = {**preset_values, **given}, tuple(override)
    check_settings(**given)  # argparse lets --dataset=-- through, as an empty list
    if LAUNCHED_BY in os.environ:
        given.setdefault("kv_store", "dist_sync")
    if preview is not None:
        check_image_name(preview)
    run_dir, dataset = given.get("run_dir"), given.get("dataset")
    if run_dir == "":
        raise ArgumentError("run_dir", "empty path: give the path of a directory, or omit the flag")
    if override and not resume:
        raise ArgumentError("override", "needs --resume: add --resume, or omit --override")
    if resume and run_dir is None:
        run_dir = _find_newest_run(dataset)
    exists = run_dir is not None and os.path.lexists(run_dir)
    if resume and run_dir is not None and (exists or dataset is None):
        settings, notes = merge_resume_config(Run(run_dir).read_settings(), given, override,
                                              run_dir)
        for note in notes:
            warnings.warn(f"--resume: {note}", RuntimeWarning, stacklevel=2)
        return TrainArgs(settings, True, dry_run, preview, frozenset(given), override)
    if dataset is None:
        raise ArgumentError("dataset", f"missing: give one of {', '.join(DATASETS)}; see "
                            "--help")
    if exists:
        raise ArgumentError("run_dir", f"{run_dir} already exists: give a new one, or --resume")
    # --resume without a run directory yet starts it: the same command starts and resumes a run.
    settings = resolve_image_settings(DEFAULTS.replace(given))
    _check_lr(settings, given, "")
    return TrainArgs(settings, False, dry_run, preview, frozenset(given), ())


def resolve_image_settings(settings: Settings) -> Settings:
    """Fill in how images are read; ArgumentError if one of these settings has no effect."""
    given = vars(settings.config)
    values = dict(IMAGE_DEFAULTS.get(given["dataset"], {}))
    if (given["crop"] or values.get("crop")) == "none":
        values.update({"fit": "pad"} if given["fit"] == "stretch" else
                      {"fit": "pad", "pad_color": "white"})
    photos = f"--dataset {' or '.join(IMAGE_DEFAULTS)}"
    for name, needed in (("crop", photos), ("mirror", photos), ("fit", "--crop none"),
                         ("pad_color", "--crop none with --fit pad")):
        if given[name] is not None and name not in values:
            raise ArgumentError(name, f"applies only to {needed}: use that, or omit the flag")
    return settings.replace({name: value for name, value in values.items() if given[name] is None})


def _find_newest_run(dataset: str | None) -> str:
    """Return the folder of the run of a data set that was last started or resumed."""
    if dataset is None:
        raise ArgumentError("resume", "give --run-dir, or the --dataset of a run in runs/")
    configs = list(Path("runs").glob(f"{dataset}-*/config.json"))
    if not configs:
        raise ArgumentError("resume", f"there is no run of {dataset} in "
                            f"{Path('runs').absolute()}: give --run-dir, or omit it")
    return str(max(configs, key=lambda path: path.stat().st_mtime_ns).parent)


def merge_resume_config(saved: Settings, given: Mapping[str, Any], override: Iterable[str],
                        run_dir: str) -> tuple[Settings, list[str]]:
    """Apply the flags given with --resume to the settings of the run.

    Returns the settings, and a note on each further consequence. Raises ArgumentError if a setting
    that affects results differs and is not in `override`, or `override` names one not given.
    """
    values, notes, old = dict(given), [], saved.to_flags()
    for name in override:
        if name not in given:
            raise ArgumentError("override", f"{name} needs its new value: add {flag_name(name)}, "
                                f"or remove {name}")
    for name, value in given.items():
        if name in list_train_config() and value != old[name] and name not in override:
            fix = f"add --override {name}" if name in OVERRIDABLE else "start a new run"
            raise ArgumentError(name, f"{value} differs from {old[name]} of the run in {run_dir}: "
                                f"remove {flag_name(name)}, or {fix}")
    if given.get("precision", old["precision"]) != old["precision"]:
        notes.append(f"--precision changes from {old['precision']} to {given['precision']}; "
                     "parameters and moments are float32 in both")
    # Of two settings that exclude each other, the given one replaces the saved one. But a command
    # with --max-steps alone, whose run has the default number of epochs, also resumes the run.
    for new, other in (("gpu", "cpu_devices"), ("cpu_devices", "gpu"),
                       ("num_epochs", "max_steps"), ("max_steps", "num_epochs")):
        if (given.get(new) is not None and other not in given and old[other] is not None
                and (new, given[new]) != ("max_steps", old["max_steps"])):
            values[other] = None
            notes.append(f"{flag_name(new)} {given[new]} replaces {flag_name(other)} {old[other]}")
    if "lr" in override and None not in [values.get(name, old[name]) for name in _RATES]:
        for name in [name for name in _RATES if name not in given]:
            values[name] = None
            notes.append(f"--lr {given['lr']} replaces {flag_name(name)} {old[name]}")
    settings = saved.replace({**values, "run_dir": run_dir})
    _check_lr(settings, given, "" if "lr" in override else ", or add --override lr")
    return settings, notes


def _check_lr(settings: Settings, given: Iterable[str], other_fix: str) -> None:
    """Raise ArgumentError if --lr is given, but both networks have their own learning rates."""
    lr_g, lr_d = (getattr(settings.config, name) for name in _RATES)
    if "lr" in given and lr_g is not None and lr_d is not None:
        raise ArgumentError("lr", f"has no effect beside --lr-g {lr_g} and --lr-d {lr_d}: "
                            f"remove --lr{other_fix}")


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
