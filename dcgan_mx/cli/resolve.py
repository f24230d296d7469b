"""Load the models and the real images that command lines name."""
from __future__ import annotations

import hashlib
import os
from itertools import islice
from pathlib import Path
from typing import Any

from ..data.datasets import get_fashion_mnist, get_mnist, make_discs
from ..data.file_stores import find_format
from ..engine.collectives import Workers
from ..iterators import RANDOM_CROP, EpochIter, FolderIter, ImagenetIter, MnistIter
from ..metrics.digit_classifier import DigitClassifier, load_classifier
from ..metrics.evaluator import Evaluator, first_images
from ..runs.config import DATASETS, DEFAULTS, Settings, TrainConfig
from ..runs.params import dump_params
from ..runs.run import Run
from ..sampling.generator import find_checkpoint, load_generator, load_network
from ..sampling.networks import find_files, find_shape
from ..sampling.pretrained import find_settings, is_pretrained, read_pretrained
from ..symbols import make_dcgan_sym
from ..system.command_line import flag_name
from ..system.errors import ArgumentError
from ..system.files import StrPath, data_folder
from ..system.runtime import mx
from .parser import print_skipped
from .train_args import resolve_image_settings


def resolve_model(name: str, dataset: str | None = None) -> tuple[StrPath, Settings, Run | None]:
    """Find the model in a run directory, a checkpoint, `pretrained:NAME` or a file of MXNet.

    Returns the argument of `load_generator`, the settings, and the run. Bundled generators and
    files of MXNet have no run; such a file has no settings but `dataset`. Raises ArgumentError if
    `dataset` is missing for a file of MXNet, or given for anything else.
    """
    if find_files(name):
        if dataset is None:
            raise ArgumentError("dataset", f"missing: {name} does not name the data set of "
                                f"its training; give one of {', '.join(DATASETS)}")
        return name, resolve_image_settings(DEFAULTS.replace({"dataset": dataset})), None
    folder = None if is_pretrained(name) else Path(os.path.abspath(find_checkpoint(name)))
    if dataset is not None:
        raise ArgumentError("dataset", f"{name} names its data set: remove the flag")
    if folder is None:
        return name, find_settings(read_pretrained(name)[0]), None
    run = Run(folder.parent.parent)
    return folder, run.read_settings(), run


def load_init_weights(config: TrainConfig, ctx: Any) -> tuple[Any, dict[str, Any]]:
    """Load the weights of --init-from for a new training: those of G, or of G and D.

    Returns an initializer with their weights and moving statistics, which leaves the others random,
    and a fingerprint for config.json. Raises ArgumentError if a model is another network.
    """
    source, *of_d = _split_sources(str(config.init_from))
    generator, step = load_generator(source, ctx)
    params = generator.get_params()
    networks = [(source, generator.symbol, find_shape(params))]
    if of_d:
        symbol, params_d, _ = load_network(of_d[0], "D")
        networks.append((of_d[0], symbol, find_shape(params_d, "D")))
        params.update(params_d)
    _check_same_networks(config, networks)
    digest = hashlib.sha256(b"".join(map(bytes, dump_params(params)))).hexdigest()
    initializer = mx.init.Load({name: mx.nd.array(array) for name, array in params.items()},
                               mx.init.Normal(0.02))
    return initializer, {"step": step, "sha256": digest}


def describe_init(init_from: str) -> str:
    """Describe which files `load_init_weights` loads."""
    found = []
    for source in _split_sources(init_from):
        files = find_files(source)
        found.append(files[0] if files else source if is_pretrained(source) else
                     find_checkpoint(source))
    return f"G starts from {found[0]}, D from {found[1] if found[1:] else 'random weights'}"


def _split_sources(text: str) -> list[str]:
    """Split the sources of G and D; a comma may also be part of an existing path."""
    if os.path.exists(text) or find_files(text):
        return [text]
    sources = text.rsplit(",", 1)
    if "" in sources:
        raise ArgumentError("init_from", f"{text!r} has an empty part: give the sources of G and "
                            "D, or only that of G, without the comma")
    return sources


