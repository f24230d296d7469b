"""DCGAN on MXNet: the program of the 2016 blog post, exact and fast on today's Python."""
from importlib import import_module

from .version import __version__

# The function has its module's name, which an import of the module later on would put in its place.
from .visual import fill_buf, visual

_HOMES = {"FolderIter": "record_iterators", "ImagenetIter": "record_iterators",
          "MnistIter": "iterators", "RandIter": "iterators", "Trainer": "trainer",
          "get_mnist": "datasets", "make_dcgan_sym": "symbols"}
__all__ = ["FolderIter", "ImagenetIter", "MnistIter", "RandIter", "Trainer", "__version__",
           "fill_buf", "get_mnist", "make_dcgan_sym", "visual"]


def __getattr__(name):
    """Import a public name on its first use, so that the doctor can be run without MXNet."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__():
    return sorted({*globals(), *__all__})
