"""DCGAN on MXNet: the program of the 2016 blog post, exact and fast on today's Python."""
from .datasets import get_mnist
from .iterators import MnistIter, RandIter
from .record_iterators import FolderIter, ImagenetIter
from .symbols import make_dcgan_sym
from .trainer import Trainer
from .version import __version__
from .visual import fill_buf, visual

__all__ = ["FolderIter", "ImagenetIter", "MnistIter", "RandIter", "Trainer", "__version__",
           "fill_buf", "get_mnist", "make_dcgan_sym", "visual"]
