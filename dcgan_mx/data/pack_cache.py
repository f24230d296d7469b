"""Record files of folders, kept from one run to the next, as long as somebody uses them."""
from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Callable, Iterable, NamedTuple

from ..machine.files import StrPath, cache_folder, write_atomic
from .packing import PackingError, list_files, pack
from .records import RecordError, scan

_VERSION = 1  # of what packing makes of a folder; another one packs folders again
_UNUSED = 30 * 86400.0  # seconds after which a pack goes


class Lease:
    """Keeps a pack from being removed for as long as it lives."""

    def __init__(self, marker: Path) -> None:
        self._descriptor = os.open(marker, os.O_RDONLY)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


class Pack(NamedTuple):
    """A folder's record file in the cache.

    Attributes
    ----------
    path : pathlib.Path
        Named after a digest of the names, sizes and times of the folder's files.
    skipped : list of (str, str)
        Files left out, and why, as `packing.pack` returns them, also where it was packed before.
    removed : list of (pathlib.Path, str)
        Packs that went when this one was made, and why.
    lease : Lease or None
        None for a pack that has no mark to hold it by, in a cache that cannot be written to.
    """

    path: Path
    skipped: list[tuple[str, str]]
    removed: list[tuple[Path, str]]
    lease: Lease | None


def pack_cached(folder: StrPath, cache: StrPath | None = None, threads: int = 1, least: int = 1,
                progress: Callable[[Iterable[str]], Iterable[str]] = iter) -> Pack:
    """Return the record file of a folder, packing it unless that was done before.

    Where it is packed, packs of earlier states of the folder go, and those that nobody has used for
    30 days; none that is in use.

    Parameters
    ----------
    cache
        Folder of such files; if left out, `dcgan_mx` in $XDG_CACHE_HOME, or in ~/.cache.
    threads, least, progress
        As `pack` takes them.

    Raises
    ------
    PackingError, OSError
        As `pack`, and if the folder changed while it was packed.
    """
    cache = Path(cache or cache_folder())

    def name() -> str:
        state = repr((_VERSION, list_files(folder)[0]))
        return hashlib.sha256(state.encode("utf-8", "surrogateescape")).hexdigest()[:32]

    path = cache / f"{name()}.rec"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if not os.access(cache, os.W_OK):  # the lock by itself may be anybody's
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(cache))
        lock = open(cache / "lock", "w")  # noqa: SIM115  the `with` is below
    except OSError:
        if path.exists():  # made by somebody who may write there
            return Pack(path, _read_skipped(path), [], _hold(path))
        raise
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be at the same folder
        for left in cache.glob(".*.tmp"):
            left.unlink()
        with contextlib.suppress(RecordError, OSError, ValueError):  # what is damaged is made again
            return Pack(path, _read_skipped(path), [], _take(path, folder))
        _, skipped = pack(folder, path, threads=threads, least=least, progress=progress)
        if f"{name()}.rec" != path.name:
            path.unlink()
            path.with_suffix(".idx").unlink()
            raise PackingError(f"{folder} changed while it was packed: try again when nothing "
                               "writes to it")
        write_atomic(path.with_suffix(".skipped"), json.dumps(skipped).encode())
        lease = _take(path, folder)
        return Pack(path, skipped, _remove_old(cache, path, _owner(folder)), lease)


def _read_skipped(path: Path) -> list[tuple[str, str]]:
    scan(path)
    listed = path.with_suffix(".skipped")
    try:
        pairs = [(name, reason) for name, reason in json.loads(listed.read_bytes())]
        if not all(isinstance(part, str) for pair in pairs for part in pair):
            raise ValueError
    except (ValueError, TypeError, RecursionError):
        raise RecordError(f"{listed} is damaged: have its owner remove it, or set XDG_CACHE_HOME "
                          "to a folder of your own") from None
    return pairs


def _owner(folder: StrPath) -> bytes:
    return os.fsencode(os.path.realpath(folder))


def _take(path: Path, folder: StrPath) -> Lease:
    """Note beside a pack whose it is, and that it is used."""
    marker = path.with_suffix(".folder")
    if not marker.exists():
        write_atomic(marker, _owner(folder))
    with contextlib.suppress(PermissionError):  # another user's, in a cache of several
        os.utime(marker)
    return Lease(marker)


def _hold(path: Path) -> Lease | None:
    """Hold a pack that is another user's."""
    with contextlib.suppress(OSError):
        return Lease(path.with_suffix(".folder"))
    return None


def _remove_old(cache: Path, new: Path, owner: bytes) -> list[tuple[Path, str]]:
    removed = []
    for path in sorted(cache.glob("*.rec")):
        marker = path.with_suffix(".folder")
        known = marker if marker.exists() else path
        unused = time.time() - known.stat().st_mtime > _UNUSED
        superseded = known is marker and marker.read_bytes() == owner
        if path == new or not (unused or superseded):
            continue
        with open(known, "rb") as held, contextlib.suppress(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody uses it
            for ending in (".rec", ".idx", ".skipped", ".folder"):
                with contextlib.suppress(FileNotFoundError):
                    path.with_suffix(ending).unlink()
            removed.append((path, "of an earlier state of the folder" if superseded else
                            "not used for 30 days"))
    return removed
