"""The settings of a run: those that affect results, and those that do not.

The metadata of a field hold the values that the setting accepts. `cli.train_args` has the help
texts.
"""
from __future__ import annotations

import dataclasses
import numbers
import operator
import sys
from typing import Any, Mapping, NamedTuple

from ..system.errors import ArgumentError

FORMAT = 1  # of config.json: rises when the names or meanings of settings change
DATASETS = ("mnist", "fashion-mnist", "imagenet", "folder", "synthetic")
KVSTORES = ("local", "device", "dist_sync", "dist_device_sync")
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}  # of functions of `operator`


class Number:
    """The integers or floats within some bounds, such as ge=1, and 0 too if `or_zero`."""

    def __init__(self, kind: type, or_zero: bool = False, **bounds: float) -> None:
        self.kind, self._or_zero, self._bounds = kind, or_zero, bounds

    def __str__(self) -> str:
        kind = "an integer" if self.kind is int else "a number"
        limits = " and ".join(f"{_SIGNS[name]} {bound}" for name, bound in self._bounds.items())
        return f"{'0 or ' * self._or_zero}{kind} {limits}"

    def __contains__(self, value: Any) -> bool:
        """Infinity, NaN and booleans are never contained."""
        kind: Any = numbers.Integral if self.kind is int else numbers.Real
        if not isinstance(value, kind) or isinstance(value, bool):
            return False
        inside = (getattr(operator, name)(value, bound) for name, bound in self._bounds.items())
        zero = self._or_zero and value == 0
        return bool(zero or (all(inside) and value <= sys.float_info.max))


def describe(allowed: Any) -> str:
    """Describe what `check` accepts, as in "an integer >= 1"."""
    if isinstance(allowed, tuple):
        return f"one of {', '.join(map(str, allowed))}"
    names = {str: "a string without null characters", bool: "true or false"}
    return names.get(allowed) or str(allowed)


def check(value: Any, allowed: Any) -> None:
    """Raise ValueError unless a value is in a Number or a tuple, or of the type `str` or `bool`."""
    if isinstance(allowed, Number):
        good = value in allowed
    elif isinstance(allowed, tuple):
        good = type(value) is type(allowed[0]) and value in allowed
    else:
        good = type(value) is allowed and "\0" not in str(value)
    if not good:
        raise ValueError(f"invalid value {value!r}: expected {describe(allowed)}")


def _setting(default: Any, allowed: Any) -> Any:
    return dataclasses.field(default=default, metadata={"allowed": allowed})


_COUNT = Number(int, ge=1, lt=2**31)
_RATE = Number(float, gt=0)
_FRACTION = Number(float, ge=0, lt=1)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings that affect results: stored with the run, and compared on resume."""

    dataset: str | None = _setting(None, DATASETS)
    nz: int = _setting(100, _COUNT)
    ngf: int = _setting(64, _COUNT)
    ndf: int = _setting(64, _COUNT)
    nc: int = _setting(3, (1, 3))
    size: int = _setting(64, (16, 32, 64, 128, 256))
    crop: str | None = _setting(None, ("random", "center", "none"))
    mirror: bool | None = _setting(None, bool)
    fit: str | None = _setting(None, ("pad", "stretch"))
    pad_color: str | None = _setting(None, ("white", "gray", "black"))
    batch_size: int = _setting(64, _COUNT)
    lr: float = _setting(2e-4, _RATE)
    beta1: float = _setting(0.5, _FRACTION)
    wd: float = _setting(0.0, Number(float, ge=0))
    lr_g: float | None = _setting(None, _RATE)
    lr_d: float | None = _setting(None, _RATE)
    lr_decay_start: int | None = _setting(None, _COUNT)
    ema_decay: float = _setting(0.0, _FRACTION)
    ema_rel_std: float = _setting(0.0, Number(float, ge=1e-4, le=0.25, or_zero=True))
    real_label: float = _setting(1.0, Number(float, gt=0.5, le=1))
    translate: int = _setting(0, Number(int, ge=0, lt=256))
    instance_noise: float = _setting(0.0, Number(float, ge=0, le=10))
    d_steps: int = _setting(1, _COUNT)
    g_loss: str = _setting("nonsaturating", ("nonsaturating", "saturating"))
    precision: str = _setting("float32", ("float32", "bfloat16"))
    init_from: str | None = _setting(None, str)
    seed: int = _setting(1234, Number(int, ge=0, lt=2**31))


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Settings that do not affect results: where to train, what to show, when to save and stop.

    The number of devices is the exception: BatchNorm normalizes each device's part of a batch.
    """

    data_path: str | None = _setting(None, str)
    data_threads: int = _setting(1, _COUNT)
    num_epochs: int | None = _setting(100, _COUNT)
    max_steps: int | None = _setting(None, _COUNT)
    run_dir: str | None = _setting(None, str)
    checkpoint_steps: int | None = _setting(None, _COUNT)
    eval_steps: int | None = _setting(None, _COUNT)
    keep_checkpoints: int = _setting(0, Number(int, ge=0))
    keep_grids: int = _setting(0, Number(int, ge=0))
    disp_batches: int = _setting(10, _COUNT)
    fixed_noise: bool = _setting(False, bool)
    tensorboard: bool = _setting(False, bool)
    show: bool = _setting(False, bool)
    gpu: str | None = _setting(None, str)
    cpu_devices: int | None = _setting(None, Number(int, ge=1, lt=2**10))
    kv_store: str = _setting("local", KVSTORES)
    require_gpu: bool = _setting(False, bool)


