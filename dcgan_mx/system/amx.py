"""bfloat16 on this processor, with Intel's matrix units (AMX) at work where they are.

oneDNN 2.4.4, inside MXNet 1.9.1, has kernels for AMX, but uses them only where `DNNL_MAX_CPU_ISA`
names them, and does not ask Linux for the permission, without which the first one ends the process
(SIGILL). It reads the variable once, for its first kernel.
"""
from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import warnings

import numpy as np

from .cpu import check_bfloat16, cpu_flags, slow_bf16_reason
from .runtime import mx

BFLOAT16 = np.dtype([("bfloat16", np.uint16)])  # what MXNet takes for the name of the type
_VARIABLE, _AMX = "DNNL_MAX_CPU_ISA", "AVX512_CORE_AMX"
# Linux, arch/x86/include/uapi/asm/prctl.h and asm/fpu/types.h; the system call's number on x86-64.
_ARCH_PRCTL, _ARCH_GET_XCOMP_PERM, _ARCH_REQ_XCOMP_PERM, _XTILEDATA = 158, 0x1022, 0x1023, 18


def prepare_bfloat16(gpu: bool) -> None:
    """Prepare this process for bfloat16, before it computes anything.

    Raises ValueError where bfloat16 is impossible; warns if AMX cannot be used, or float32 is
    faster.
    """
    check_bfloat16(gpu)
    amx = "amx_bf16" in cpu_flags()
    hindrance = enable() if amx else None
    for text in (hindrance, slow_bf16_reason(amx and hindrance is None)):
        if text:
            _tell(text)


@functools.lru_cache(maxsize=None)
def _tell(text: str) -> None:
    """Warn once in a process: the command and each trainer prepare it."""
    warnings.warn(text, RuntimeWarning, stacklevel=4)


def enable() -> str | None:
    """Enable AMX for MXNet's bfloat16 kernels; return one line that says why not, or None."""
    chosen = os.environ.get(_VARIABLE)
    if chosen not in (None, "", _AMX):
        return f"AMX stays asleep: you set {_VARIABLE}={chosen}: unset it"
    refusal = _ask_permission()
    if refusal:  # the variable must not be set: the first kernel would end the process
        return f"AMX stays asleep: Linux does not allow it here ({refusal})"
    os.environ[_VARIABLE] = _AMX
    try:
        awake = _computes_with_amx()
    finally:
        if chosen is None:  # it is read; a child of this process would not have the permission
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = chosen
    return None if awake else ("AMX stays asleep: this process has computed before it was asked "
                               "for bfloat16: ask in a new one")


def _ask_permission() -> str | None:
    """Ask Linux for AMX's tiles, for all threads of this process; return why it refuses."""
    error = _call_kernel(_ARCH_REQ_XCOMP_PERM, ctypes.c_ulong(_XTILEDATA))
    if error:
        return os.strerror(error)
    return None if is_allowed() else "the call has no effect"  # as in some sandboxes


def is_allowed() -> bool:
    """Tell whether this process may use AMX's tiles."""
    allowed = ctypes.c_uint64()
    error = _call_kernel(_ARCH_GET_XCOMP_PERM, ctypes.byref(allowed))
    return not error and bool(allowed.value >> _XTILEDATA & 1)


def _call_kernel(code: int, argument: object) -> int:
    """Call arch_prctl; return the error's number, or 0."""
    if platform.machine() != "x86_64":  # the number is another call's there
        return errno.ENOSYS
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    failed = libc.syscall(ctypes.c_long(_ARCH_PRCTL), ctypes.c_long(code), argument)
    return ctypes.get_errno() if failed else 0


def _computes_with_amx() -> bool:
    """Distinguish AMX from AVX-512 by the order in which they add three products.

    VDPBF16PS adds the second product of each pair first: 2^30 + 1 - 2^30 is 0 in float32.
    TDPBF16PS adds the first one first, or both by themselves: 2^30 - 2^30 + 1 is 1. (Intel,
    Software Developer's Manual, volume 2.)
    """
    weight = np.zeros((128, 64, 4, 4), np.float32)
    weight[:, 0], weight[:, 2], weight[:, 3] = 2**30, -2**30, 1
    image = np.zeros((2, 64, 8, 8), np.float32)
    image[:, :, ::4, ::4] = 1  # one pixel under each kernel
    inputs = {"x": mx.nd.array(image), "w": mx.nd.array(weight)}
    casts = (mx.sym.amp_cast(mx.sym.Variable(name), dtype=BFLOAT16) for name in inputs)
    product = mx.sym.Convolution(*casts, no_bias=True, num_filter=128, kernel=(4, 4),
                                 stride=(2, 2), pad=(1, 1))
    executor = mx.sym.amp_cast(product, dtype="float32").bind(mx.cpu(), inputs, grad_req="null")
    return bool(executor.forward()[0].asnumpy().any())
