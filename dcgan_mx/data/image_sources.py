"""Where images come from: a folder or a record file, which give encoded images by their number.

Any source has a length, `name` and `read`; `skipped`, what in it is no image, and why; and
`fingerprint`, the number of images and a digest by which other images can be told from them.
"""
from __future__ import annotations

import hashlib
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Union

import numpy as np

from ..system.files import StrPath, open_regular
from .errors import DatasetError, describe
from .image_files import is_image
from .recordio import read_picture, scan

_HEAD = 4096  # bytes of a file by which it is told from others
_MAX_BYTES = 1 << 30
_READERS = 16  # threads that wait for a network's disk


class Folder:
    """The image files in a folder and below, in an order that looks random."""

    def __init__(self, path: StrPath) -> None:
        self.path = path
        names, self.skipped = list_files(path)
        names.sort(key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
        with ThreadPoolExecutor(_READERS) as pool:
            looks = list(pool.map(self._look, names))
        self._names = [name for name, (reason, _) in zip(names, looks) if not reason]
        self.skipped += [(name, reason) for name, (reason, _) in zip(names, looks) if reason]
        found = np.array([identity for reason, identity in looks if not reason], np.int64)
        self.fingerprint = {"records": len(self._names),
                            "sha256": hashlib.sha256(found.tobytes()).hexdigest()}

    def __len__(self) -> int:
        return len(self._names)

    def name(self, n: int) -> str:
        """Return what image `n` is called."""
        return self._names[n]

    def read(self, n: int) -> bytes:
        """Return image `n`, encoded."""
        with open_regular(os.path.join(self.path, self._names[n]), follow=True) as f:
            return f.read(_MAX_BYTES)

    def _look(self, name: str) -> tuple[str, tuple[int, int]]:
        """Return why a file is not an image, if so, and what tells it from others."""
        try:
            with open_regular(os.path.join(self.path, name), follow=True) as f:
                head, size = f.read(_HEAD), os.fstat(f.fileno()).st_size
        except OSError as error:
            return describe(error), (0, 0)
        reason = ("is not an image" if not is_image(head) else
                  "is too large: more than 1 GiB" if size > _MAX_BYTES else "")
        return reason, (size, zlib.crc32(head))


class Records:
    """The images in a record file, in its order; an index may be another file's."""

    def __init__(self, path: StrPath) -> None:
        self.path = path
        self._file = open_regular(path, follow=True)
        self._state = self._identify()
        offsets, empty, digest = scan(path)
        self._numbers, self._offsets = np.flatnonzero(~empty), offsets[~empty]
        self.skipped = [(f"record {n + 1}", "holds no image") for n in np.flatnonzero(empty)]
        self.fingerprint = {"records": len(self._numbers), "sha256": digest}

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def __len__(self) -> int:
        return len(self._numbers)

    def name(self, n: int) -> str:
        """Return what image `n` is called."""
        return f"record {self._numbers[n] + 1}"

    def read(self, n: int) -> bytes:
        """Return image `n`, encoded."""
        if self._identify() != self._state:
            raise DatasetError(f"{self.path} changed while it was in use: start again")
        return read_picture(self._file, self._offsets[n])

    def _identify(self) -> tuple[int, int]:
        """Return what changes when the file is written to."""
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns


Source = Union[Folder, Records]


def list_files(folder: StrPath) -> tuple[list[str], list[tuple[str, str]]]:
    """List what is in a folder and below, and the folders that are not read, with the reason."""
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    seen, folders = set(), [""]
    while folders:
        prefix = folders.pop()
        path = os.path.join(folder, prefix)
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:
                raise OSError(0, "is a folder that was read already")
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.listdir(path), reverse=True)
        except OSError as error:
            if not prefix:
                raise
            skipped.append((prefix, describe(error)))
            continue
        for entry in entries:
            name = os.path.join(prefix, entry)
            (folders if os.path.isdir(os.path.join(path, entry)) else names).append(name)
    return names, skipped