def _check_same_networks(config: TrainConfig,
                         networks: list[tuple[str, Any, dict[str, int]]]) -> None:
    """Raise ArgumentError unless all networks (source, symbol, shape) are those of a config."""
    norm = make_dcgan_sym(1, 1, 1)[0].attr_dict()["gbn1"]
    for source, symbol, shape in networks:
        # mx.init.Load would invent missing weights, and load those of different layers.
        found = next(attrs for attrs in symbol.attr_dict().values() if "fix_gamma" in attrs)
        reasons = [reason for reason, applies in (
            ("biases", any(name.endswith("_bias") for name in symbol.list_arguments())),
            ("fix_gamma=False", found["fix_gamma"] != norm["fix_gamma"]),
            ("another eps", found["eps"] != norm["eps"])) if applies]
        if reasons:
            raise ArgumentError("init_from", f"{source} has {' and '.join(reasons)}: it can be "
                                "sampled, but not trained")
        differ = ", ".join(f"{flag_name(name)} {value} (not {getattr(config, name)})"
                           for name, value in shape.items() if getattr(config, name) != value)
        if differ:
            raise ArgumentError("init_from", f"{source} is another network: use {differ}")


def make_train_iter(settings: Settings, workers: Workers, list_skipped: bool = True) -> EpochIter:
    """Make the iterator over this worker's part of the real images; list files without images."""
    config, options = settings
    shape = (config.batch_size, (config.nc, config.size, config.size), config.seed)
    part: dict[str, Any] = {"threads": options.data_threads, "num_parts": workers.count,
                            "part_index": workers.rank}
    if config.dataset in ("imagenet", "folder"):
        make, kind = {"imagenet": (ImagenetIter, "a record file"),
                      "folder": (FolderIter, "a folder or an archive of images")}[config.dataset]
        if options.data_path is None:
            raise ArgumentError("data_path", f"missing: --dataset {config.dataset} needs {kind}")
        _check_dataset(config.dataset, options.data_path)
        train_iter: ImagenetIter | FolderIter = make(
            options.data_path, *shape, **part, mirror=config.mirror, fit=config.fit or "pad",
            crop=RANDOM_CROP if config.crop == "random" else config.crop,
            pad_color=config.pad_color or "white")
        if list_skipped:
            print_skipped(train_iter.skipped)
        return train_iter
    if config.dataset == "synthetic" and options.data_path is not None:
        raise ArgumentError("data_path", "has no effect with --dataset synthetic: omit it")
    root = options.data_path or data_folder()
    if os.path.isfile(root) or options.data_path and _is_image_folder(str(config.dataset), root):
        _check_dataset(str(config.dataset), root)
    images = (get_mnist(root)[0] if config.dataset == "mnist" else
              get_fashion_mnist(root)[0] if config.dataset == "fashion-mnist" else make_discs())
    return MnistIter(images, *shape, **part)


def _check_dataset(dataset: str, path: StrPath) -> None:
    """Raise ArgumentError if a path holds images that another data set reads."""
    kind, fitting = {
        "folder": ("a folder", "folder"), "zip": ("a ZIP archive", "folder"),
        "tar": ("a tar archive", "folder"), "records": ("a record file", "imagenet"),
    }.get(find_format(path), ("", dataset))
    if fitting != dataset:
        raise ArgumentError("dataset", f"invalid value {dataset!r}: {path} is {kind}: use "
                            f"{fitting}, or another {flag_name('data_path')}")


def _is_image_folder(dataset: str, folder: StrPath) -> bool:
    """Whether a folder has no files of a data set, but image files among the first 100 files."""
    names = (name for _, _, names in os.walk(folder) for name in names)
    return not os.path.isdir(os.path.join(folder, dataset)) and any(
        name.lower().endswith((".jpg", ".jpeg", ".png")) for name in islice(names, 100))


def find_classifier(settings: Settings, ctx: Any = None) -> DigitClassifier | None:
    """Return the digit classifier if the data set shows digits, else None."""
    if settings.config.dataset != "mnist":
        return None
    return load_classifier(ctx)


def make_evaluator(settings: Settings, n: int, quick: bool = False) -> Evaluator:
    """Make an evaluator that compares images with `n` real ones of the data set."""
    classifier = find_classifier(settings)
    train_iter = make_train_iter(settings, Workers(), list_skipped=False)
    real = first_images(train_iter, n, gray=classifier is not None)
    return Evaluator(real, classifier, quick)
