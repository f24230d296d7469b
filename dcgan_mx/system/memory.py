"""The memory that is available to this process."""
from __future__ import annotations

import contextlib
import ctypes
import re
import resource
from pathlib import Path
from typing import Iterator

from .cpu import list_groups
from .files import StrPath


def check_memory(what: str, needed: int, fix: str) -> None:
    """Raise ValueError if `what` needs more bytes than are available; `fix` ends the message."""
    available = read_available()
    if available is not None and needed > available:
        raise ValueError(f"{what} needs at least {needed / 1e6:,.0f} MB of memory, but only "
                         f"{available / 1e6:,.0f} MB are available: {fix}")


def read_available(root: StrPath = "/") -> int | None:
    """Return the bytes of memory that are available to this process; None if unknown.

    This is the minimum over the machine, control groups (version 2) and `ulimit -v`, including file
    caches and swap (Linux, Documentation/filesystems/proc.rst and admin-guide/cgroup-v2.rst).
    """
    root = Path(root)
    try:
        machine = _read_numbers(root / "proc/meminfo")
        left = [1024 * machine["MemAvailable"], *_read_groups(root)]
        available = min(left) + 1024 * machine.get("SwapFree", 0)
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int((root / "proc/self/statm").read_text().split()[0])
            available = min(available, limit - pages * resource.getpagesize())
    except (OSError, ValueError, KeyError):
        return None
    return max(0, available)


def _read_groups(root: Path) -> Iterator[int]:
    """Yield the available bytes of each control group of this process, up to the root."""
    for folder in list_groups(root):
        with contextlib.suppress(OSError, ValueError):  # the group is not visible, or has no limit
            left = int((folder / "memory.max").read_text()) - int(
                (folder / "memory.current").read_text())
            numbers = _read_numbers(folder / "memory.stat")
            yield left + sum(numbers.get(name, 0) for name in (
                "inactive_file", "active_file", "slab_reclaimable"))


def _read_numbers(path: Path) -> dict[str, int]:
    """Return the lines of a file that hold a name and a number."""
    return {name: int(number)
            for name, number in re.findall(r"^(\w+):?\s+(\d+)", path.read_text(), re.M)}


def trim_heap() -> None:
    """Return free heap memory to the system (glibc only)."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
