"""What a run is asked for: what decides its numbers, and how it is conducted."""
from __future__ import annotations

import dataclasses
from typing import Any, Iterable, Mapping, NamedTuple

from .flags import Flag, Range


def _flag(default: Any, group: str, text: str, takes: Any, metavar: str | None = None,
          shown: str | None = None) -> Any:
    return dataclasses.field(
        default=default, metadata={"flag": Flag(group, text, metavar, takes, shown)})


_COUNT = Range(int, least=1, below=2**31)
DATASETS = ("mnist", "fashion-mnist", "imagenet", "folder", "synthetic")
KVSTORES = ("local", "device", "dist_sync", "dist_device_sync")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What decides a run's numbers: kept with it, and compared when it goes on."""

    dataset: str | None = _flag(
        None, "data", "digits, clothes, a record file, a folder of pictures, or discs that are "
        "drawn on the spot", DATASETS)
    nz: int = _flag(100, "networks", "length of the latent vector", _COUNT, "N")
    ngf: int = _flag(64, "networks", "channels of the generator's last hidden layer", _COUNT, "N")
    ndf: int = _flag(64, "networks", "channels of the discriminator's first layer", _COUNT, "N")
    nc: int = _flag(3, "networks", "channels of an image: 1 (grey) or 3 (RGB)", (1, 3))
    size: int = _flag(64, "networks", "height and width of an image in pixels",
                      (16, 32, 64, 128, 256))
    batch_size: int = _flag(64, "training", "images a step, of each worker", _COUNT, "N")
    lr: float = _flag(2e-4, "training", "Adam's learning rate", Range(float, above=0), "X")
    beta1: float = _flag(0.5, "training", "Adam's first decay rate",
                         Range(float, least=0, below=1), "X")
    wd: float = _flag(0.0, "training", "weight decay", Range(float, least=0), "X")
    lr_g: float | None = _flag(None, "training", "that of G alone", Range(float, above=0), "X",
                               shown="--lr")
    lr_d: float | None = _flag(None, "training", "that of D alone", Range(float, above=0), "X",
                               shown="--lr")
    lr_decay: int | None = _flag(None, "training", "updates after which the learning rates fall, "
                                 "as N/t after t", _COUNT, "N", shown="never")
    ema: float = _flag(0.0, "training", "average G's weights, too, with this decay, as 0.99",
                       Range(float, least=0, below=1), "X")
    ema_width: float = _flag(0.0, "training", "average G's weights over a share of all updates, as "
                             "0.1", Range(float, least=1e-4, most=0.25, or_zero=True), "X")
    real_label: float = _flag(1.0, "training", "what D is told of real images; below 1: one-sided "
                              "label smoothing", Range(float, above=0.5, most=1), "X")
    d_steps: int = _flag(1, "training", "updates of D for each of G, the paper's k", _COUNT, "N")
    g_loss: str = _flag("nonsaturating", "training",
                        "what G descends: -log D(G(z)), or log(1 - D(G(z)))",
                        ("nonsaturating", "saturating"))
    precision: str = _flag("float32", "training", "in which the networks compute; bfloat16 is for "
                           "processors that have AVX512-BF16 or AMX", ("float32", "bfloat16"))
    init: str | None = _flag(None, "training", "begin with the weights of this generator: "
                             "pretrained:NAME, a checkpoint or a run directory; D begins anew", str,
                             "SOURCE", shown="N(0, 0.02)")
    seed: int = _flag(1234, "training", "of weights, noise and the data's order",
                      Range(int, least=0, below=2**31), "N")


# Settings under one name; what is given besides takes precedence.
RECIPES: dict[str, dict[str, Any]] = {
    "digits": {"dataset": "mnist", "nc": 1, "lr_g": 2e-3, "lr_d": 1e-3, "real_label": 0.9,
               "lr_decay": 468, "ema_width": 0.1},
}

