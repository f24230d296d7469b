"""The readers of untrusted files that are fuzzed: for each, valid files and the call."""
from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, NamedTuple

import numpy as np
from PIL import Image

from dcgan_mx import ImagenetIter, MnistIter, RandIter, Trainer, make_dcgan_sym
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
from dcgan_mx.runs.checkpoint_files import AVERAGE, PARAMS, STATE, SYMBOLS, encode_state
from dcgan_mx.runs.config import DEFAULTS
from dcgan_mx.runs.params import dump_params, parse_params
from dcgan_mx.runs.run import Run
from dcgan_mx.runs.stop_reason import StopReason
from dcgan_mx.sampling import pretrained
from dcgan_mx.sampling.animation import animate
from dcgan_mx.sampling.generator import load_generator, load_network
from dcgan_mx.system.devices import make_contexts
from dcgan_mx.system.runtime import mx
from dcgan_mx.visual import read_png

from ..quality.make_pretrained import round_weights, write_pretrained

METRICS = {"frechet": 3.5, "precision": 0.5, "recall": 0.25, "swd": 12.5, "ms_ssim": 0.125}


class Target(NamedTuple):
    """A reader of files from untrusted sources."""

    file: str  # path of the mutated file below the reader's folder
    make: Callable[[Path], Iterable[bytes]]  # writes other files that it needs; returns valid files
    read: Callable[[Path], object]  # takes the file's path; may raise ValueError or OSError


def _make_params(_: Path) -> Iterator[bytes]:
    several: tuple[dict[str, np.ndarray], ...] = (
        {"arg:a": np.ones((2, 3), np.float32), "aux:b": np.zeros(0)}, {"x": np.arange(4)}, {})
    for arrays in several:
        yield b"".join(map(bytes, dump_params(arrays)))


@functools.lru_cache(maxsize=None)
def _trainer() -> Trainer:
    """Return a tiny trainer, whose checkpoints have all files except `replicas.params`."""
    mx.random.seed(0)
    trainer = Trainer(*make_dcgan_sym(2, 2, 3, size=16), 4, (3, 16, 16), nz=4, ema_decay=0.9)
    trainer.fit(MnistIter(make_discs(8), 4, (3, 16, 16)), RandIter(4, 4), 1)
    return trainer


def _update_checksums(path: Path, metadata: Path) -> None:
    """Write matching checksums into the JSON file beside a mutated file, as an attacker would."""
    if zlib.crc32(path.read_bytes()) % 4 == 0:
        return  # a damaged file
    with contextlib.suppress(ValueError, AttributeError, TypeError, KeyError, RecursionError):
        document = json.loads(metadata.read_bytes())
        document.pop("sha256", None)
        if path != metadata:
            document["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        metadata.write_bytes(encode_state(document))


def _in_checkpoint(file: str, read: Callable[[Path], object]) -> Target:
    """Return a target for a file of a checkpoint; `read` takes the checkpoint's folder."""
    def make(folder: Path) -> list[bytes]:
        return [(checkpoint.save(folder, _trainer(), seed=1) / file).read_bytes()]

    def read_folder(path: Path) -> None:
        _update_checksums(path, path.parent / STATE)
        read(path.parent)
    return Target(f"checkpoints/step-00000002/{file}", make, read_folder)


def _generate(folder: Path) -> None:
    """Generate as `sample` does; the networks come from the checkpoint."""
    loaded, _ = load_generator(folder.parents[1])
    with contextlib.suppress(mx.base.MXNetError):  # too little memory: commands report that
        loaded.generate(np.zeros((1, loaded.nz), np.float32))


def _export(folder: Path) -> None:
    """Read the networks as `export` does, as a list of layers or as stages of a page."""
    for network in ("G", "D"):
        symbol, params, _ = load_network(folder, network)
        layers = read_network(symbol.tojson(), params)
        if network == "G":
            browser_demo.fold(layers)


def _init_from(folder: Path) -> None:
    """Load weights as `train --init-from` does."""
    settings = {"init_from": str(folder), "size": 16, "nc": 3, "nz": 4, "ngf": 2}
    load_init_weights(DEFAULTS.replace(settings).config, *make_contexts())


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
    _update_checksums(path, path.with_suffix(".json"))
    load_generator(f"{pretrained.PREFIX}mutated")


def _in_mxnet_checkpoint(file: str) -> Target:
    """Return a target for a file of a checkpoint that MXNet wrote."""
    def make(folder: Path) -> list[bytes]:
        modG = _trainer().modG
        mx.model.save_checkpoint(str(folder / "dcgan_G"), 1, modG.symbol, *modG.get_params())
        return [(folder / file).read_bytes()]
    return Target(file, make, lambda path: load_generator(path.parent / "dcgan_G"))


def _make_run(folder: Path) -> Run:
    run = Run(folder)
    run.write_config({"flags": DEFAULTS.replace({"dataset": "mnist"}).to_flags(),
                      "device": "cpu(0)", "workers": 1})
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


_ROTATED = Image.Exif()
_ROTATED[0x0112] = 6  # orientation
# The modes and options of Pillow in which small images of each format are saved.
_VARIANTS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "BMP": [("RGB", {}), ("P", {}), ("1", {}), ("RGBA", {})],
    "GIF": [("P", {}), ("P", {"save_all": True, "append_images": [Image.new("P", (20, 17))]})],
    "JPEG": [("RGB", {}), ("L", {"progressive": True}), ("CMYK", {}),
             ("RGB", {"exif": _ROTATED})],
    "PNG": [("RGB", {}), ("RGBA", {}), ("P", {"transparency": 0}), ("L", {}), ("I;16", {}),
            ("1", {})],
    "PPM": [("RGB", {}), ("L", {}), ("1", {})],
    "TIFF": [("RGB", {}), ("RGB", {"compression": "tiff_lzw"}), ("CMYK", {}),
             ("RGB", {"compression": "tiff_deflate"}), ("1", {"compression": "group4"}),
             ("RGB", {"compression": "jpeg"}), ("I;16", {})],
    "WEBP": [("RGB", {}), ("RGBA", {"lossless": True})]}


