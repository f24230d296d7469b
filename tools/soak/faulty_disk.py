"""A file system that shows a folder, and fails, slows down and fills up at random.

It needs Linux, `pip install fusepy`, `apt install libfuse2`, and root.
"""
from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import random
import subprocess
import time
from pathlib import Path
from typing import Any, Iterator

from fuse import FUSE, Operations

_WRITES = ("chmod", "create", "mkdir", "rename", "rmdir", "truncate", "unlink", "utimens", "write")
# The faults, and the operations that each of them affects; None: all.
FAULTS = {"EIO": None, "EROFS": _WRITES, "ENOSPC": ("create", "mkdir", "write"), "delay": None,
          "short write": ("write",)}
_UNHARMED = ("init", "destroy", "release", "releasedir")  # no program sees their errors
_DELAY = 0.2  # seconds, at most


class FaultyFolder(Operations):
    """The operations on a folder: phases without faults, and phases with one kind of fault.

    `counts` receives the number of faults of each kind; none occur while `healthy` is set.
    """

    use_ns = True  # of utimens

    def __init__(self, folder: Path, seed: int, healthy: Any, counts: dict[str, Any]) -> None:
        self._folder, self._healthy, self._counts = folder, healthy, counts
        self._rng = random.Random(seed)
        self._fault, self._rate, self._until = "", 0.0, 0.0

    def __call__(self, op: str, path: str, *args: Any) -> Any:
        """Perform an operation, or let it fail."""
        if time.monotonic() > self._until:
            self._fault = "" if self._fault else self._rng.choice([*FAULTS])
            self._rate = self._rng.choice((0.01, 0.1, 1.0))
            self._until = time.monotonic() + self._rng.expovariate(0.5 if self._fault else 0.2)
        if self._fault and not self._healthy.is_set() and op not in _UNHARMED:
            affected = FAULTS[self._fault]
            if (affected is None or op in affected) and self._rng.random() < self._rate:
                args = self._fail(op, args)
        return super().__call__(op, str(self._folder) + path, *args)

    def _fail(self, op: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Raise OSError; or wait, or shorten a write, and return the arguments."""
        fault = self._fault
        if op == "write" and self._rng.random() < 0.5:  # as on a disk that has just become full
            fault = "short write"
        self._counts[fault].value += 1
        if fault == "delay":
            time.sleep(self._rng.uniform(0, _DELAY))
        elif fault == "short write":
            return (args[0][:self._rng.randint(1, len(args[0]))], *args[1:])
        else:
            raise OSError(getattr(errno, fault), "")
        return args

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """Return what os.lstat returns."""
        stat = os.lstat(path)
        names = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid")
        times = ("st_atime", "st_ctime", "st_mtime")
        return {**{name: getattr(stat, name) for name in names},
                **{name: getattr(stat, f"{name}_ns") for name in times}}

    def readdir(self, path: str, fh: int) -> list[str]:
        """Return the names in a folder."""
        return [".", "..", *os.listdir(path)]

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        """Create and open a file."""
        return os.open(path, os.O_RDWR | os.O_CREAT, mode)

    def open(self, path: str, flags: int) -> int:
        """Open a file; the kernel computes where O_APPEND writes."""
        return os.open(path, flags & ~os.O_APPEND)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Read from an open file."""
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Write to an open file."""
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        """Change the size of a file."""
        os.truncate(path, length)

    def rename(self, old: str, new: str) -> None:
        """Rename a file or folder."""
        os.rename(old, str(self._folder) + new)

    def release(self, path: str, fh: int) -> None:
        """Close a file."""
        os.close(fh)

    def chmod(self, path: str, mode: int) -> None:
        """Change permissions."""
        os.chmod(path, mode)

    def utimens(self, path: str, times: tuple[int, int]) -> None:
        """Change times, in nanoseconds."""
        os.utime(path, ns=times)

    def mkdir(self, path: str, mode: int) -> None:
        """Create a folder."""
        os.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        os.rmdir(path)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)


def _serve(mountpoint: Path, *args: Any) -> None:
    """Mount the folder, and serve it until it is unmounted."""
    # In one thread, so that a delay blocks everybody, as on a slow disk.
    FUSE(FaultyFolder(*args), str(mountpoint), foreground=True, nothreads=True, big_writes=True)


@contextlib.contextmanager
def mount(folder: Path, mountpoint: Path, seed: int) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Mount a folder with faults; return an event that ends them while set, and their counts."""
    healthy = multiprocessing.Event()
    counts = {name: multiprocessing.Value("q") for name in FAULTS}
    healthy.set()
    args = (mountpoint, folder, seed, healthy, counts)
    server = multiprocessing.Process(target=_serve, args=args)
    server.start()
    try:
        while not mountpoint.is_mount():
            if not server.is_alive():
                raise RuntimeError("FUSE cannot mount a file system here")
            time.sleep(0.05)
        healthy.clear()
        yield healthy, counts
    finally:
        subprocess.run(["umount", "--lazy", str(mountpoint)], check=False)
        server.join()
