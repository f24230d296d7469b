"""Load the models and the real images that command lines name."""
from __future__ import annotations

import hashlib
from typing import Any

from ..data.datasets import get_fashion_mnist, get_mnist, make_discs
from ..engine.collectives import Workers
from ..iterators import EpochIter, FolderIter, ImagenetIter, MnistIter
from ..metrics.digit_classifier import DigitClassifier, load_classifier
from ..metrics.evaluator import Evaluator, first_images
from ..runs.config import Settings, TrainConfig
from ..runs.params import dump_params
from ..runs.run import Run
from ..sampling.generator import find_checkpoint, load_generator
from ..sampling.pretrained import find_settings, is_pretrained, read_pretrained
from ..symbols import make_dcgan_sym
from ..system.command_line import command_line, flag_name
from ..system.errors import ArgumentError
from ..system.files import StrPath, data_folder, parse_json
from ..system.runtime import mx
from .parser import print_skipped


def resolve_model(name: str) -> tuple[StrPath, Settings, Run | None]:
    """Find the model in a run directory, a checkpoint or `pretrained:NAME`, which has no run.

    Returns what `load_generator` takes, the settings of the training, and its run.
    """
    if is_pretrained(name):
        return name, find_settings(read_pretrained(name)[0]), None
    folder = find_checkpoint(name).resolve()
    run = Run(folder.parent.parent)
    return folder, run.read_settings(), run


def load_init_weights(config: TrainConfig, ctx: Any) -> tuple[Any, dict[str, Any]]:
    """Load the weights of --init-from for a new training.

    Returns an initializer with G's weights and moving statistics, which leaves D random, and a
    fingerprint for config.json. Raises ArgumentError if the model is another network.
    """
    source = str(config.init_from)
    generator, step = load_generator(source, ctx)
    shape = generator.find_shape()
    differ = ", ".join(f"{flag_name(name)} {value} (not {getattr(config, name)})"
                       for name, value in shape.items() if getattr(config, name) != value)
    if differ:
        raise ArgumentError("init_from", f"{source} is another network: use {differ}")
    symG, _ = make_dcgan_sym(config.ngf, config.ndf, config.nc, size=config.size)
    # mx.init.Load would invent missing weights, and load those of different layers.
    if parse_json(generator.symbol.tojson().encode()) != parse_json(symG.tojson().encode()):
        raise ArgumentError("init_from", f"{source} has other layers than the networks of "
                            f"{command_line('train')}: use a model that it trained")
    params = generator.get_params()
    digest = hashlib.sha256(b"".join(map(bytes, dump_params(params)))).hexdigest()
    initializer = mx.init.Load({name: mx.nd.array(array) for name, array in params.items()},
                               mx.init.Normal(0.02))
    return initializer, {"step": step, "sha256": digest}


def make_train_iter(settings: Settings, workers: Workers, list_skipped: bool = True) -> EpochIter:
    """Make the iterator over this worker's part of the real images; list files without images."""
    config, options = settings
    shape = (config.batch_size, (config.nc, config.size, config.size), config.seed)
    part: dict[str, Any] = {"threads": options.data_threads, "num_parts": workers.count,
                            "part_index": workers.rank}
    if config.dataset in ("imagenet", "folder"):
        make, kind = {"imagenet": (ImagenetIter, "a record file"),
                      "folder": (FolderIter, "a folder of images")}[config.dataset]
        if options.data_path is None:
            raise ArgumentError("data_path", f"missing: --dataset {config.dataset} needs {kind}")
        train_iter: ImagenetIter | FolderIter = make(options.data_path, *shape, **part)
        if list_skipped:
            print_skipped(train_iter.skipped)
        return train_iter
    root = options.data_path or data_folder()
    images = (get_mnist(root)[0] if config.dataset == "mnist" else
              get_fashion_mnist(root)[0] if config.dataset == "fashion-mnist" else make_discs())
    return MnistIter(images, *shape, **part)


def find_classifier(settings: Settings, ctx: Any = None) -> DigitClassifier | None:
    """Return the digit classifier if the data set shows digits, else None."""
    if settings.config.dataset != "mnist":
        return None
    return load_classifier(settings.options.data_path or data_folder(), ctx)


def make_evaluator(settings: Settings, n: int, quick: bool = False) -> Evaluator:
    """Make an evaluator that compares images with `n` real ones of the data set."""
    classifier = find_classifier(settings)
    train_iter = make_train_iter(settings, Workers(), list_skipped=False)
    real = first_images(train_iter, n, grey=classifier is not None)
    return Evaluator(real, classifier, quick)
