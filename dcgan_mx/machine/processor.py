"""What the processor has to offer, read without loading anything."""
from __future__ import annotations

import os
import platform

THREADS = ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS")  # what a user sets, each of which wins
# Instructions that matter to the kernels of bfloat16, as Linux spells them.
ISA = ("avx512f", "avx512_bf16", "amx_bf16")
_CPUINFO = "/proc/cpuinfo"


def _read_cpuinfo() -> dict[str, str]:
    """Return what Linux says of the first processor; nothing where it does not."""
    try:
        with open(_CPUINFO, errors="replace") as f:
            text = f.read()
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.lstrip().partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def name_processor() -> str:
    """Return what the processor calls itself, or what the platform calls it."""
    return _read_cpuinfo().get("model name") or platform.processor() or platform.machine()


def read_isa() -> frozenset[str]:
    """Return which of `ISA` the processor and the kernel offer.

    Returns
    -------
    frozenset of str
        Empty where /proc/cpuinfo cannot be read, or is of another kind of processor.
    """
    return frozenset(ISA) & {*_read_cpuinfo().get("flags", "").split()}


def require_bfloat16(gpu: bool) -> None:
    """Raise ValueError where bfloat16 cannot be trained in.

    Parameters
    ----------
    gpu
        It is a GPU that would train.
    """
    mend = "train in float32, or on a processor that has AVX512-BF16 or AMX"
    if gpu:
        raise ValueError("--precision bfloat16 with --gpu: MXNet 1.9.1 has no bfloat16 on a GPU: "
                         + mend)
    if not read_isa() & {"avx512_bf16", "amx_bf16"}:
        raise ValueError(f"--precision bfloat16: {name_processor()} has no instructions for "
                         f"it: {mend}")


def explain_slowness(amx: bool) -> str | None:
    """Say why bfloat16 would train more slowly than float32 on this processor.

    Parameters
    ----------
    amx
        The AMX kernels will run.

    Returns
    -------
    str or None
        One line; None where bfloat16 is the faster one.

    Notes
    -----
    Intel's AVX512-BF16 by itself trained 48 images/s where float32 trained 62, and 61 with AMX
    (the 64x64 networks, batch 64, 2 cores of a Xeon; docs/numbers.md); on AMD's, the Zen 4 and
    later, the same instructions are faster than float32.
    """
    if amx or _read_cpuinfo().get("vendor_id") != "GenuineIntel":
        return None
    return ("--precision bfloat16: slower than float32 on an Intel processor whose AMX units are "
            "not at work (48 images/s against 62, where it was measured): float32 is the better "
            "choice here")


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
