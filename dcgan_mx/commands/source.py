"""What commands are given to start from: generators, and the real images behind them."""
from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from ..data.datasets import get_fashion_mnist, get_mnist, make_discs
from ..images.digits import DigitClassifier, load_classifier
from ..images.evaluation import Judge, take
from ..images.sample import find_checkpoint, load_generator
from ..iterators import EpochIter, FolderIter, ImagenetIter, MnistIter
from ..machine.files import StrPath, parse_json
from ..machine.runtime import mx
from ..machine.typed import typed
from ..runs.params import dump_params
from ..runs.pretrained import find_settings, is_pretrained, read_pretrained
from ..runs.run import Run
from ..runs.settings import Recipe, Settings, spell
from ..symbols import make_dcgan_sym
from ..training.workers import Workers
from .cli import print_skipped


class Source(NamedTuple):
    """A generator on disk: what `load_generator` takes, its training's settings and folder."""

    path: StrPath
    settings: Settings
    run: Run | None  # None: it comes with the package


def find_source(name: str) -> Source:
    """Find what a command was given: a run directory, a checkpoint, or `pretrained:NAME`."""
    if is_pretrained(name):
        return Source(name, find_settings(read_pretrained(name)[0]), None)
    folder = find_checkpoint(name).resolve()
    run = Run(folder.parent.parent)
    return Source(folder, run.read_settings(), run)


def find_beginning(recipe: Recipe, ctx: Any) -> tuple[Any, dict[str, Any]]:
    """Find the weights that a training is to begin with: `recipe.init` says where they are.

    Returns an initializer that gives G these weights and moving statistics, and D what `Trainer`
    gives by itself; and what they are, for config.json. Raises ValueError if there are none, or of
    another network than the recipe's.
    """
    source = str(recipe.init)
    generator, step = load_generator(source, ctx)
    differ = {spell(name): (getattr(recipe, name), value)
              for name, value in generator.find_shape().items() if getattr(recipe, name) != value}
    if differ:
        raise ValueError(f"--init {source}: it is of another network: give "
                         + ", ".join(f"{flag} {its} (not {ours})"
                                     for flag, (ours, its) in differ.items()))
    symG, _ = make_dcgan_sym(recipe.ngf, recipe.ndf, recipe.nc, size=recipe.size)
    # Load would make up what it lacks, and take a weight for what another layer made of it.
    if _read_graph(generator.symbol) != _read_graph(symG):
        raise ValueError(f"--init {source}: its layers are not those that {typed('train')} gives "
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
    recipe, conduct = settings
    shape = (recipe.batch_size, (recipe.nc, recipe.size, recipe.size), recipe.seed)
    part: dict[str, Any] = {"threads": conduct.data_threads, "num_parts": workers.count,
                            "part_index": workers.rank}
    if recipe.dataset in ("imagenet", "folder"):
        if conduct.data_path is None:
            what = "record file" if recipe.dataset == "imagenet" else "folder of pictures"
            raise ValueError(f"--data-path is missing: give the {what}")
        make = ImagenetIter if recipe.dataset == "imagenet" else FolderIter
        train_iter = make(conduct.data_path, *shape, **part)
        print_skipped(train_iter.skipped)
        return train_iter
    root = conduct.data_path or "data"
    images = (get_mnist(root)[0] if recipe.dataset == "mnist" else
              get_fashion_mnist(root)[0] if recipe.dataset == "fashion-mnist" else make_discs())
    return MnistIter(images, *shape, **part)


def find_classifier(settings: Settings, ctx: Any = None) -> DigitClassifier | None:
    """Return the classifier of what the settings' data set shows; None where there is none."""
    if settings.recipe.dataset != "mnist":
        return None
    return load_classifier(settings.conduct.data_path or "data", ctx)


def make_judge(settings: Settings, n: int, quick: bool = False) -> Judge:
    """Make what compares images with `n` real ones of the settings' data set."""
    classifier = find_classifier(settings)
    real = take(make_train_iter(settings, Workers()), n, grey=classifier is not None)
    return Judge(real, classifier, quick)
