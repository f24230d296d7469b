"""How much memory this process may still take."""
from __future__ import annotations

import contextlib
import ctypes
import re
import resource
from pathlib import Path
from typing import Iterator

from .files import StrPath


def check_memory(what: str, needed: int, mend: str) -> None:
    """Raise ValueError if `what` needs more bytes than are available; `mend` says how to fix it."""
    available = read_available()
    if available is not None and needed > available:
        raise ValueError(f"{what} takes {needed / 1e6:,.0f} MB of memory or more, and "
                         f"{available / 1e6:,.0f} MB are free: {mend}")


def read_available(root: StrPath = "/") -> int | None:
    """Return the bytes that this process may still take; None where the system does not say.

    The least of what the machine, the control groups (version 2) and `ulimit -v` leave. Memory
    that only caches files counts as free, and so does swap. Sources: Linux,
    Documentation/filesystems/proc.rst and admin-guide/cgroup-v2.rst.
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
    """Yield what each control group of this process has left, up to the top one."""
    path = re.search(r"^0::/(.*)$", (root / "proc/self/cgroup").read_text(), re.M)
    top = root / "sys/fs/cgroup"
    # In a container the path may be the host's: then only the top is there, the container's own.
    folder = top / path[1] if path and ".." not in path[1] else top
    while folder != top.parent:
        with contextlib.suppress(OSError, ValueError):  # no such group here, or no limit
            left = int((folder / "memory.max").read_text()) - int(
                (folder / "memory.current").read_text())
            numbers = _read_numbers(folder / "memory.stat")
            yield left + sum(numbers.get(name, 0) for name in (
                "inactive_file", "active_file", "slab_reclaimable"))
        folder = folder.parent


def _read_numbers(path: Path) -> dict[str, int]:
    """Read lines of a name and a number."""
    return {name: int(number)
            for name, number in re.findall(r"^(\w+):?\s+(\d+)", path.read_text(), re.M)}


def trim_heap() -> None:
    """Return free heap memory to the system; only glibc can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
