"""Folders and record files as sources of encoded images.

A source has a length, `name(n)` and `read(n)`; `skipped`, the names of other files or records with
the reason; and `fingerprint`, the number of images and a digest that identifies them.
"""
from __future__ import annotations

import hashlib
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Union

import numpy as np

from ..system.files import StrPath, open_regular
from .errors import DatasetError, short_message
from .image_files import is_image
from .recordio import read_image, scan

_HEAD = 4096  # bytes of a file that tell its format, and are part of the fingerprint
_MAX_BYTES = 1 << 30
_THREADS = 16  # for folders on a network


class Folder:
    """The image files in a folder and its subfolders, in a pseudo-random order."""

    def __init__(self, path: StrPath) -> None:
        self.path = path
        names, self.skipped = list_files(path)
        names.sort(key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
        with ThreadPoolExecutor(_THREADS) as pool:
            results = list(pool.map(self._inspect, names))
        self._names = [name for name, (reason, _) in zip(names, results) if not reason]
        self.skipped += [(name, reason) for name, (reason, _) in zip(names, results) if reason]
        identities = np.array([identity for reason, identity in results if not reason], np.int64)
        self.fingerprint = {"records": len(self._names),
                            "sha256": hashlib.sha256(identities.tobytes()).hexdigest()}

    def __len__(self) -> int:
        return len(self._names)

    def name(self, n: int) -> str:
        """Return the file name of image `n`."""
        return self._names[n]

    def read(self, n: int) -> bytes:
        """Return image `n`, encoded."""
        with open_regular(os.path.join(self.path, self._names[n]), follow=True) as f:
            return f.read(_MAX_BYTES)

    def _inspect(self, name: str) -> tuple[str, tuple[int, int]]:
        """Return why a file is not an image, or "", and its size and the CRC-32 of its head."""
        try:
            with open_regular(os.path.join(self.path, name), follow=True) as f:
                head, size = f.read(_HEAD), os.fstat(f.fileno()).st_size
        except OSError as error:
            return short_message(error), (0, 0)
        reason = ("is not an image" if not is_image(head) else
                  "is too large: more than 1 GiB" if size > _MAX_BYTES else "")
        return reason, (size, zlib.crc32(head))


class Records:
    """The images in a record file, in file order; the file's index is not used."""

    def __init__(self, path: StrPath) -> None:
        self.path = path
        self._file = open_regular(path, follow=True)
        self._state = self._stat()
        offsets, empty, digest = scan(path)
        self._numbers, self._offsets = np.flatnonzero(~empty), offsets[~empty]
        self.skipped = [(f"record {n + 1}", "contains no image") for n in np.flatnonzero(empty)]
        self.fingerprint = {"records": len(self._numbers), "sha256": digest}

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def __len__(self) -> int:
        return len(self._numbers)

    def name(self, n: int) -> str:
        """Return "record" and the number of image `n` in the file, from 1."""
        return f"record {self._numbers[n] + 1}"

    def read(self, n: int) -> bytes:
        """Return image `n`, encoded."""
        try:
            return read_image(self._file, self._offsets[n])
        finally:  # a change during the reading counts, too, whatever was read
            if self._stat() != self._state:
                raise DatasetError(f"{self.path} changed while it was in use: start again")

    def _stat(self) -> tuple[int, int]:
        """Return the size and the time of the last change of the file."""
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns


Source = Union[Folder, Records]


def list_files(folder: StrPath) -> tuple[list[str], list[tuple[str, str]]]:
    """List the files below a folder, and the subfolders that are skipped, with the reason."""
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    seen, folders = set(), [""]
    while folders:
        prefix = folders.pop()
        path = os.path.join(folder, prefix)
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:  # links may form circles
                raise OSError(0, "is a folder that was already read")
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.listdir(path), reverse=True)
        except OSError as error:
            if not prefix:
                raise
            skipped.append((prefix, short_message(error)))
            continue
        for entry in entries:
            name = os.path.join(prefix, entry)
            (folders if os.path.isdir(os.path.join(path, entry)) else names).append(name)
    return names, skipped
