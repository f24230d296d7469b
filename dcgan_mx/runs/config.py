"""What a run is asked for: what decides its numbers, and how it is conducted.

A setting is told once, as a field whose metadata have what its flag, `--help` and the checks need.
"""
from __future__ import annotations

import dataclasses
import math
import numbers
import sys
from typing import Any, Callable, Iterable, Mapping, NamedTuple


@dataclasses.dataclass(frozen=True)
class Number:
    """The integers or floats of an interval, with the ends that `ends` has; with `or_zero`, 0."""

    kind: type
    low: float
    high: float = math.inf
    ends: str = "[)"
    or_zero: bool = False

    def __str__(self) -> str:
        kind = "an integer" if self.kind is int else "a number"
        return (f"{'0, or ' * self.or_zero}{kind} in "
                f"{self.ends[0]}{self.low}, {self.high}{self.ends[1]}")

    def __contains__(self, value: Any) -> bool:
        """Infinities, nan and booleans never are in it."""
        kind: Any = numbers.Integral if self.kind is int else numbers.Real
        if not isinstance(value, kind) or isinstance(value, bool):
            return False
        low = self.low <= value if self.ends[0] == "[" else self.low < value
        high = value <= self.high if self.ends[1] == "]" else value < self.high
        return bool(low and high and value <= sys.float_info.max or self.or_zero and value == 0)


def check(value: Any, takes: Any) -> None:
    """Raise ValueError if a value is none of what is taken: a Number, some choices, str or bool."""
    if isinstance(takes, Number):
        if value not in takes:
            raise ValueError(f"{value!r} is out of range: give {takes}")
    elif isinstance(takes, tuple):
        if type(value) is not type(takes[0]) or value not in takes:
            raise ValueError(f"{value!r} is none of {', '.join(map(str, takes))}")
    elif type(value) is not takes:
        raise ValueError(f"{value!r} is no {takes.__name__}")


def _field(default: Any, group: str, text: str, takes: Any, metavar: str | None = None,
           shown: str | None = None) -> Any:
    return dataclasses.field(default=default, metadata={
        "group": group, "help": text, "takes": takes, "metavar": metavar, "shown": shown})


_COUNT = Number(int, 1, 2**31)
_RATE = Number(float, 0, ends="()")
_ANY = Number(int, 0)
FORMAT = 1  # of config.json: rises when the names or meanings of settings change
DATASETS = ("mnist", "fashion-mnist", "imagenet", "folder", "synthetic")
KVSTORES = ("local", "device", "dist_sync", "dist_device_sync")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What decides a run's numbers: kept with it, and compared when it goes on."""

    dataset: str | None = _field(
        None, "data", "digits, clothes, a record file, a folder of pictures, or discs that are "
        "drawn on the spot", DATASETS)
    nz: int = _field(100, "networks", "length of the latent vector", _COUNT, "N")
    ngf: int = _field(64, "networks", "channels of the generator's last hidden layer", _COUNT, "N")
    ndf: int = _field(64, "networks", "channels of the discriminator's first layer", _COUNT, "N")
    nc: int = _field(3, "networks", "channels of an image: 1 (grey) or 3 (RGB)", (1, 3))
    size: int = _field(64, "networks", "height and width of an image in pixels",
                       (16, 32, 64, 128, 256))
    batch_size: int = _field(64, "training", "images a step, of each worker", _COUNT, "N")
    lr: float = _field(2e-4, "training", "Adam's learning rate", _RATE, "X")
    beta1: float = _field(0.5, "training", "Adam's first decay rate", Number(float, 0, 1), "X")
    wd: float = _field(0.0, "training", "weight decay", Number(float, 0), "X")
    lr_g: float | None = _field(None, "training", "that of G alone", _RATE, "X", "--lr")
    lr_d: float | None = _field(None, "training", "that of D alone", _RATE, "X", "--lr")
    lr_decay_start: int | None = _field(None, "training", "updates after which the learning rates fall, "
                                  "as N/t after t", _COUNT, "N", "never")
    ema_decay: float = _field(0.0, "training", "average G's weights, too, with this decay, as 0.99",
                        Number(float, 0, 1), "X")
    ema_rel_std: float = _field(0.0, "training", "average G's weights over a share of all updates, "
                              "as 0.1", Number(float, 1e-4, 0.25, "[]", or_zero=True), "X")
    real_label: float = _field(1.0, "training", "what D is told of real images; below 1: one-sided "
                               "label smoothing", Number(float, 0.5, 1, "(]"), "X")
    d_steps: int = _field(1, "training", "updates of D for each of G, the paper's k", _COUNT, "N")
    g_loss: str = _field("nonsaturating", "training",
                         "what G descends: -log D(G(z)), or log(1 - D(G(z)))",
                         ("nonsaturating", "saturating"))
    precision: str = _field("float32", "training", "in which the networks compute; bfloat16 is for "
                            "processors that have AVX512-BF16 or AMX", ("float32", "bfloat16"))
    init_from: str | None = _field(None, "training", "begin with the weights of this generator: "
                              "pretrained:NAME, a checkpoint or a run directory; D begins anew",
                              str, "SOURCE", "N(0, 0.02)")
    seed: int = _field(1234, "training", "of weights, noise and the data's order",
                       Number(int, 0, 2**31), "N")


