"""The flags of scripts/train.py, and from flags to objects."""
import argparse
import importlib.util
import json
import os
import platform
import warnings
from pathlib import Path

import cv2
import numpy as np

from ..runs import rundir
from .cli import Parser, number, print_skipped, show_packing
from ..data.datasets import get_fashion_mnist, get_mnist, make_discs
from ..machine.device import KVSTORES
from ..iterators import MnistIter
from ..data.record_iterators import FolderIter, ImagenetIter
from ..machine.runtime import mx
from ..symbols import SIZES
from ..version import __version__
from ..visual import can_show

# Flags that decide a run's numbers: a resumed run must have the same, unless --override names them.
OVERRIDABLE = ("batch_size", "lr", "beta1", "wd", "d_steps", "g_loss", "seed")
DECISIVE = ("dataset", "nz", "ngf", "ndf", "nc", "size", *OVERRIDABLE)
# Flags that decide when workers have to meet.
MEETING = ("num_epochs", "max_steps", "checkpoint_steps", "disp_batches")


def make_train_parser():
    """Make the parser of scripts/train.py."""
    parser = Parser("Train a DCGAN as in the blog post; the defaults are the blog's.")
    count, add = number(int, least=1, below=2**31), parser.add
    add("--dataset", "digits, clothes, a record file, a folder of pictures, or discs that are "
        "drawn on the spot", choices=("mnist", "fashion-mnist", "imagenet", "folder", "synthetic"))
    add("--data-path", "imagenet: the record file; folder: the folder; else where the folder of "
        "the data set is, or will be (default: data)", metavar="PATH")
    add("--gpu", "number of the GPU, or numbers with commas between; absent: the CPU",
        metavar="N,..")
    add("--cpu-devices", "train on so many contexts of the CPU, as on so many GPUs; slower",
        type=number(int, least=1, below=2**10), metavar="N")
    add("--kv-store", "what adds up the gradients: of several devices, through the host's memory "
        "(local) or a GPU's (device); of the workers that scripts/launch.py starts (dist_...)",
        choices=KVSTORES, default="local")
    add("--require-gpu", "fail where there is no GPU", action="store_true")
    add("--batch-size", "images a step, of each worker", type=count, default=64, metavar="N")
    add("--num-epochs", "passes over the data", type=count, default=100, metavar="N")
    add("--max-steps", "end the run after so many steps", type=count, metavar="N")
    add("--lr", "Adam's learning rate", type=number(float, above=0), default=2e-4, metavar="X")
    add("--beta1", "Adam's first decay rate", type=number(float, least=0, below=1), default=0.5,
        metavar="X")
    add("--wd", "weight decay", type=number(float, least=0), default=0.0, metavar="X")
    add("--nz", "length of the latent vector", type=count, default=100, metavar="N")
    add("--ngf", "channels of the generator's last hidden layer", type=count, default=64,
        metavar="N")
    add("--ndf", "channels of the discriminator's first layer", type=count, default=64,
        metavar="N")
    add("--nc", "channels of an image: 1 (grey) or 3 (RGB)", type=int, choices=(1, 3), default=3)
    add("--size", "height and width of an image in pixels", type=int, choices=SIZES, default=64)
    add("--d-steps", "updates of D for each of G, the paper's k", type=count, default=1,
        metavar="N")
    add("--g-loss", "what G descends: -log D(G(z)), or log(1 - D(G(z)))",
        choices=("nonsaturating", "saturating"), default="nonsaturating")
    add("--seed", "of weights, noise and the data's order", default=1234,
        type=number(int, least=0, below=2**31), metavar="N")
    add("--data-threads", "threads that prepare batches; they change no number", type=count,
        default=1, metavar="N")
    add("--run-dir", "new folder for all results; absent: runs/DATASET-TIME", metavar="DIR")
    add("--resume", "go on with the run in --run-dir, or with the newest of this data set",
        action="store_true")
    add("--override", "flags that may differ from those of the resumed run, as in lr,seed",
        type=_flag_names, default=(), metavar="NAMES")
    add("--checkpoint-steps", "steps from one checkpoint to the next; absent: one an epoch",
        type=count, metavar="N")
    add("--keep", "newest checkpoints to keep; 0: all", type=number(int, least=0), default=0,
        metavar="N")
    add("--disp-batches", "steps from one log line and set of grids to the next", type=count,
        default=10, metavar="N")
    add("--fixed-noise", "draw the images of the same 64 latent vectors each time, too",
        action="store_true")
    add("--tensorboard", "write for TensorBoard, too, into the run directory", action="store_true")
    add("--show", "show the grids in windows, too", action="store_true")
    add("--dry-run", "print the settings and leave", action="store_true")
    return parser


