"""Facts about the processor, read without loading MXNet."""
from __future__ import annotations

import contextlib
import itertools
import math
import os
import platform
import re
from pathlib import Path

from .errors import ArgumentError
from .files import StrPath

THREADS = ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS")  # the first one that is set wins
# Instruction sets that matter for bfloat16, as Linux spells them.
ISA = ("avx512f", "avx512_bf16", "amx_bf16")
_CPUINFO = "/proc/cpuinfo"


def _read_cpuinfo() -> dict[str, str]:
    """Return Linux's description of the first processor; {} on other systems."""
    try:
        text = Path(_CPUINFO).read_text(errors="replace").lstrip().partition("\n\n")[0]
    except OSError:
        return {}
    return dict(re.findall(r"^(.+?)[ \t]*:[ \t]*(.*?)[ \t]*$", text, re.M))


def cpu_model() -> str:
    """Return the processor's model name."""
    return _read_cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """Return those of `ISA` that the processor and Linux support; empty if unknown."""
    return frozenset(ISA) & {*_read_cpuinfo().get("flags", "").split()}


def check_bfloat16(gpu: bool) -> None:
    """Raise ArgumentError if bfloat16 training is impossible on the GPU, or on this processor."""
    fix = "use float32, or a processor with AVX512-BF16 or AMX"
    if gpu:
        raise ArgumentError("precision", "MXNet 1.9.1 does not support bfloat16 on a GPU: " + fix)
    if not cpu_flags() & {"avx512_bf16", "amx_bf16"}:
        raise ArgumentError("precision", f"{cpu_model()} does not support bfloat16: {fix}")


def slow_bf16_reason(amx: bool) -> str | None:
    """Return why bfloat16 is slower than float32 here; None if it is faster.

    AVX512-BF16 without AMX is slower than float32 on Intel's processors (docs/benchmarks.md), and
    faster on AMD's (Zen 4 and later).
    """
    if amx or _read_cpuinfo().get("vendor_id") != "GenuineIntel":
        return None
    return ("bfloat16 is slower than float32 on an Intel processor without AMX (48 instead of 62 "
            "images/s in our measurement): use float32")


def read_threads() -> str | None:
    """Return the user's number of threads as NAME=NUMBER, or None; ValueError if it is invalid."""
    for name in THREADS:
        value = os.environ.get(name)
        if value:
            if not re.fullmatch("0*[1-9][0-9]{0,3}", value):  # MXNet would abort
                raise ValueError(f"{name}: invalid value {value!r}: expected an integer from 1 to "
                                 "9999; change or unset it")
            return f"{name}={value}"
    return None


def physical_cores() -> int:
    """Return the number of physical cores that this process may use.

    A CPU quota, as of a container, lowers the number. Source: Linux, Documentation/admin-guide/
    cputopology.rst. Without it, all processors count.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text() if siblings.exists() else str(cpu))
    return math.ceil(min([len(cores), *list_quotas()]))


def list_quotas(root: StrPath = "/") -> list[float]:
    """Return the CPU time per second that each control group of this process allows, if limited.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst.
    """
    quotas = []
    for folder in list_groups(root):
        with contextlib.suppress(OSError, ValueError):  # without a limit, the quota is "max"
            quota, period = (folder / "cpu.max").read_text().split()
            quotas.append(float(quota) / float(period))
    return quotas


def list_groups(root: StrPath = "/") -> list[Path]:
    """Return the folders of this process's control groups (version 2), the root last."""
    top = Path(root, "sys/fs/cgroup")
    try:
        path = re.search(r"^0::/(.*)$", Path(root, "proc/self/cgroup").read_text(), re.M)
    except OSError:
        return []
    # In a container the path may be that of the host: then only the root exists.
    folder = top / path[1] if path and ".." not in path[1] else top
    return [folder, *itertools.takewhile(lambda parent: parent != top.parent, folder.parents)]
