"""What the processor offers, read without loading anything."""
from __future__ import annotations

import os
import platform

THREADS = ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS")  # whichever a user sets wins
# Instruction sets that matter for bfloat16, in Linux's spelling.
ISA = ("avx512f", "avx512_bf16", "amx_bf16")
_CPUINFO = "/proc/cpuinfo"


def _read_cpuinfo() -> dict[str, str]:
    """Return Linux's description of the first processor; empty elsewhere."""
    try:
        with open(_CPUINFO, errors="replace") as f:
            text = f.read()
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.lstrip().partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def cpu_model() -> str:
    """Return the processor's model name."""
    return _read_cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """Return which of `ISA` the processor and the kernel offer; empty where that is unknown."""
    return frozenset(ISA) & {*_read_cpuinfo().get("flags", "").split()}


def check_bfloat16(gpu: bool) -> None:
    """Raise ValueError if bfloat16 training is impossible here, or is asked for on a GPU."""
    mend = "train in float32, or on a processor that has AVX512-BF16 or AMX"
    if gpu:
        raise ValueError("--precision bfloat16 with --gpu: MXNet 1.9.1 has no bfloat16 on a GPU: "
                         + mend)
    if not cpu_flags() & {"avx512_bf16", "amx_bf16"}:
        raise ValueError(f"--precision bfloat16: {cpu_model()} has no instructions for "
                         f"it: {mend}")


def slow_bf16_reason(amx: bool) -> str | None:
    """Say why bfloat16 would be slower than float32 here; None where it is not.

    Intel's AVX512-BF16 without AMX is slower than its float32 (docs/benchmarks.md); AMD's, in Zen 4
    and later, is faster.
    """
    if amx or _read_cpuinfo().get("vendor_id") != "GenuineIntel":
        return None
    return ("--precision bfloat16: slower than float32 on an Intel processor whose AMX units are "
            "not at work (48 images/s against 62, where it was measured): float32 is the better "
            "choice here")


def read_threads() -> str | None:
    """Return the user's number of threads as NAME=NUMBER, None if unset; ValueError if invalid."""
    for name in THREADS:
        value = os.environ.get(name)
        if value:
            if not (value.isascii() and value.isdigit() and int(value)):  # MXNet would abort
                raise ValueError(f"{name} is {value!r}: give a whole number from 1, or unset it")
            return f"{name}={value}"
    return None


def physical_cores() -> int:
    """Count the physical cores in this process's affinity mask.

    Hardware threads of one core count once (Linux, Documentation/admin-guide/cputopology.rst);
    where the system does not tell them apart, processors count.
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
