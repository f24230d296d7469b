"""IDX, the file format of MNIST and of what looks like it."""
from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..machine.files import StrPath, open_plain


class DatasetError(ValueError):
    """A data set is damaged, or could not be had."""


def read_idx(path: StrPath, shape: tuple[int, ...] | None = None,
             md5: str | None = None) -> np.ndarray:
    """Read an IDX file of bytes.

    Parameters
    ----------
    path
        Gzipped if the name ends in .gz.
    shape
        What the file must hold.
    md5
        Hexadecimal digest that the decompressed file must have.

    Returns
    -------
    `shape`, uint8
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
    with open_plain(path, follow=True) as raw, gzip.open(raw) if path.suffix == ".gz" else raw as f:
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
            data = read_up_to(f, size + 1)
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


def read_up_to(f: BinaryIO | gzip.GzipFile, limit: int, block: int = 1 << 22) -> bytes:
    """Read at most `limit` bytes, taking memory for what is there and not for what is claimed.

    Parameters
    ----------
    limit, block
        Bytes in all, and at once.
    """
    blocks = []
    while limit and (data := f.read(min(block, limit))):
        blocks.append(data)
        limit -= len(data)
    return b"".join(blocks)
