"""What the processor has to offer, read without loading anything."""
from __future__ import annotations

import os

THREADS = ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS")  # what a user sets, each of which wins


def read_threads() -> str | None:
    """Return which of `THREADS` the user has set, as NAME=NUMBER; None if none is.

    Raises
    ------
    ValueError
        If it is no whole number from 1, at which MXNet would end the process.
    """
    for name in THREADS:
        value = os.environ.get(name)
        if value:
            if not (value.isascii() and value.isdigit() and int(value)):
                raise ValueError(f"{name} is {value!r}: give a whole number from 1, or unset it")
            return f"{name}={value}"
    return None


def physical_cores() -> int:
    """Count the physical cores that this process may run on.

    Returns
    -------
    Distinct cores in the affinity mask; hardware threads of one core count once. Where the
    system does not tell (no Linux sysfs), the processors in the mask, or all of them.

    Notes
    -----
    Source of the topology files: Linux, Documentation/admin-guide/cputopology.rst.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores: set[str] = set()
    for cpu in os.sched_getaffinity(0):
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as f:
                cores.add(f.read().strip())
        except OSError:
            cores.add(str(cpu))
    return len(cores)
