"""The memory that is available to this process, and limits on what it may be used for."""
from __future__ import annotations

import contextlib
import ctypes
import re
import resource
from pathlib import Path
from typing import Any, Iterator

from .files import StrPath

_MAX_DECODED = 1 << 29  # bytes: 134 million pixels in color
_ANY_FILE, _PER_BYTE = 1 << 25, 512  # decoded bytes that any file, and each of its bytes, may claim


def check_memory(what: str, needed: int, fix: str) -> None:
    """Raise ValueError if `what` needs more bytes than are available; `fix` ends the message."""
    available = read_available()
    if available is not None and needed > available:
        raise ValueError(f"{what} needs at least {needed / 1e6:,.0f} MB of memory, but only "
                         f"{available / 1e6:,.0f} MB are available: {fix}")


def check_decoded_size(image: Any, file_size: int) -> None:
    """Raise ValueError if an opened, not yet decoded Pillow image would take too much memory.

    Small files may claim any size, but photographs have more than 0.1 bits per pixel. Pillow stores
    a pixel in 4 bytes unless it is plain grey; palettes and transparency become RGB and RGBA.
    """
    grey = image.mode in ("1", "L") and "transparency" not in image.info
    size = image.width * image.height * (1 if grey else 4)
    if size > _MAX_DECODED:
        raise ValueError(f"is too large, more than {_MAX_DECODED >> 20} MiB decoded: "
                         f"{image.width}x{image.height}")
    if size > _ANY_FILE + _PER_BYTE * file_size:
        raise ValueError(f"claims too many pixels for a file of {file_size} bytes: "
                         f"{image.width}x{image.height}")


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
    path = re.search(r"^0::/(.*)$", (root / "proc/self/cgroup").read_text(), re.M)
    top = root / "sys/fs/cgroup"
    # In a container the path may be that of the host: then only the root exists.
    folder = top / path[1] if path and ".." not in path[1] else top
    while folder != top.parent:
        with contextlib.suppress(OSError, ValueError):  # the group is not visible, or has no limit
            left = int((folder / "memory.max").read_text()) - int(
                (folder / "memory.current").read_text())
            numbers = _read_numbers(folder / "memory.stat")
            yield left + sum(numbers.get(name, 0) for name in (
                "inactive_file", "active_file", "slab_reclaimable"))
        folder = folder.parent


def _read_numbers(path: Path) -> dict[str, int]:
    """Return the lines of a file that hold a name and a number."""
    return {name: int(number)
            for name, number in re.findall(r"^(\w+):?\s+(\d+)", path.read_text(), re.M)}


def trim_heap() -> None:
    """Return free heap memory to the system (glibc only)."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
