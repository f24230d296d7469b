"""The readers of foreign files that are fuzzed: for each, valid files and the call."""
from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import os
import shutil
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, NamedTuple

import numpy as np

from dcgan_mx import ImagenetIter, MnistIter, RandIter, Trainer, make_dcgan_sym
from dcgan_mx.cli import train_args
from dcgan_mx.cli.main import COMMANDS
from dcgan_mx.cli.resolve import load_init_weights
from dcgan_mx.data import packing, recordio
from dcgan_mx.data.datasets import make_discs
from dcgan_mx.data.image_files import FORMATS
from dcgan_mx.distributed.launchers import check_hosts
from dcgan_mx.export import browser_demo
from dcgan_mx.export.layers import read_network
from dcgan_mx.metrics.linear_probe import Features
from dcgan_mx.reports.report import write_report
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint_files import OPTIONAL, PARAMS, STATE, SYMBOLS, encode_state
from dcgan_mx.runs.config import DEFAULTS
from dcgan_mx.runs.params import dump_params, parse_params
from dcgan_mx.runs.run import Run
from dcgan_mx.runs.stop_reason import StopReason
from dcgan_mx.sampling import pretrained
from dcgan_mx.sampling.animation import animate
from dcgan_mx.sampling.generator import load_generator, load_network
from dcgan_mx.system.devices import make_contexts
from dcgan_mx.system.job_role import read_role
from dcgan_mx.system.runtime import mx
from dcgan_mx.visual import read_png

from ..quality.make_pretrained import round_weights, write_pretrained
from .sample_images import draw

METRICS = {"frechet": 3.5, "precision": 0.5, "recall": 0.25, "swd": 12.5, "ms_ssim": 0.125}


class Target(NamedTuple):
    """A reader of files from untrusted sources.

    Attributes
    ----------
    file
        Path of the mutated file below the reader's folder.
    make
        Writes the other files that the reader needs into that folder; returns valid files.
    read
        Takes the file's path; may raise ValueError or OSError.
    """

    file: str
    make: Callable[[Path], Iterable[bytes]]
    read: Callable[[Path], object]


def _make_params(_: Path) -> Iterator[bytes]:
    several: tuple[dict[str, np.ndarray], ...] = (
        {"arg:a": np.ones((2, 3), np.float32), "aux:b": np.zeros(0)}, {"x": np.arange(4)}, {})
    for arrays in several:
        yield b"".join(bytes(chunk) for chunk in dump_params(arrays))


@functools.lru_cache(maxsize=None)
def _trainer() -> Trainer:
    """Return a tiny trainer, whose checkpoints have all files except `replicas.params`."""
    mx.random.seed(0)
    trainer = Trainer(*make_dcgan_sym(2, 2, 3, size=16), 4, (3, 16, 16), nz=4, ema_decay=0.9)
    trainer.fit(MnistIter(make_discs(8), 4, (3, 16, 16)), RandIter(4, 4), 1)
    return trainer


def _make_checkpoint(*names: str) -> Callable[[Path], Iterator[bytes]]:
    def make(folder: Path) -> Iterator[bytes]:
        saved = checkpoint.save(folder, _trainer(), seed=1)
        shutil.copy(saved / STATE, folder / "checksums.json")
        return iter([(saved / name).read_bytes() for name in names])
    return make