def _flag_names(text):
    names = tuple(name.strip().replace("-", "_") for name in text.split(","))
    for name in names:
        if name not in OVERRIDABLE:
            raise argparse.ArgumentTypeError(f"{name!r} cannot be overridden: give some of "
                                             f"{', '.join(OVERRIDABLE)}, or start a new run")
    return names


def parse_train_args(argv=None):
    """Parse the flags of scripts/train.py; with --resume, on top of those that the run has.

    Parameters
    ----------
    argv : list of str, optional
        The command line's if left out.

    Returns
    -------
    argparse.Namespace
        `resume` says whether `run_dir` is there to go on with.

    Raises
    ------
    ValueError
        If a flag is bad, or differs from the resumed run's where that decides its numbers.
    OSError
        If the run's settings cannot be read.
    """
    parser = make_train_parser()
    args = parser.parse_args(argv)
    if args.run_dir == "":
        raise ValueError("--run-dir is empty: give a name, or leave it out")
    if args.override and not args.resume:
        raise ValueError("--override without --resume: leave it out")
    if args.resume and args.run_dir is None:
        args.run_dir = _newest_run(args.dataset)
    if args.resume and (args.dataset is None or os.path.lexists(args.run_dir)):
        args = _merge(parser, args, argv)
    if args.show and not can_show():
        raise ValueError("--show: matplotlib can open no window here: set DISPLAY or MPLBACKEND, "
                         "or look at the grids in the run directory")
    if args.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise ValueError("--tensorboard: the package tensorboardX is missing: pip install "
                         "'.[tensorboard]'")
    if args.resume and os.path.lexists(args.run_dir):
        return args
    args.resume = False  # the first start of a command that will be typed again
    if args.dataset is None:
        parser.error("--dataset is missing: give one of mnist, fashion-mnist, imagenet, folder "
                     "and synthetic")
    if args.run_dir is not None and os.path.lexists(args.run_dir):
        raise ValueError(f"--run-dir {args.run_dir}: exists already: give a new one, or --resume")
    return args


def _newest_run(dataset):
    """Return the folder of the run of a data set that was started or resumed last."""
    if dataset is None:
        raise ValueError("--resume: which run? give --run-dir, or the command that started it")
    configs = list(Path("runs").glob(f"{dataset}-*/config.json"))
    if not configs:
        raise ValueError(f"--resume: no run of {dataset} in {Path('runs').absolute()}: give "
                         "--run-dir, or leave --resume out")
    return str(max(configs, key=lambda path: path.stat().st_mtime_ns).parent)


def _merge(parser, args, argv):
    """Put the flags that were given on top of those of the run in `args.run_dir`."""
    absent = object()
    parser.set_defaults(**dict.fromkeys(vars(args), absent))
    given = {name: value for name, value in vars(parser.parse_args(argv)).items()
             if value is not absent}
    merged = parse_saved(rundir.read_config(args.run_dir)["flags"], args.run_dir)
    for name, value in given.items():
        old = getattr(merged, name)
        if name in DECISIVE and value != old and name not in args.override:
            raise ValueError(f"--{name.replace('_', '-')} is {value}, but the run in "
                             f"{args.run_dir} has {old}: leave it out, or "
                             + (f"add --override {name}" if name in OVERRIDABLE
                                else "start a new run"))
        setattr(merged, name, value)
    for name, other in (("gpu", "cpu_devices"), ("cpu_devices", "gpu")):
        if name in given and other not in given:
            setattr(merged, other, None)
    merged.run_dir = args.run_dir
    return merged


