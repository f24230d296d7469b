"""From settings to real images, and to what compares others with them."""
from __future__ import annotations

import sys
from typing import Any

from ..data.datasets import get_fashion_mnist, get_mnist, make_discs
from ..images.digits import DigitClassifier, load_classifier
from ..images.evaluation import Judge, take
from ..iterators import EpochIter, FolderIter, ImagenetIter, MnistIter
from ..runs.settings import Settings
from ..training.workers import Workers
from .cli import print_skipped, show_packing


def make_train_iter(settings: Settings, workers: Workers) -> EpochIter:
    """Make the iterator over the real images that the settings name, the part of this worker.

    Raises
    ------
    ValueError
        If they cannot be found, or are too few.
    OSError
        If a file cannot be read, or the cache not be written.
    """
    recipe, conduct = settings
    shape = (recipe.batch_size, (recipe.nc, recipe.size, recipe.size), recipe.seed)
    part: dict[str, Any] = {"threads": conduct.data_threads, "num_parts": workers.count,
                            "part_index": workers.rank}
    if recipe.dataset in ("imagenet", "folder"):
        if conduct.data_path is None:
            what = "record file" if recipe.dataset == "imagenet" else "folder of pictures"
            raise ValueError(f"--data-path is missing: give the {what}")
        if recipe.dataset == "imagenet":
            return ImagenetIter(conduct.data_path, *shape, **part)
        train_iter = FolderIter(conduct.data_path, *shape, **part, progress=show_packing)
        print_skipped(train_iter.skipped)
        for path, why in train_iter.removed:
            print(f"removed from the cache: {path}, {why}", file=sys.stderr)
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