def _checksum(path: Path) -> Path:
    """Write the digest of a mutated file into state.json, as an attacker would."""
    document = json.loads((path.parents[2] / "checksums.json").read_bytes())
    del document["sha256"]
    document["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (path.parent / STATE).write_bytes(encode_state(document))
    return path.parent


def _read_state(path: Path) -> None:
    """Read the file as it is, or, every second time, with a matching digest."""
    raw = path.read_bytes()
    if zlib.crc32(raw) % 2:
        with contextlib.suppress(ValueError, AttributeError, TypeError, RecursionError):
            document = json.loads(raw)
            document.pop("sha256", None)
            path.write_bytes(encode_state(document))
    checkpoint.load(path.parent, _trainer())


def _checksummed(file: str, read: Callable[[Path], object]) -> Target:
    folder = "checkpoints/step-00000002/"
    return Target(folder + file, _make_checkpoint(file), lambda path: read(_checksum(path)))


def _load(folder: Path) -> None:
    checkpoint.load(folder, _trainer())


def _generate(folder: Path) -> None:
    """Generate as `sample` does; the networks come from the checkpoint."""
    loaded, _ = load_generator(folder.parents[1])
    with contextlib.suppress(mx.base.MXNetError):  # too little memory: commands report that
        loaded.generate(np.zeros((1, loaded.nz), np.float32))


def _make_pretrained(suffix: str) -> Callable[[Path], list[bytes]]:
    def make(folder: Path) -> list[bytes]:
        pretrained.FOLDER = folder
        params = round_weights(_trainer().get_state()["G"])
        metadata = {"dataset": "mnist", "size": 16, "nc": 3, "nz": 4, "ngf": 2, "step": 2,
                 "weights": "ema"}
        path = write_pretrained("mutated", params, metadata, force=True)
        return [path.with_suffix(suffix).read_bytes()]
    return make


def _read_pretrained(path: Path) -> None:
    """Read the file as it is, or, every second time, with a matching digest."""
    pretrained.FOLDER = path.parent
    metadata = path.with_suffix(".json")
    if zlib.crc32(path.read_bytes()) % 2:
        with contextlib.suppress(ValueError, AttributeError, TypeError, KeyError, RecursionError):
            document = json.loads(metadata.read_bytes())
            document.pop("sha256", None)
            if path != metadata:
                document["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
            metadata.write_bytes(encode_state(document))
    load_generator(f"{pretrained.PREFIX}mutated")


def _make_run(folder: Path) -> Run:
    run = Run(folder)
    config: dict[str, Any] = {"flags": DEFAULTS.replace({"dataset": "mnist"}).to_flags(),
                              "device": "cpu(0)", "workers": 1}
    run.write_config(config)
    for step in (10, 20, 30):
        run.log({"epoch": 0, "step": step, "acc": 0.5, "d_entropy": 0.1, "g_entropy": None,
                 "images_per_s": 64.0, "seconds": step / 2})
        run.draw("gout", step, np.zeros((2, 3, 16, 16), np.float32))
    run.log({"step": 30, "epoch": 0, "seconds": 16.0, **METRICS})
    run.write_result(StopReason("max_steps", 30, 0, 30))
    run.write_evaluation({"step": 30, "images": 64, "baseline": {**METRICS, "class_counts": [2, 1]},
                          "class_counts": [1, 2], "svm_errors": {"10": 0.5}, **METRICS},
                         np.zeros((8, 8, 3), np.uint8))
    return run


def _in_run(file: str, read: Callable[[Run], object]) -> Target:
    """Return a target for a file of a run, which its own reader and the report read."""
    def make(folder: Path) -> list[bytes]:
        return [(_make_run(folder).path / file).read_bytes()]

    def read_both(path: Path) -> None:
        run = Run(path.parent)
        read(run)
        write_report(run.path)
    return Target(file, make, read_both)


def _make_records(_: Path) -> Iterator[bytes]:
    images = [next(draw("JPEG")), next(draw("PNG")), struct.pack("<I", 0xced7230a) * 3]
    yield b"".join(recordio.encode_record(image, n) for n, image in enumerate(images[:2]))
    yield b"".join(recordio.encode_record(image, n) for n, image in enumerate(images))
    header = struct.pack("<IIIfQQ", 0xced7230a, 24 + len(images[0]), 0, 1.0, 5, 0)  # no checksum
    yield header + images[0] + bytes(-len(images[0]) % 4)


def _read_records(path: Path) -> None:
    packing.pack(path, path.with_name("packed.rec"), 16)


def _train_on_records(path: Path) -> None:
    """Read as a training does; a warning names a damaged image."""
    batches = ImagenetIter(path, 1, (3, 16, 16), crop=(16, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(min(4, batches.num_batches)):
            batches.next().data[0].wait_to_read()


def _read_image(path: Path) -> None:
    """Pack the image, scaled or not."""
    resize = (0, 16, 40)[zlib.crc32(path.read_bytes()) % 3]
    packing.pack(path.parent, path.parents[1] / "packed.rec", resize)


def _make_grids(folder: Path) -> list[bytes]:
    run = Run(folder)
    for step, channels in ((1, 3), (2, 1)):
        run.draw("gout", step, np.zeros((2, channels, 16, 16), np.float32))
    return [path.read_bytes() for path in run.list_grids("gout").values()]


def _animate(path: Path) -> None:
    os.environ["PATH"] = ""  # ffmpeg is not started
    animate(path.parents[1])


def _export(folder: Path) -> None:
    """Read the networks as `export` does, as a list of layers or as stages of a page."""
    for network in ("G", "D"):
        symbol, params, _ = load_network(folder, network)
        layers = read_network(symbol.tojson(), params)
        if network == "G":
            browser_demo.fold(layers)


def _describe(folder: Path) -> None:
    """Compute features as `evaluate --linear-probe` does."""
    Features(folder, (3, 16, 16)).extract(np.zeros((1, 3, 16, 16), np.float32))


def _begin(folder: Path) -> None:
    """Load weights as `train --init-from` does."""
    settings = {"init_from": str(folder), "size": 16, "nc": 3, "nz": 4, "ngf": 2}
    load_init_weights(DEFAULTS.replace(settings).config, *make_contexts())


def _make_hosts(_: Path) -> list[bytes]:
    return [b"a.example\nuser@b-1.example:22\n", b"10.0.0.1 slots=4\n10.0.0.2 slots=2\n\n"]


def _make_flags(_: Path) -> Iterator[bytes]:
    yield b"train\0--dataset\0mnist\0--lr\0" + b"0.1\0--batch-size=8\0--gpu\0000,1"
    yield b"train\0--dataset\0synthetic\0--resume\0--run-dir\0run\0--override\0lr,seed\0--lr\0001"
    for name in COMMANDS:
        flags = importlib.import_module(f"dcgan_mx.cli.{name}").make_parser()
        for action in flags._actions:  # argparse lists them nowhere else
            for option in action.option_strings[-1:]:
                yield f"{name}\0{option}\0{action.default}".encode()


def _read_flags(path: Path) -> None:
    name, *argv = path.read_bytes().decode(errors="surrogateescape").split("\0")
    if name == "train":
        train_args.parse(argv)
    elif name in COMMANDS:
        importlib.import_module(f"dcgan_mx.cli.{name}").make_parser().parse_args(argv)


def _read_role(path: Path) -> None:
    lines = path.read_text(errors="surrogateescape").split("\0")
    read_role({line.partition("=")[0]: line.partition("=")[2] for line in lines})


_STATE_FILE = f"checkpoints/step-00000002/{STATE}"
TARGETS: dict[str, Target] = {
    "params": Target("a.params", _make_params, lambda path: parse_params(path.read_bytes(), path)),
    "state.json": Target(_STATE_FILE, _make_checkpoint(STATE), _read_state),
    **{file: _checksummed(file, _load) for file in (*SYMBOLS, *PARAMS, OPTIONAL[1])},
    "generator's symbol": _checksummed(SYMBOLS[0], _generate),
    "generator's params": _checksummed(PARAMS[0], _generate),
    "pretrained's metadata": Target("mutated.json", _make_pretrained(".json"), _read_pretrained),
    "pretrained's params": Target("mutated.params", _make_pretrained(".params"), _read_pretrained),
    "config.json": _in_run("config.json", Run.read_settings),
    "log.jsonl": _in_run("log.jsonl", Run.read_log),
    "result.json": _in_run("result.json", Run.read_result),
    "evaluation.json": _in_run("evaluation.json", Run.read_evaluation),
    "records": Target("a.rec", _make_records, _read_records),
    "records in training": Target("a.rec", _make_records, _train_on_records),
    **{kind: Target("images/a", lambda _, kind=kind: draw(kind),  # type: ignore[misc]
                    _read_image) for kind in FORMATS},
    "grid": Target("a.png", _make_grids, read_png),
    "grid of an animation": Target("grids/gout-00000002.png", _make_grids, _animate),
    **{f"exported {file}": _checksummed(file, _export) for file in (*SYMBOLS, *PARAMS)},
    **{f"{file} for features": _checksummed(file, _describe) for file in (SYMBOLS[1], PARAMS[1])},
    **{f"{file} for --init-from": _checksummed(file, _begin) for file in (SYMBOLS[0], PARAMS[0])},
    "hosts": Target("hosts", _make_hosts, check_hosts),
    "flags": Target("flags", _make_flags, _read_flags),
    "variables": Target("variables", lambda _: [
        b"DMLC_ROLE=worker\0DMLC_PS_ROOT_URI=a\0DMLC_PS_ROOT_PORT=9000\0DMLC_NUM_WORKER=1\0"
        b"DMLC_NUM_SERVER=1"], _read_role),
}