def _make_images(kind: str, _: Path) -> Iterator[bytes]:
    pixels = np.random.default_rng(0).integers(256, size=(17, 20, 4)).astype(np.uint8)
    for mode, options in _VARIANTS[kind]:
        image = (Image.fromarray(pixels[..., 0] * np.uint16(257)) if mode == "I;16" else
                 Image.fromarray(pixels if mode == "RGBA" else pixels[..., :3]).convert(mode))
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        yield buffer.getvalue()


def _make_archives(modes: Iterable[Any], folder: Path) -> Iterator[bytes]:
    """Make archives of three images and a text: ZIP (numbers of compressions) or tar (modes)."""
    images = [next(_make_images(kind, folder)) for kind in ("JPEG", "PNG", "BMP")]
    files = dict(zip(("a.jpg", "b/c.png", "d" * 120, ".e"), (*images, b"text")))
    for mode in modes:
        buffer = io.BytesIO()
        if isinstance(mode, int):
            with zipfile.ZipFile(buffer, "w", mode) as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
        else:
            with tarfile.open(fileobj=buffer, mode=mode) as tar:
                for name, content in files.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                link = tarfile.TarInfo("link")
                link.type, link.linkname = tarfile.LNKTYPE, "a.jpg"
                tar.addfile(link)
        yield buffer.getvalue()


def _make_records(folder: Path) -> Iterator[bytes]:
    jpeg, png = (next(_make_images(kind, folder)) for kind in ("JPEG", "PNG"))
    images = [jpeg, png, struct.pack("<I", 0xced7230a) * 3]
    yield b"".join(recordio.encode_record(image, n) for n, image in enumerate(images[:2]))
    yield b"".join(recordio.encode_record(image, n) for n, image in enumerate(images))
    header = struct.pack("<IIIfQQ", 0xced7230a, 24 + len(jpeg), 0, 1.0, 5, 0)  # no checksum
    yield header + jpeg + bytes(-len(jpeg) % 4)


def _pack_records(path: Path) -> None:
    packing.pack(path, path.with_name("packed.rec"), 16)


def _train_on_records(path: Path) -> None:
    """Read as training does; a warning names a damaged image."""
    batches = ImagenetIter(path, 1, (3, 16, 16), crop=(16, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(min(4, batches.num_batches)):
            batches.next().data[0].wait_to_read()


def _pack_image(path: Path) -> None:
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


# By the words before a file's name: how a checkpoint is read, and which of its files matter.
_CHECKPOINT_READERS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "": (lambda folder: checkpoint.load(folder, _trainer()), (STATE, *SYMBOLS, *PARAMS, AVERAGE)),
    "generator's ": (_generate, (SYMBOLS[0], PARAMS[0])),
    "exported ": (_export, (*SYMBOLS, *PARAMS[:2])),
    "linear probe's ": (lambda folder: Features(folder, (3, 16, 16)).extract(
        np.zeros((1, 3, 16, 16), np.float32)), (SYMBOLS[1], PARAMS[1])),
    "--init-from ": (_init_from, (SYMBOLS[0], PARAMS[0]))}
TARGETS: dict[str, Target] = {
    "params": Target("a.params", _make_params, lambda path: parse_params(path.read_bytes(), path)),
    **{words + file: _in_checkpoint(file, read)
       for words, (read, files) in _CHECKPOINT_READERS.items() for file in files},
    "pretrained's metadata": Target("mutated.json", _make_pretrained(".json"), _read_pretrained),
    "pretrained's params": Target("mutated.params", _make_pretrained(".params"), _read_pretrained),
    **{f"MXNet's {file}": _in_mxnet_checkpoint(file)
       for file in ("dcgan_G-symbol.json", "dcgan_G-0001.params")},
    "config.json": _in_run("config.json", Run.read_settings),
    "log.jsonl": _in_run("log.jsonl", Run.read_log),
    "result.json": _in_run("result.json", Run.read_result),
    "evaluation.json": _in_run("evaluation.json", Run.read_evaluation),
    "records": Target("a.rec", _make_records, _pack_records),
    "ZIP archive": Target("a", functools.partial(_make_archives, (0, 8, 12, 14)), _pack_records),
    "tar archive": Target("a", functools.partial(_make_archives, ("w", "w:gz", "w:bz2", "w:xz")),
                          _pack_records),
    "records in training": Target("a.rec", _make_records, _train_on_records),
    **{kind: Target("images/a", functools.partial(_make_images, kind), _pack_image)
       for kind in FORMATS},
    "grid": Target("a.png", _make_grids, read_png),
    "grid of an animation": Target("grids/gout-00000002.png", _make_grids, _animate),
    "hosts": Target("hosts", lambda _: [
        b"a.example\nuser@b-1.example:22\n", b"10.0.0.1 slots=4\n10.0.0.2 slots=2\n\n"],
        check_hosts)}
