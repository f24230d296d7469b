"""DCGAN on MXNet: the program of the 2016 blog post, exact and fast on today's Python."""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from .system.compat import add_missing_names
from .visual import fill_buf, visual  # now: the name would later mean the module

if TYPE_CHECKING:
    from .cli.train import train
    from .data.datasets import get_mnist
    from .iterators import FolderIter, ImagenetIter, MnistIter, RandIter
    from .metrics.feature_sets import frechet_distance, precision_recall
    from .metrics.ms_ssim import ms_ssim
    from .metrics.swd import sliced_wasserstein
    from .sampling.generator import load_pretrained
    from .symbols import make_dcgan_sym
    from .trainer import Trainer

__version__ = "0.1.0"

add_missing_names()  # a later `import mxnet` works

# Names are imported on first use, so that `import dcgan_mx` does not import MXNet.
_MODULES = {
    "FolderIter": "iterators", "ImagenetIter": "iterators", "MnistIter": "iterators",
    "RandIter": "iterators", "Trainer": "trainer", "frechet_distance": "metrics.feature_sets",
    "get_mnist": "data.datasets", "load_pretrained": "sampling.generator",
    "make_dcgan_sym": "symbols", "ms_ssim": "metrics.ms_ssim",
    "precision_recall": "metrics.feature_sets", "sliced_wasserstein": "metrics.swd",
    "train": "cli.train"}

__all__ = ["FolderIter", "ImagenetIter", "MnistIter", "RandIter", "Trainer", "__version__",
           "fill_buf", "frechet_distance", "get_mnist", "load_pretrained", "make_dcgan_sym",
           "ms_ssim", "precision_recall", "sliced_wasserstein", "train", "visual"]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