# Named sets of settings; flags take precedence.
_SHARED: dict[str, Any] = {"ngf": 32, "ndf": 32, "lr_g": 2e-3, "lr_d": 1e-3, "lr_decay_start": 936,
                           "ema_rel_std": 0.1, "real_label": 0.9, "instance_noise": 0.4}
PRESETS: dict[str, dict[str, Any]] = {
    "digits": {"dataset": "mnist", "nc": 1, **_SHARED, "translate": 4},
    "images": {"dataset": "folder", **_SHARED},
}

# How the images of a data set are read by default: as in the example, or as in most programs.
IMAGE_DEFAULTS: dict[str, dict[str, Any]] = {
    "imagenet": {"crop": "random", "mirror": True}, "folder": {"crop": "center", "mirror": False}}

# Settings that a resumed run may change if --override names them; data_path: other images.
OVERRIDABLE = ("data_path", "batch_size", "lr", "beta1", "wd", "lr_g", "lr_d", "lr_decay_start",
               "real_label", "translate", "instance_noise", "d_steps", "g_loss", "precision",
               "seed")
# Limits and intervals: all workers of a job have to synchronize at the same steps.
SYNCED_FLAGS = ("num_epochs", "max_steps", "checkpoint_steps", "eval_steps", "disp_batches")


class Settings(NamedTuple):
    """All settings of a run."""

    config: TrainConfig
    options: RunOptions

    def to_flags(self) -> dict[str, Any]:
        """Return all settings by name, as config.json stores them."""
        return {**vars(self.config), **vars(self.options)}

    def replace(self, values: Mapping[str, Any]) -> Settings:
        """Return the settings with some values replaced."""
        config = {name: value for name, value in values.items() if name in list_train_config()}
        options = {name: value for name, value in values.items() if name not in config}
        return Settings(dataclasses.replace(self.config, **config),
                        dataclasses.replace(self.options, **options))


DEFAULTS = Settings(TrainConfig(), RunOptions())


def list_fields() -> dict[str, dataclasses.Field[Any]]:
    """Return the dataclass field of each setting, by name."""
    return {field.name: field for part in DEFAULTS for field in dataclasses.fields(part)}


def list_train_config() -> tuple[str, ...]:
    """Return the names of the settings that affect results."""
    return tuple(field.name for field in dataclasses.fields(TrainConfig))


def check_settings(**values: Any) -> None:
    """Raise ArgumentError if a setting does not accept a value."""
    for name, value in values.items():
        field = list_fields()[name]
        if value is None and (field.default is None or name == "num_epochs"):
            continue
        try:
            check(value, field.metadata["allowed"])
        except ValueError as error:
            raise ArgumentError(name, str(error)) from None


def parse_settings(flags: Mapping[str, Any], source: object) -> Settings:
    """Read the settings in a config.json; ValueError if one is unknown or invalid.

    A setting that an earlier version did not have gets its default.
    """
    fields = list_fields()
    try:
        if not flags.keys() <= fields.keys() or flags.get("dataset") is None:
            raise ValueError("it has unknown settings, or no data set")
        check_settings(**flags)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    return DEFAULTS.replace({name: float(value) if type(fields[name].default) is float else value
                             for name, value in flags.items()})
