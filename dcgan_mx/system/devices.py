"""MXNet's contexts and KVStore for the settings `gpu` and `kv_store`."""
from __future__ import annotations

import re
import warnings
from typing import Any

from . import job_role
from .command_line import command_line
from .cuda import Gpu, ask_driver, no_gpu_reason, unsupported_reason
from .errors import ArgumentError
from .runtime import disable_exit_barrier, mx


def make_contexts(gpu: str | int | None = None, cpu_devices: int | None = None,
                  require_gpu: bool = False) -> list[Any]:
    """Return contexts of GPUs, such as 0 or "0,1", or `cpu_devices` contexts (1) of the CPU.

    If MXNet sees no GPU, a RuntimeWarning gives the reason, and the CPU is used. With `require_gpu`
    that is an ArgumentError.
    """
    if gpu is None:
        if require_gpu:
            raise ArgumentError("gpu", "a GPU is required, but none is given: give its number, "
                                "such as 0")
        return [mx.cpu(i) for i in range(cpu_devices or 1)]
    if cpu_devices is not None:
        raise ArgumentError("cpu_devices", f"{cpu_devices} conflicts with gpu {gpu}: give only one "
                            "of them")
    numbers = parse_gpus(str(gpu))
    try:
        count = mx.context.num_gpus()
    except mx.base.MXNetError:  # `no_gpu_reason` describes the failure better
        count = 0
    if count:
        gpus = ask_driver().gpus
        for number in numbers:
            check_gpu(number, gpus)
        return [mx.gpu(number) for number in numbers]
    problem = no_gpu_reason(mx.runtime.Features().is_enabled("CUDA"))
    reason = (f"MXNet sees no GPU: {problem.problem}; {problem.fix}" if problem.fix else
              problem.problem)
    if require_gpu:
        raise ArgumentError("gpu", f"{gpu}: {reason}")
    warnings.warn(f"GPU {gpu}: {reason}; the CPU is used", RuntimeWarning, stacklevel=2)
    return [mx.cpu()]


def parse_gpus(text: str) -> list[int]:
    """Return the numbers in a text such as 0 or 0,1; ArgumentError if it is invalid."""
    parts = text.split(",")
    if not all(re.fullmatch("[0-9]{1,4}", part) for part in parts):
        raise ArgumentError("gpu", f"invalid value {text!r}: expected numbers separated by commas, "
                            "as in 0 or 0,1")
    numbers = [int(part) for part in parts]
    if len({*numbers}) < len(numbers):
        raise ArgumentError("gpu", f"invalid value {text!r}: give each GPU once")
    return numbers


def check_gpu(number: int, gpus: list[Gpu]) -> None:
    """Raise ArgumentError if `gpus` lacks this number, or MXNet cannot use the GPU."""
    if number >= len(gpus):
        raise ArgumentError("gpu", f"GPU {number} does not exist: expected 0 to {len(gpus) - 1}")
    problem = unsupported_reason(gpus[number].capability)
    if problem:
        raise ArgumentError("gpu", f"GPU {number}, {gpus[number].name}: {problem.problem}: "
                            f"{problem.fix}")


def make_kvstore(kv_store: str) -> Any:
    """Return the KVStore that sums the gradients of both networks; None for "local".

    `Trainer` makes a local KVStore itself if it has several contexts. In a server or scheduler of a
    job this function runs it until the job ends, then raises SystemExit.
    """
    job_role.run_server()
    in_job = job_role.read_role() is not None
    if kv_store.startswith("dist") and not in_job:
        raise ArgumentError("kv_store", f"{kv_store} needs a distributed job: start one with "
                            f"{command_line('launch')}, or use local")
    if in_job and not kv_store.startswith("dist"):
        raise ArgumentError("kv_store", f"{kv_store} does not work in a distributed job (DMLC_ROLE "
                            "is set): use dist_sync, or unset all DMLC_ variables")
    kvstore = None if kv_store == "local" else mx.kv.create(kv_store)
    if in_job:
        disable_exit_barrier(kvstore)
    return kvstore