# Settings under one name; what is given besides takes precedence.
PRESETS: dict[str, dict[str, Any]] = {
    "digits": {"dataset": "mnist", "nc": 1, "lr_g": 2e-3, "lr_d": 1e-3, "real_label": 0.9,
               "lr_decay_start": 468, "ema_rel_std": 0.1},
}

# What a run may change when it goes on, where --override names it; data_path: the pictures there.
OVERRIDABLE = ("data_path", "batch_size", "lr", "beta1", "wd", "lr_g", "lr_d", "lr_decay_start",
               "real_label", "d_steps", "g_loss", "precision", "seed")


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where to train, how to watch, when to save and to stop: no number depends on it.

    But for what several devices change: BatchNorm sees the parts of a batch by themselves.
    """

    data_path: str | None = _field(
        None, "data", "imagenet: the record file; folder: the folder; else where the folder of the "
        "data set is, or will be", str, "PATH", "data")
    data_threads: int = _field(1, "data", "threads that prepare batches; they change no number",
                               _COUNT, "N")
    num_epochs: int | None = _field(100, "training", "end the run after so many passes over the "
                                    "data", _COUNT, "N")
    max_steps: int | None = _field(None, "training", "end the run after so many steps", _COUNT, "N")
    run_dir: str | None = _field(None, "output", "new folder for all results", str, "DIR",
                                 "runs/DATASET-TIME")
    checkpoint_steps: int | None = _field(None, "output", "steps from one checkpoint to the next",
                                          _COUNT, "N", "one an epoch")
    eval_steps: int | None = _field(None, "output", "steps from one evaluation of what G makes to "
                                    "the next; the best step is saved", _COUNT, "N", "never")
    keep_checkpoints: int = _field(0, "output", "newest checkpoints to keep; 0: all", _ANY, "N")
    keep_grids: int = _field(0, "output", "newest grids of each kind to keep, beside up to 100 of "
                             "the whole run, for its film and report; 0: all", _ANY, "N")
    disp_batches: int = _field(10, "output", "steps from one log line and set of grids to the next",
                               _COUNT, "N")
    fixed_noise: bool = _field(False, "output", "draw the images of the same 64 latent vectors "
                               "each time, too", bool)
    tensorboard: bool = _field(False, "output", "write for TensorBoard, too, into the run "
                               "directory", bool)
    show: bool = _field(False, "output", "show the grids in windows, too, as in the blog", bool)
    gpu: str | None = _field(None, "devices", "number of the GPU, or numbers with commas between",
                             str, "N,..", "the CPU")
    cpu_devices: int | None = _field(None, "devices", "train on so many contexts of the CPU, as on "
                                     "so many GPUs; slower", Number(int, 1, 2**10), "N")
    kv_store: str = _field("local", "devices", "what adds up the gradients: of several devices, "
                           "through the host's memory (local) or a GPU's (device); of the workers "
                           "that the launcher starts (dist_...)", KVSTORES)
    require_gpu: bool = _field(False, "devices", "fail where there is no GPU", bool)


# Limits and intervals: all workers of a job have to meet at the same steps.
SYNCED_FLAGS = ("num_epochs", "max_steps", "checkpoint_steps", "eval_steps", "disp_batches")


class Settings(NamedTuple):
    """Both groups."""

    config: TrainConfig
    options: RunOptions

    def to_flags(self) -> dict[str, Any]:
        """Return all settings by name, as config.json holds them."""
        return {**vars(self.config), **vars(self.options)}

    def replace(self, values: Mapping[str, Any]) -> Settings:
        """Return the settings with other values for some names."""
        config = {name: value for name, value in values.items() if name in list_train_config()}
        options = {name: value for name, value in values.items() if name not in config}
        return Settings(dataclasses.replace(self.config, **config),
                        dataclasses.replace(self.options, **options))


DEFAULTS = Settings(TrainConfig(), RunOptions())


def list_fields() -> dict[str, dataclasses.Field[Any]]:
    """Return the field of each setting, by its name."""
    return {field.name: field for part in DEFAULTS for field in dataclasses.fields(part)}


def list_train_config() -> tuple[str, ...]:
    """Return the names of the settings that decide a run's numbers."""
    return tuple(field.name for field in dataclasses.fields(TrainConfig))