# What a run may change when it goes on, where --override names it; data_path: the pictures there.
OVERRIDABLE = ("data_path", "batch_size", "lr", "beta1", "wd", "lr_g", "lr_d", "lr_decay",
               "real_label", "d_steps", "g_loss", "precision", "seed")
# What runs of earlier versions do not have in their config.json; they trained with the defaults.
_LATER = ("lr_g", "lr_d", "lr_decay", "ema", "ema_width", "real_label", "precision", "init")


@dataclasses.dataclass(frozen=True)
class Conduct:
    """Where to train, how to watch, when to save and to stop: no number depends on it.

    But for what several devices change: BatchNorm sees the parts of a batch by themselves.
    """

    data_path: str | None = _flag(
        None, "data", "imagenet: the record file; folder: the folder; else where the folder of the "
        "data set is, or will be", str, "PATH", shown="data")
    data_threads: int = _flag(1, "data", "threads that prepare batches; they change no number",
                              _COUNT, "N")
    num_epochs: int | None = _flag(100, "training", "end the run after so many passes over the "
                                   "data", _COUNT, "N")
    max_steps: int | None = _flag(None, "training", "end the run after so many steps", _COUNT, "N")
    run_dir: str | None = _flag(None, "output", "new folder for all results", str, "DIR",
                                shown="runs/DATASET-TIME")
    checkpoint_steps: int | None = _flag(None, "output", "steps from one checkpoint to the next",
                                         _COUNT, "N", shown="one an epoch")
    eval_steps: int | None = _flag(None, "output", "steps from one evaluation of what G makes to "
                                   "the next; the best step is saved", _COUNT, "N", shown="never")
    keep: int = _flag(0, "output", "newest checkpoints to keep; 0: all", Range(int, least=0), "N")
    keep_grids: int = _flag(0, "output", "newest grids of each kind to keep, beside up to 100 of "
                            "the whole run, for its film and report; 0: all", Range(int, least=0),
                            "N")
    disp_batches: int = _flag(10, "output", "steps from one log line and set of grids to the next",
                              _COUNT, "N")
    fixed_noise: bool = _flag(False, "output", "draw the images of the same 64 latent vectors each "
                              "time, too", bool)
    tensorboard: bool = _flag(False, "output", "write for TensorBoard, too, into the run directory",
                              bool)
    show: bool = _flag(False, "output", "show the grids in windows, too, as in the blog", bool)
    gpu: str | None = _flag(None, "devices", "number of the GPU, or numbers with commas between",
                            str, "N,..", shown="the CPU")
    cpu_devices: int | None = _flag(None, "devices", "train on so many contexts of the CPU, as on "
                                    "so many GPUs; slower", Range(int, least=1, below=2**10), "N")
    kv_store: str = _flag("local", "devices", "what adds up the gradients: of several devices, "
                          "through the host's memory (local) or a GPU's (device); of the workers "
                          "that the launcher starts (dist_...)", KVSTORES)
    require_gpu: bool = _flag(False, "devices", "fail where there is no GPU", bool)


# Limits and intervals: all workers of a job have to meet at the same steps.
MEETING = ("num_epochs", "max_steps", "checkpoint_steps", "eval_steps", "disp_batches")
# Flags that runs of earlier versions have in their config.json, and that say nothing about them.
_RETIRED = ("dry_run",)


class Settings(NamedTuple):
    """Both groups."""

    recipe: Recipe
    conduct: Conduct

    def to_flags(self) -> dict[str, Any]:
        """Return all settings by name, as config.json holds them."""
        return {**dataclasses.asdict(self.recipe), **dataclasses.asdict(self.conduct)}

    def replace(self, values: Mapping[str, Any]) -> Settings:
        """Return the settings with other values for some names."""
        recipe = list_recipe()
        return Settings(
            dataclasses.replace(self.recipe, **{k: v for k, v in values.items() if k in recipe}),
            dataclasses.replace(self.conduct, **{k: v for k, v in values.items()
                                                 if k not in recipe}))


