"""How much memory there is for this process, and what to do where that is too little."""
from __future__ import annotations

import contextlib
import ctypes
import re
import resource
from pathlib import Path
from typing import Iterator

from .files import StrPath

# Control groups: their folder, the files with their limit and use, which part of that is a cache.
_VERSION_1 = (Path("sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes",
              ("total_inactive_file", "total_active_file"))
_VERSION_2 = (Path("sys/fs/cgroup"), "memory.max", "memory.current",
              ("inactive_file", "active_file", "slab_reclaimable"))


def require_memory(what: str, needed: int, mend: str) -> None:
    """Raise ValueError, saying `what` and the `mend`, if fewer than `needed` bytes are free.

    They are a lower bound: nothing that fits may be refused.
    """
    available = read_available()
    if available is not None and needed > available:
        raise ValueError(f"{what} takes {needed / 1e6:,.0f} MB of memory or more, and "
                         f"{available / 1e6:,.0f} MB are free: {mend}")


def read_available(root: StrPath = "/") -> int | None:
    """Return how many bytes this process may still take; None where that is unknown (no Linux).

    The least of what the machine and each of this process's control groups have left, with the swap
    space, and of what `ulimit -v` leaves; caches of files count as free. Sources: Linux,
    Documentation/filesystems/proc.rst, admin-guide/cgroup-v2.rst, admin-guide/cgroup-v1/memory.rst.
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
    """Yield what each control group that this process is in has left."""
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, limit, used, cached = _VERSION_1 if controllers else _VERSION_2
        top = root / top
        # In a container the path may be the host's, and the container's own group be the top.
        folder = top / path.lstrip("/") if ".." not in path else top
        for group in (folder, *folder.parents):
            with contextlib.suppress(OSError, ValueError):  # no such group here, or no limit
                left = int((group / limit).read_text()) - int((group / used).read_text())
                numbers = _read_numbers(group / "memory.stat")
                yield left + sum(numbers.get(name, 0) for name in cached)
            if group == top:
                break


def _read_numbers(path: Path) -> dict[str, int]:
    """Return what a file says in lines of a name and a number."""
    return {name: int(number)
            for name, number in re.findall(r"^(\w+):?\s+(\d+)", path.read_text(), re.M)}


def give_back() -> None:
    """Return to the system what is free in this process's heap; glibc alone has a way to."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