def flag_name(name: str) -> str:
    """Return the flag of a setting: `--batch-size` for batch_size."""
    return "--" + name.replace("_", "-")


def check_settings(label: Callable[[str], str] = str, /, **values: Any) -> None:
    """Raise ValueError, with the setting's label, if it does not take a value."""
    for name, value in values.items():
        field = list_fields()[name]
        if value is None and (field.default is None or name == "num_epochs"):
            continue
        try:
            check(value, field.metadata["takes"])
        except ValueError as error:
            raise ValueError(f"{label(name)}: {error}") from None


def read_flags(flags: Mapping[str, Any], source: object) -> Settings:
    """Take settings from the flags in a config.json; ValueError if one is missing or bad."""
    fields = list_fields()
    try:
        if flags.keys() != fields.keys() or flags["dataset"] is None:
            raise ValueError("flags are missing or unknown")
        check_settings(flag_name, **flags)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    return DEFAULTS.replace({name: float(value) if type(fields[name].default) is float else value
                             for name, value in flags.items()})


def merge_resume_config(saved: Settings, given: Mapping[str, Any], override: Iterable[str], run_dir: str
          ) -> tuple[Settings, list[str]]:
    """Put what was given for a resumed run on top of what it has.

    Returns the settings, and a line on each thing else that this changes. Raises ValueError if what
    decides the numbers differs and `override` does not name it, or names what was not given.
    """
    values, notes, old = dict(given), [], saved.to_flags()
    for name in override:
        if name not in given:
            raise ValueError(f"--override {name} changes nothing by itself: add {flag_name(name)} with "
                             "its new value, or leave it out")
    for name, value in given.items():
        if name in list_train_config() and value != old[name] and name not in override:
            raise ValueError(f"{flag_name(name)} is {value}, but the run in {run_dir} has {old[name]}: "
                             "leave it out, or " + (f"add --override {name}" if name in OVERRIDABLE
                                                    else "start a new run"))
    if values.get("precision", saved.config.precision) != saved.config.precision:
        notes.append(f"the run has trained in {saved.config.precision}, and goes on in "
                     f"{values['precision']}: its parameters and moments are float32 in both")
    # One that is given takes the place of the other.
    for one, other in (("gpu", "cpu_devices"), ("cpu_devices", "gpu"), ("num_epochs", "max_steps"),
                       ("max_steps", "num_epochs")):
        if one in given and other not in given and None is not old[other] and (
                given[one] != old[one]):
            values[other] = None
            notes.append(f"{flag_name(one)} {given[one]} takes the place of {flag_name(other)} "
                         f"{old[other]}")
    return saved.replace({**values, "run_dir": run_dir}), notes
