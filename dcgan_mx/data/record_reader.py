"""MXNet's record reader, opened so that what it reads depends on seeds alone."""
from __future__ import annotations

import contextlib
import os
from typing import Any, Iterator

from ..machine.files import StrPath, make_folder
from ..machine.runtime import first_line, mx
from ..machine.typed import typed
from .records import RecordError, find_bad, scan


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Keep the whole process from writing to its standard error, because MXNet knows no log levels.

    For the main thread only: what others have to say meanwhile is lost.
    """
    with open(os.devnull, "w") as null:
        kept = os.dup(2)
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _identify(path: StrPath) -> tuple[int, int, int, int]:
    """What changes where a file does."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Position:
    """A reader, and the number of the batch that it returns next."""

    def __init__(self, reader: Any) -> None:
        self.reader, self.nbatch = reader, 0


class RecordReader:
    """Reads a record file again and again, in an order and with crops that seeds decide.

    Parameters
    ----------
    path
        A file that `records.scan` accepts; its index is not looked at.
    **arguments
        Of `mx.io.ImageRecordIter`, which ignores one that it does not know.

    Attributes
    ----------
    records : int
        In the file.
    digest : str
        As `records.scan` returns it.

    Raises
    ------
    RecordError
        Here and below: if the file holds no records, has changed, or has one that cannot be
        decoded; the message names it.
    OSError
        If it cannot be read.
    """

    def __init__(self, path: StrPath, **arguments: Any) -> None:
        self._status = _identify(path)
        self._offsets, label_width, self.digest = scan(path)
        self.records = len(self._offsets)
        # MXNet's reader takes '#', '?', ';' and '//' in a path for something else, lists the folder
        # that it is in, and shuffles by an index only; the one beside it may be another file's.
        folder = make_folder(self)
        index, link = (os.path.join(folder, f"pictures.{end}") for end in ("idx", "rec"))
        with open(index, "w") as f:
            f.writelines(f"{i}\t{offset}\n" for i, offset in enumerate(self._offsets))
        os.symlink(os.path.abspath(path), link)
        self._path = path
        # The variant for ctx="gpu" leaks a few batches each time it is opened.
        self._arguments = {**arguments, "path_imgrec": link, "path_imgidx": index,
                           "label_width": label_width, "shuffle": True, "ctx": "cpu"}

    def open(self, seed: int, seed_aug: int) -> Position:
        """Begin to read, in the order of one seed, with the crops of the other."""
        with self._errors(), _no_stderr():  # MXNet prints a line for each reader
            return Position(mx.io.ImageRecordIter(**self._arguments, seed=seed, seed_aug=seed_aug))

    def read(self, position: Position, nbatch: int) -> Any:
        """Return batch `nbatch`, (N, C, H, W), by reading on up to it."""
        with self._errors():
            while position.nbatch < nbatch:
                position.reader.next()
                position.nbatch += 1
            data = position.reader.next().data[0].copy()  # the reader writes the next one over it
            data.wait_to_read()
        position.nbatch += 1
        return data

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn an error of MXNet into one that names the picture."""
        # MXNet ends the process where the offsets are no longer right.
        if _identify(self._path) != self._status:
            raise RecordError(f"{self._path} changed while it was in use: start again")
        try:
            yield
        except (mx.base.MXNetError, StopIteration) as error:
            reason = find_bad(self._path, self._offsets, self._arguments["max_crop_size"])
            raise RecordError(f"{self._path}: " + (
                f"{reason}: pack the pictures again with {typed('pack')}" if reason else
                f"MXNet's reader stopped: {first_line(error)}")) from None
