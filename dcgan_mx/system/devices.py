"""From the text of --gpu and --kv-store to MXNet's contexts and KVStore."""
from __future__ import annotations

import warnings
from typing import Any

from . import job_role
from .command_line import command_line
from .cuda import Gpu, ask_driver, no_gpu_reason, unsupported_reason
from .runtime import disable_exit_barrier, mx


def make_contexts(gpu: str | int | None = None, cpu_devices: int | None = None,
                  require_gpu: bool = False) -> list[Any]:
    """Return the MXNet contexts for the values of --gpu, --cpu-devices and --require-gpu.

    Where MXNet sees no GPU, a RuntimeWarning says why and the CPU is used, unless `require_gpu`.
    """
    if gpu is None:
        if require_gpu:
            raise ValueError("--require-gpu without --gpu: say which one, as in --gpu 0")
        return [mx.cpu(i) for i in range(cpu_devices or 1)]
    if cpu_devices is not None:
        raise ValueError(f"--cpu-devices {cpu_devices} with --gpu {gpu}: give one of the two")
    numbers = parse_gpus(str(gpu))
    if _count_gpus():
        gpus = ask_driver().gpus
        for number in numbers:
            check_gpu(number, gpus)
        return [mx.gpu(number) for number in numbers]
    trouble = no_gpu_reason(mx.runtime.Features().is_enabled("CUDA"))
    reason = f"--gpu {gpu}: MXNet sees no GPU: {trouble.problem}; {trouble.mend}"
    if require_gpu:
        raise ValueError(reason)
    warnings.warn(f"{reason}; GOING ON WITH THE CPU", RuntimeWarning, stacklevel=2)
    return [mx.cpu()]


def parse_gpus(text: str) -> list[int]:
    """Return the numbers in the value of --gpu."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"--gpu {text}: give numbers with commas between, as in 0 or 0,1")
    numbers = [int(part) for part in parts]
    if len({*numbers}) < len(numbers):
        raise ValueError(f"--gpu {text}: give each GPU once")
    return numbers


def check_gpu(number: int, gpus: list[Gpu]) -> None:
    """Raise ValueError if `gpus` has no GPU of this number, or MXNet cannot use it."""
    if not 0 <= number < len(gpus):
        numbers = "0" if len(gpus) == 1 else f"0 to {len(gpus) - 1}"
        raise ValueError(f"--gpu {number}: there is no such GPU: give {numbers}")
    trouble = unsupported_reason(gpus[number].capability)
    if trouble:
        raise ValueError(f"--gpu {number}: {gpus[number].name}: {trouble.problem}: {trouble.mend}")


def _count_gpus() -> int:
    try:
        count: int = mx.context.num_gpus()
        return count
    except mx.base.MXNetError:  # the driver fails; what it says is better told by `why_no_gpu`
        return 0


def make_kvstore(name: str) -> Any:
    """Return the KVStore that sums gradients for both networks; None for local.

    `Trainer` makes a local one by itself where there are several contexts.
    """
    role = job_role.read_role()
    if name.startswith("dist"):
        if role is None:
            raise ValueError(f"--kv-store {name}: this process is in no job: start it with "
                             f"{command_line('launch')}, or give --kv-store local")
    elif role is not None:
        raise ValueError(f"--kv-store {name}: this process is a {role} of a job (DMLC_ROLE): "
                         "give --kv-store dist_sync, or unset all DMLC_ variables")
    kvstore = None if name == "local" else mx.kv.create(name)
    if role is not None:
        disable_exit_barrier(kvstore)
    return kvstore