def parse_saved(flags, run_dir):
    """Check the flags in a run's config.json as if they were typed.

    Parameters
    ----------
    flags : dict
        Of a config that `rundir.read_config` returns.
    run_dir : str or os.PathLike
        What errors call the run.

    Returns
    -------
    argparse.Namespace

    Raises
    ------
    ValueError
        If a flag is missing, unknown or bad.
    """
    parser = make_train_parser()
    known = vars(parser.parse_args([]))
    argv = []
    for name, value in flags.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            argv.append(flag)
        elif value is not None and value is not False:
            argv.append(f"{flag}={value}")
    try:
        if not {*DECISIVE} <= flags.keys() <= known.keys() or flags["dataset"] is None:
            raise ValueError("flags are missing, or not known here")
        return parser.parse_args(argv)
    except ValueError as error:
        raise ValueError(f"{Path(run_dir) / 'config.json'}: {error}") from None


def make_train_iter(args, workers):
    """Make the iterator over the real images that the flags name, the part of this worker."""
    shape = (args.batch_size, (args.nc, args.size, args.size), args.seed)
    part = {"threads": args.data_threads, "num_parts": workers.count, "part_index": workers.rank}
    if args.dataset in ("imagenet", "folder"):
        if args.data_path is None:
            what = "record file" if args.dataset == "imagenet" else "folder of pictures"
            raise ValueError(f"--data-path is missing: give the {what}")
        if args.dataset == "imagenet":
            return ImagenetIter(args.data_path, *shape, **part)
        train_iter = FolderIter(args.data_path, *shape, **part, progress=show_packing)
        print_skipped(train_iter.skipped)
        return train_iter
    root = args.data_path or "data"
    images = (get_mnist(root)[0] if args.dataset == "mnist" else
              get_fashion_mnist(root)[0] if args.dataset == "fashion-mnist" else make_discs())
    return MnistIter(images, *shape, **part)


def require_same_flags(args, contexts, workers):
    """Raise ValueError if workers differ in what decides a run's numbers, or when they meet."""
    resumes = workers.gather([args.resume])[:, 0]
    if resumes.any() and not resumes[0]:
        raise ValueError(f"--run-dir {args.run_dir}: is not on the first worker's disk, but on "
                         "another's: bring it there, or give a new one")
    flags = {name: getattr(args, name) for name in (*DECISIVE, *MEETING)}
    workers.require_same(json.dumps({**flags, "devices": len(contexts)}), "flags")


def make_config(args, contexts, workers):
    """Return every resolved flag, and what else decides or explains a run's numbers."""
    flags = {name: value for name, value in vars(args).items()
             if name not in ("resume", "override")}
    return {"flags": flags, "device": ", ".join(map(str, contexts)),
            "workers": workers.count,
            "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
            "versions": {"dcgan_mx": __version__, "mxnet": mx.__version__,
                         "numpy": np.__version__, "opencv": cv2.__version__,
                         "python": platform.python_version()}}


def check_same(old, new):
    """Compare the config that a run has with the one that it is resumed with.

    Parameters
    ----------
    old, new : dict
        As `make_config` returns them, with the fingerprint of the data as `data`.

    Raises
    ------
    ValueError
        If the data differ.

    Warns
    -----
    RuntimeWarning
        If the number of workers or devices differs: what that changes. If the device, the
        threads or a version differ: the last bits of the numbers may.
    """
    if old.get("data") != new["data"]:
        raise ValueError(f"--data-path {new['flags']['data_path']}: these are not the pictures "
                         f"that the run began with (records: {_records(new)}, then "
                         f"{_records(old)}): bring those back, or start a new run")
    copies = [(config.get("workers", 1), str(config.get("device")).count(",") + 1)
              for config in (old, new)]
    if copies[0] != copies[1]:
        told = [f"{n} x {k}" for n, k in copies]
        warnings.warn(f"--resume: workers x devices is {told[1]}, and was {told[0]}: BatchNorm "
                      "sees other parts of the batches, and all go on with the average of the "
                      "moving statistics"
                      + ("" if copies[0][0] == copies[1][0] else "; the epoch begins anew"),
                      RuntimeWarning, stacklevel=2)
    for name in ("device", "omp_num_threads", "versions"):
        if old.get(name) != new[name]:
            warnings.warn(f"--resume: {name} is {new[name]}, and was {old.get(name)}: the numbers "
                          "may differ in their last bits", RuntimeWarning, stacklevel=2)


def _records(config):
    data = config.get("data")
    return data.get("records") if isinstance(data, dict) else None
