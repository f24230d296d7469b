"""Folders, archives and record files as sources of images.

A source has a length, `name(n)`, `read(n)`, `skipped`, the names of other files or records with the
reason, and `fingerprint`, the number of images and a digest that identifies them.
"""
from __future__ import annotations

import hashlib
import os
import struct
import warnings
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Callable, Iterable, Iterator, Set, Union

import numpy as np

from ..system.files import StrPath, open_regular
from .errors import DatasetError, short_message
from .file_stores import FileStore, FolderFiles, open_files
from .image_files import find_problem
from .recordio import read_image, scan

_HEAD = 4096  # bytes of a file that show its format, and are part of the fingerprint
_MAX_BYTES = 1 << 30  # read of a file
_CACHE_BYTES = 1 << 30  # of decoded images, for all workers of a machine together
_MAX_FAILURES = 100  # consecutive images that cannot be read
_THREADS = 16  # for folders on a network


def map_in_order(function: Callable[[Any], Any], items: Iterable[Any], threads: int
                 ) -> Iterator[tuple[Any, Any]]:
    """Yield each item with its result; the threads are a few results ahead."""
    results: deque[tuple[Any, Future[Any]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            results.append((item, pool.submit(function, item)))
            if len(results) > 2 * threads:
                first, result = results.popleft()
                yield first, result.result()
        for first, result in results:
            yield first, result.result()


class Folder:
    """The image files in a folder and its subfolders, or in an archive, in a pseudo-random order.

    Files and folders that programs hide are skipped, and counted in one line.
    """

    def __init__(self, path: StrPath) -> None:
        self.path, self._files = path, open_files(path)
        self._names: list[str] = []
        self.skipped = [*self._files.skipped]
        digest = hashlib.sha256()
        for name, (reason, identity) in map_in_order(self._inspect, _order(self._files), _THREADS):
            digest.update(identity)
            if reason:
                self.skipped.append((name, reason))
            else:
                self._names.append(name)
        if self._files.hidden:
            self.skipped.append(("hidden files or folders", f"{len(self._files.hidden)}, such as "
                                 f"{min(self._files.hidden)}"))
        self.fingerprint = {"records": len(self._names), "sha256": digest.hexdigest()}

    def __len__(self) -> int:
        return len(self._names)

    def name(self, n: int) -> str:
        """Return the file name of image `n`."""
        return self._names[n]

    def read(self, n: int) -> bytes:
        """Return image `n`, encoded."""
        return self._files.read(self._names[n], _MAX_BYTES)[0]

    def _inspect(self, name: str) -> tuple[str, bytes]:
        """Return why a file is skipped, or "" and what identifies it: size, CRC-32 of the head."""
        try:
            head, size = self._files.read(name, _HEAD)
        except (OSError, ValueError) as error:
            return short_message(error), b""
        problem = find_problem(head)
        return problem, b"" if problem else struct.pack("<2q", size, zlib.crc32(head))


def _order(files: FileStore) -> list[str]:
    """Return the names in a pseudo-random order, without the top folder of `zip a.zip FOLDER`."""
    tops = {name.split("/")[0] for name in files.names}
    start = len(tops.pop()) + 1 if len(tops) == 1 and not isinstance(files, FolderFiles) else 0
    encode = os.fsencode if isinstance(files, FolderFiles) else _encode
    return sorted(files.names, key=lambda name: hashlib.sha256(encode(name[start:])).digest())


def _encode(name: str) -> bytes:
    """Return the bytes of an archive's name, whatever the locale."""
    return name.encode("utf-8", "surrogateescape")


class Records:
    """The images in a record file, in file order; the file's index is not used."""

    def __init__(self, path: StrPath) -> None:
        self.path = path
        self._file = open_regular(path, follow=True)
        self._state = self._stat()
        offsets, empty, digest = scan(path)
        self._numbers, self._offsets = np.flatnonzero(~empty), offsets[~empty]
        self.skipped = [(f"record {n + 1}", "contains no image") for n in np.flatnonzero(empty)]
        self.fingerprint = {"records": len(self._offsets), "sha256": digest}

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def __len__(self) -> int:
        return len(self._offsets)

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


class OddFiles(Set[str]):
    """Names of JPEG files that were read, but lack or have extra bytes."""

    _warned = False

    def warn(self, source: StrPath) -> None:
        """Warn of the files, once."""
        if self and not self._warned:
            self._warned = True
            warnings.warn(f"{source}: JPEG files with missing or extra bytes, which may look "
                          f"damaged: {len(self)}, such as {min(self)!r}", RuntimeWarning,
                          stacklevel=2)


class DecodedImages:
    """The images of a source, decoded, which `workers` processes of a machine keep in memory.

    `decode` makes pixels of an encoded image, or raises ValueError with the reason. Unreadable
    images are reported in a warning and in the source's `skipped`; odd files are in `odd`.
    """

    def __init__(self, source: Source, decode: Callable[..., np.ndarray], workers: int) -> None:
        self._source, self._decode = source, decode
        self._cache_left = _CACHE_BYTES // workers
        self._cache: dict[int, np.ndarray | None] = {}  # None: unreadable
        self.odd = OddFiles()

    def load(self, n: int) -> np.ndarray:
        """Return the pixels of image `n`, or of the next image that can be read."""
        for i in range(n, n + _MAX_FAILURES):
            pixels = self._read(i % len(self._source))
            if pixels is not None:
                return pixels
        raise DatasetError(f"{self._source.path}: {_MAX_FAILURES} images in a row cannot be read, "
                           f"beginning with {self._source.name(n)!r}: check the disk, or remove "
                           "these images")

    def _read(self, n: int) -> np.ndarray | None:
        """Return the pixels of image `n`, or None if it cannot be read."""
        if n in self._cache:
            return self._cache[n]
        try:
            pixels = self._decode(self._source.read(n),
                                  on_odd=partial(self.odd.add, self._source.name(n)))
        except DatasetError:
            raise
        except (OSError, ValueError) as error:
            self._cache[n] = None
            name, reason = self._source.name(n), short_message(error)
            self._source.skipped.append((name, reason))
            warnings.warn(f"skipped: {self._source.path}: {name!r} {reason}", RuntimeWarning,
                          stacklevel=2)
            return None
        if self._cache_left > 0:
            self._cache_left -= pixels.nbytes
            self._cache[n] = pixels
        return pixels
