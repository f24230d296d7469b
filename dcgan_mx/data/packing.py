"""Pictures in a folder become one record file; what is no picture is listed with its reason."""
from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from array import array
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Iterable, Iterator, TypeVar

from ..machine.files import StrPath, open_plain, remove_left, write_atomic
from .encoding import encode
from .records import frame, read_picture, scan

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class PackingError(ValueError):
    """A folder has too few pictures, or changed while it was read.

    Attributes
    ----------
    skipped : list of (str, str)
        Files that were left out, and why.
    """

    def __init__(self, message: str, skipped: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.skipped = sorted(skipped)


def list_files(folder: StrPath) -> tuple[dict[str, tuple[int, int, int]], list[tuple[str, str]]]:
    """List what is in a folder and below; a folder that links lead to again is read once.

    Returns
    -------
    files
        Names relative to `folder`, in sorted order, with size in bytes and the times, in ns, of the
        last changes of content and of rights.
    skipped
        Names, and why they are no files.

    Raises
    ------
    OSError
        If the folder itself cannot be listed.
    """
    files: dict[str, tuple[int, int, int]] = {}
    skipped: list[tuple[str, str]] = []
    seen = set()
    folders = [""]
    while folders:
        prefix = folders.pop()
        path = os.path.join(folder, prefix)
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                skipped.append((prefix, "is a folder that was read already"))
                continue
            seen.add(identity)
            entries = sorted(os.scandir(path), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            if not prefix:
                raise
            skipped.append((prefix, error.strerror or str(error)))
            continue
        for entry in entries:
            name = os.path.join(prefix, entry.name)
            try:
                status = entry.stat()
            except OSError as error:
                skipped.append((name, error.strerror or str(error)))
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append(name)
            elif stat.S_ISREG(status.st_mode):
                files[name] = _times(status)
            else:
                skipped.append((name, "is no plain file"))
    return dict(sorted(files.items())), sorted(skipped)


def _times(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def pack(folder: StrPath, out: StrPath, resize: int = 256, quality: int = 95, threads: int = 1,
         least: int = 1, progress: Callable[[Iterable[str]], Iterable[str]] = iter,
         ) -> tuple[int, list[tuple[str, str]]]:
    """Pack the pictures in a folder and below, or in a record file, into a record file.

    Parameters
    ----------
    folder
        A record file is packed anew, record by record, to scale what is in it.
    out
        Replaced, when all is done, if it exists; its index, for other programs, gets the same name
        with the ending .idx.
    resize, quality
        As `encode` takes them.
    threads : at least 1
        Their number changes no byte.
    least
        Pictures without which nothing is written.
    progress
        Wraps the list of names while they are read, as tqdm does.

    Returns
    -------
    n
        Pictures in the file. The order of a folder's, that of a digest of their names, looks
        random, so that each part of the file is a fair sample.
    skipped
        Each file or record left out, and why.

    Raises
    ------
    RecordError
        If `folder` is a file, and none of records.
    PackingError
        If fewer than `least` pictures are left, or `out` is in `folder` or no name for a file.
    OSError
        If the folder cannot be listed, or a file cannot be written.
    """
    out = Path(out)
    if not out.name or out.suffix == ".idx" or out.is_dir():
        raise PackingError(f"{str(out)!r} cannot be the record file: give a name as in OUT.rec")
    index = out.with_suffix(".idx")
    for path in (out, index):
        remove_left(path)
    source: _Records | _Folder = (_Records(folder) if os.path.isfile(folder)
                                  else _Folder(folder, out))
    skipped, offsets, position = source.skipped, array("q"), 0

    def read(name: str) -> tuple[bytes | None, str]:
        try:
            return source.read(name, resize, quality), ""
        except OSError as error:
            return None, error.strerror or f"is damaged: {error}"
        except Exception as error:  # a decoder that meets a damaged file raises what it likes
            return None, str(error) if type(error) is ValueError else f"is damaged: {error!r}"

    def records() -> Iterator[bytes]:
        nonlocal position
        for name, (picture, reason) in _map_in_order(read, progress(source.names), threads):
            if picture is None:
                skipped.append((name, reason))
                continue
            record = frame(picture, len(offsets))
            offsets.append(position)
            position += len(record)
            yield record
        skipped.extend((name, "appeared while the folder was packed") for name in source.added())
        if len(offsets) < least:
            raise PackingError(f"{folder} has {len(offsets)} readable pictures of "
                               f"{len(source.names)}, and at least {least} are needed", skipped)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that are judged here
        write_atomic(out, records(), sync=True)
    write_atomic(index, b"".join(b"%d\t%d\n" % entry for entry in enumerate(offsets)))
    return len(offsets), sorted(skipped)


class _Folder:
    """The files in a folder, by name."""

    def __init__(self, folder: StrPath, out: Path) -> None:
        if Path(folder).resolve() in out.resolve().parents:
            raise PackingError(f"{out} is in the folder that it is made of: give a place outside "
                               f"of {folder}")
        self._folder = folder
        self._files, self.skipped = list_files(folder)
        self.names = sorted(self._files,
                            key=lambda name: hashlib.sha256(os.fsencode(name)).digest())

    def read(self, name: str, resize: int, quality: int) -> bytes:
        path = os.path.join(self._folder, name)
        with open_plain(path, follow=True) as f:
            picture = encode(f, resize, quality)
        if _times(os.stat(path)) != self._files[name]:
            raise ValueError("changed while the folder was packed")
        return picture

    def added(self) -> Iterable[str]:
        return list_files(self._folder)[0].keys() - self._files.keys()


class _Records:
    """The records of a file, by number."""

    def __init__(self, path: StrPath) -> None:
        self._path = path
        self._offsets = scan(path)[0]
        self.names = [f"record {n}" for n in range(1, len(self._offsets) + 1)]
        self.skipped: list[tuple[str, str]] = []

    def read(self, name: str, resize: int, quality: int) -> bytes:
        with open_plain(self._path, follow=True) as f:
            picture = read_picture(f, self._offsets[int(name.split()[1]) - 1])
        return encode(io.BytesIO(picture), resize, quality)

    def added(self) -> Iterable[str]:
        return ()


def _map_in_order(function: Callable[[_Item], _Result], items: Iterable[_Item],
                  threads: int) -> Iterator[tuple[_Item, _Result]]:
    """Yield each item and its result, with a few calls at work ahead in threads."""
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[tuple[_Item, Future[_Result]]] = deque()
        for item in items:
            ahead.append((item, pool.submit(function, item)))
            if len(ahead) > 4 * threads:
                done, future = ahead.popleft()
                yield done, future.result()
        for done, future in ahead:
            yield done, future.result()
