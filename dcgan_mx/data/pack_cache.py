"""Record files of folders, kept from one run to the next."""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from pathlib import Path
from typing import Callable, Iterable

from ..machine.files import StrPath, cache_folder, write_atomic
from .packing import PackingError, list_files, pack
from .records import RecordError, scan

_VERSION = 1  # of what packing makes of a folder; another one packs folders again


def pack_cached(folder: StrPath, cache: StrPath | None = None, threads: int = 1, least: int = 1,
                progress: Callable[[Iterable[str]], Iterable[str]] = iter,
                ) -> tuple[Path, list[tuple[str, str]]]:
    """Return the record file of a folder, packing it unless that was done before.

    Parameters
    ----------
    cache
        Folder of such files; if left out, `dcgan_mx` in $XDG_CACHE_HOME, or in ~/.cache.
    threads, least, progress
        As `pack` takes them.

    Returns
    -------
    path
        Named after a digest of the names, sizes and times of the folder's files.
    skipped
        As `pack` returns them, also where it was packed before.

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
    listed = path.with_suffix(".skipped")
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be at the same folder
        for left in cache.glob(".*.tmp"):
            left.unlink()
        with contextlib.suppress(RecordError, OSError, ValueError):  # what is damaged is made again
            scan(path)
            return path, [tuple(pair) for pair in json.loads(listed.read_bytes())]
        _, skipped = pack(folder, path, threads=threads, least=least, progress=progress)
        if f"{name()}.rec" != path.name:
            path.unlink()
            path.with_suffix(".idx").unlink()
            raise PackingError(f"{folder} changed while it was packed: try again when nothing "
                               "writes to it")
        write_atomic(listed, json.dumps(skipped).encode())
    return path, skipped
