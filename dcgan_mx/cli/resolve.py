"""What commands are given to start from: generators, and the real images behind them."""
from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from ..data.datasets import get_fashion_mnist, get_mnist, make_discs
from ..engine.collectives import Workers
from ..iterators import EpochIter, FolderIter, ImagenetIter, MnistIter
from ..metrics.digit_classifier import DigitClassifier, load_classifier
from ..metrics.evaluator import Evaluator, first_images
from ..runs.config import Settings, TrainConfig, flag_name
from ..runs.params import dump_params
from ..runs.run import Run
from ..sampling.generator import find_checkpoint, load_generator
from ..sampling.pretrained import find_settings, is_pretrained, read_pretrained
from ..symbols import make_dcgan_sym
from ..system.command_line import command_line
from ..system.files import StrPath, parse_json
from ..system.runtime import mx
from .parser import print_skipped


class Source(NamedTuple):
    """A generator on disk: what `load_generator` takes, its training's settings and folder."""

    path: StrPath
    settings: Settings
    run: Run | None  # None: it comes with the package


def resolve_model(name: str) -> Source:
    """Find what a command was given: a run directory, a checkpoint, or `pretrained:NAME`."""
    if is_pretrained(name):
        return Source(name, find_settings(read_pretrained(name)[0]), None)
    folder = find_checkpoint(name).resolve()
    run = Run(folder.parent.parent)
    return Source(folder, run.read_settings(), run)


def load_init_weights(config: TrainConfig, ctx: Any) -> tuple[Any, dict[str, Any]]:
    """Find the weights that a training is to begin with: `config.init_from` says where they are.

    Returns an initializer that gives G these weights and moving statistics, and D what `Trainer`
    gives by itself; and what they are, for config.json. Raises ValueError if there are none, or of
    another network than the recipe's.
    """
    source = str(config.init_from)
    generator, step = load_generator(source, ctx)
    differ = {flag_name(name): (getattr(config, name), value)
              for name, value in generator.find_shape().items() if getattr(config, name) != value}
    if differ:
        raise ValueError(f"--init-from {source}: it is of another network: give "
                         + ", ".join(f"{flag} {its} (not {ours})"
                                     for flag, (ours, its) in differ.items()))
    symG, _ = make_dcgan_sym(config.ngf, config.ndf, config.nc, size=config.size)
    # Load would make up what it lacks, and take a weight for what another layer made of it.
    if _read_graph(generator.symbol) != _read_graph(symG):
        raise ValueError(f"--init-from {source}: its layers are not those that {command_line('train')} gives "
                         "a generator of these settings: give one that it trained")
    params = generator.get_params()
    digest = hashlib.sha256(b"".join(map(bytes, dump_params(params)))).hexdigest()
    initializer = mx.init.Load({name: mx.nd.array(array) for name, array in params.items()},
                               mx.init.Normal(0.02))
    return initializer, {"step": step, "sha256": digest}


def _read_graph(symbol: Any) -> Any:
    return parse_json(symbol.tojson().encode())


def make_train_iter(settings: Settings, workers: Workers) -> EpochIter:
    """Make the iterator over the real images that the settings name, the part of this worker."""
    config, options = settings
    shape = (config.batch_size, (config.nc, config.size, config.size), config.seed)
    part: dict[str, Any] = {"threads": options.data_threads, "num_parts": workers.count,
                            "part_index": workers.rank}
    if config.dataset in ("imagenet", "folder"):
        if options.data_path is None:
            what = "record file" if config.dataset == "imagenet" else "folder of pictures"
            raise ValueError(f"--data-path is missing: give the {what}")
        make = ImagenetIter if config.dataset == "imagenet" else FolderIter
        train_iter = make(options.data_path, *shape, **part)
        print_skipped(train_iter.skipped)
        return train_iter
    root = options.data_path or "data"
    images = (get_mnist(root)[0] if config.dataset == "mnist" else
              get_fashion_mnist(root)[0] if config.dataset == "fashion-mnist" else make_discs())
    return MnistIter(images, *shape, **part)


def find_classifier(settings: Settings, ctx: Any = None) -> DigitClassifier | None:
    """Return the classifier of what the settings' data set shows; None where there is none."""
    if settings.config.dataset != "mnist":
        return None
    return load_classifier(settings.options.data_path or "data", ctx)


def make_evaluator(settings: Settings, n: int, quick: bool = False) -> Evaluator:
    """Make what compares images with `n` real ones of the settings' data set."""
    classifier = find_classifier(settings)
    real = first_images(make_train_iter(settings, Workers()), n, grey=classifier is not None)
    return Evaluator(real, classifier, quick)