DEFAULTS = Settings(Recipe(), Conduct())


def list_flags() -> dict[str, tuple[Flag, Any]]:
    """Return the flag and the default of each setting, by its name."""
    return {field.name: (field.metadata["flag"], field.default)
            for part in (Recipe, Conduct) for field in dataclasses.fields(part)}


def list_recipe() -> tuple[str, ...]:
    """Return the names of the settings that decide a run's numbers."""
    return tuple(field.name for field in dataclasses.fields(Recipe))


def require_settings(**values: Any) -> None:
    """Raise ValueError if a number or a choice is out of its range; types are not looked at."""
    for name, value in values.items():
        try:
            if not (value is None and _can_be_none(name)):
                list_flags()[name][0].require_range(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


def spell(name: str) -> str:
    """Return the flag of a setting: `--batch-size` for batch_size."""
    return "--" + name.replace("_", "-")


def read_flags(flags: Mapping[str, Any], source: object) -> Settings:
    """Take settings from the flags in a config.json.

    Parameters
    ----------
    flags
        By name; one that a run of an earlier version could not have has its default.
    source
        What errors call them.

    Raises
    ------
    ValueError
        If one is missing, unknown or bad.
    """
    known = list_flags()
    try:
        unknown = flags.keys() - known.keys() - {*_RETIRED}
        missing = {*list_recipe()} - {*_LATER} - flags.keys()
        if unknown or missing or flags["dataset"] is None:
            raise ValueError("flags are missing, or not known here")
        for name, value in flags.items():
            if name in known and not (value is None and _can_be_none(name)):
                try:
                    known[name][0].require(value)
                except ValueError as error:
                    raise ValueError(f"{spell(name)}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    return DEFAULTS.replace({name: float(value) if type(known[name][1]) is float else value
                             for name, value in flags.items() if name in known})


def _can_be_none(name: str) -> bool:
    return name == "num_epochs" or list_flags()[name][1] is None


def go_on(saved: Settings, given: Mapping[str, Any], override: Iterable[str], run_dir: str
          ) -> tuple[Settings, list[str]]:
    """Put what was given for a resumed run on top of what it has.

    Parameters
    ----------
    saved
        The run's.
    given
        By name.
    override
        Names whose settings may differ from the run's though they decide its numbers.
    run_dir
        What errors call the run.

    Returns
    -------
    settings
    notes
        What else that changes, a line each.

    Raises
    ------
    ValueError
        If what decides the numbers differs, or an override says nothing.
    """
    values, notes = dict(given), []
    for name in override:
        if name not in given:
            raise ValueError(f"--override {name} changes nothing by itself: add {spell(name)} with "
                             "its new value, or leave it out")
    old = saved.to_flags()
    for name, value in given.items():
        if name in list_recipe() and value != old[name] and name not in override:
            raise ValueError(f"{spell(name)} is {value}, but the run in {run_dir} has {old[name]}: "
                             "leave it out, or " + (f"add --override {name}" if name in OVERRIDABLE
                                                    else "start a new run"))
    if values.get("precision", saved.recipe.precision) != saved.recipe.precision:
        notes.append(f"the run has trained in {saved.recipe.precision}, and goes on in "
                     f"{values['precision']}: its parameters and moments are float32 in both")
    # One that is given takes the place of the other.
    for one, other in (("gpu", "cpu_devices"), ("cpu_devices", "gpu"), ("num_epochs", "max_steps"),
                       ("max_steps", "num_epochs")):
        if one in given and other not in given and None is not old[other] and (
                given[one] != old[one]):
            values[other] = None
            notes.append(f"{spell(one)} {given[one]} takes the place of {spell(other)} "
                         f"{old[other]}")
    return saved.replace({**values, "run_dir": run_dir}), notes
