"""bfloat16 on this processor, with Intel's matrix units (AMX).

MXNet 1.9.1 contains oneDNN 2.4.4, which uses AMX only if `DNNL_MAX_CPU_ISA` names it when the first
kernel runs. oneDNN does not ask Linux for permission, without which that kernel dies of SIGILL.
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

BFLOAT16 = np.dtype([("bfloat16", np.uint16)])  # MXNet's spelling of the type
_VARIABLE, _AMX = "DNNL_MAX_CPU_ISA", "AVX512_CORE_AMX"
# Linux, arch/x86/include/uapi/asm/prctl.h and asm/fpu/types.h; the system call's number on x86-64.
_ARCH_PRCTL, _ARCH_GET_XCOMP_PERM, _ARCH_REQ_XCOMP_PERM, _XTILEDATA = 158, 0x1022, 0x1023, 18


def prepare_bfloat16(gpu: bool) -> None:
    """Enable AMX if possible, before MXNet computes anything; warn if float32 is faster.

    Raises ArgumentError if bfloat16 is impossible here.
    """
    check_bfloat16(gpu)
    has_amx = "amx_bf16" in cpu_flags()
    failure = enable() if has_amx else None
    for text in (failure, slow_bf16_reason(has_amx and failure is None)):
        if text:
            _warn_once(text)


@functools.lru_cache(maxsize=None)
def _warn_once(text: str) -> None:
    """Warn once in a process: the command and each trainer call `prepare_bfloat16`."""
    warnings.warn(text, RuntimeWarning, stacklevel=4)


def enable() -> str | None:
    """Enable AMX for MXNet's bfloat16 kernels; return the reason in one line if that fails."""
    if os.environ.get(_VARIABLE) not in (None, "", _AMX):
        return f"AMX stays disabled: {_VARIABLE} is set: unset it"
    refusal = _request_permission()
    if refusal:  # with the variable, the first kernel would end the process
        os.environ.pop(_VARIABLE, None)
        return f"AMX stays disabled: Linux does not permit it here ({refusal})"
    os.environ[_VARIABLE] = _AMX
    try:
        enabled = _uses_amx()
    finally:
        del os.environ[_VARIABLE]  # child processes would not have the permission
    return None if enabled else ("AMX stays disabled: MXNet has already computed in this process: "
                                 "use bfloat16 in a new process")


def _request_permission() -> str | None:
    """Ask Linux for AMX's tiles for all threads of this process; return why it refuses."""
    error = _arch_prctl(_ARCH_REQ_XCOMP_PERM, ctypes.c_ulong(_XTILEDATA))
    if error:
        return os.strerror(error)
    return None if is_permitted() else "the call has no effect"  # as in some sandboxes


def is_permitted() -> bool:
    """Return whether this process may use AMX's tiles."""
    permitted = ctypes.c_uint64()
    error = _arch_prctl(_ARCH_GET_XCOMP_PERM, ctypes.byref(permitted))
    return not error and bool(permitted.value >> _XTILEDATA & 1)


def _arch_prctl(code: int, argument: object) -> int:
    """Call arch_prctl; return its errno, or 0."""
    if platform.machine() != "x86_64":  # this number is a different system call there
        return errno.ENOSYS
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    failed = libc.syscall(ctypes.c_long(_ARCH_PRCTL), ctypes.c_long(code), argument)
    return ctypes.get_errno() if failed else 0


def _uses_amx() -> bool:
    """Run a convolution; return whether AMX computed it."""
    # AMX and AVX-512 add three products in different orders (Intel, Software Developer's Manual,
    # volume 2). VDPBF16PS adds the second product of a pair first: 2^30 + 1 - 2^30 is 0 in float32.
    # TDPBF16PS adds the first one first, or adds both separately: 2^30 - 2^30 + 1 is 1.
    weight = np.zeros((128, 64, 4, 4), np.float32)
    weight[:, 0], weight[:, 2], weight[:, 3] = 2**30, -2**30, 1
    image = np.zeros((2, 64, 8, 8), np.float32)
    image[:, :, ::4, ::4] = 1  # each kernel covers one pixel that is not 0
    inputs = {"x": mx.nd.array(image), "w": mx.nd.array(weight)}
    casts = (mx.sym.amp_cast(mx.sym.Variable(name), dtype=BFLOAT16) for name in inputs)
    product = mx.sym.Convolution(*casts, no_bias=True, num_filter=128, kernel=(4, 4),
                                 stride=(2, 2), pad=(1, 1))
    executor = mx.sym.amp_cast(product, dtype="float32").bind(mx.cpu(), inputs, grad_req="null")
    return bool(executor.forward()[0].asnumpy().any())
