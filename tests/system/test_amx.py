"""AMX is woken where bfloat16 asks for it, and only where the kernel allows it.

All of it happens once in a process, so that most tests start one. They hold on processors without
AMX, too, where its kernels never run.
"""
import ctypes
import errno
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers.common import needs_bfloat16

from dcgan_mx.system import amx

# A processor that says it has AMX.
CLAIM = "amx.cpu_flags = lambda: frozenset({'amx_bf16', 'avx512_bf16'})\n"
# The kernel's yes without its meaning it; only for processes that have computed already.
ALLOW = "amx._ask_permission = lambda: None\n"
COMPUTE = """
x = mx.nd.ones((2, 3, 8, 8))
mx.nd.Convolution(x, x, no_bias=True, num_filter=2, kernel=(8, 8)).wait_to_read()
"""
# A filter of system calls, as a container has it, that answers arch_prctl with an error.
SECCOMP = """
import ctypes, struct
def forbid(error):
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, 158), (6, 0, 0, 0x50000 | error), (6, 0, 0, 0x7fff0000)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *op) for op in code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(filters)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
"""


def run(code, **env):
    """Run code in a new process; returns what it prints."""
    clean = {name: value for name, value in os.environ.items() if name != "DNNL_MAX_CPU_ISA"}
    done = subprocess.run(
        [sys.executable, "-c", "import os\nfrom dcgan_mx.system import amx\n"
         f"from dcgan_mx.system.runtime import mx\n{code}"], env={**clean, **env},
        capture_output=True, text=True, timeout=100, check=True)
    assert done.stderr == ""
    return done.stdout


def is_offered():
    """Whether the processor has AMX and Linux gives it to whoever asks (ARCH_GET_XCOMP_SUPP)."""
    offered = ctypes.c_uint64()
    error = amx._call_kernel(0x1021, ctypes.byref(offered))
    return "amx_bf16" in amx.cpu_flags() and not error and bool(offered.value >> 18 & 1)


def test_kernels_use_amx_where_it_is_awake_and_nowhere_else():
    """By oneDNN's own word; the variable does not stay for children, who lack the permission."""
    told = run("print('hindrance:', amx.enable() if 'amx_bf16' in amx.cpu_flags() else 'no AMX')\n"
               "print('seen:', amx.cpu_flags() >= {'avx512_bf16'} and amx._computes_with_amx())\n"
               "print(os.environ.get('DNNL_MAX_CPU_ISA'))", DNNL_VERBOSE="1")
    used = bool(re.search("exec,cpu,convolution,[^,]*amx", told))
    assert used == ("hindrance: None\n" in told) == ("seen: True\n" in told)
    assert used or not is_offered()
    assert told.endswith("\nNone\n")


def test_the_order_of_sums_tells_the_two_apart():
    """The three products that the weights make, in float32, in either order."""
    large, small = np.float32(2**30), np.float32(1)
    assert (large + small) - large == 0
    assert (large - large) + small == 1


def test_a_kernel_that_refuses_leaves_amx_asleep():
    """A real filter; what is computed afterwards is computed, the variable is not set.

    Of several filters, the one that was set last answers; a sandbox may answer yes and do nothing.
    """
    told = run(f"{SECCOMP}{CLAIM}"
               "for error in (1, 38, 0):\n    forbid(error)\n    print(amx.enable())"
               f"{COMPUTE}print(os.environ.get('DNNL_MAX_CPU_ISA'), amx.is_allowed())")
    whys = [os.strerror(errno.EPERM), os.strerror(errno.ENOSYS), "the call has no effect"]
    assert told.splitlines() == [
        *(f"AMX stays asleep: Linux does not allow it here ({why})" for why in whys), "None False"]


def test_a_users_choice_is_left_and_told(monkeypatch):
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX512_CORE_BF16")
    assert amx.enable() == (
        "AMX stays asleep: you set DNNL_MAX_CPU_ISA=AVX512_CORE_BF16: unset it")
    assert os.environ["DNNL_MAX_CPU_ISA"] == "AVX512_CORE_BF16"


@needs_bfloat16
@pytest.mark.parametrize("before, in_time", [("", True), (COMPUTE, False)])
def test_the_command_wakes_it_before_it_computes(before, in_time, tmp_path):
    """By oneDNN's word: it names the limit that the variable sets, here one below AMX."""
    told = run(f"""{CLAIM}{ALLOW}amx._AMX = "AVX512_CORE"{before}
from dcgan_mx.cli import main
flags = ("--dataset synthetic --size 16 --ngf 2 --ndf 2 --nz 2 --batch-size 4 --eval-steps 1 "
         "--max-steps 1 --precision bfloat16 --run-dir")
import sys
sys.stderr = sys.stdout
print("status", main.run("train", [*flags.split(), {str(tmp_path / "run")!r}]))
""", DNNL_VERBOSE="1")
    assert "\nstatus 0\n" in told
    limited = "isa:Intel AVX-512 with AVX512BW, AVX512VL, and AVX512DQ extensions\n"
    assert (limited in told) == in_time


@needs_bfloat16
def test_after_the_first_kernel_it_is_too_late():
    told = run(f"{CLAIM}{ALLOW}{COMPUTE}print(amx.enable())\n"
               "print(os.environ.get('DNNL_MAX_CPU_ISA'))")
    assert told == ("AMX stays asleep: this process has computed before it was asked for "
                    "bfloat16: ask in a new one\nNone\n")


def test_float32_never_asks():
    """A training in float32 leaves the process without permission and without the variable."""
    told = run("""
from dcgan_mx import Trainer, make_dcgan_sym
trainer = Trainer(*make_dcgan_sym(2, 2, 3, size=16), 2, (3, 16, 16), nz=2)
trainer.step(mx.io.DataBatch([mx.nd.ones((2, 3, 16, 16))], []),
             mx.io.DataBatch([mx.nd.ones((2, 2, 1, 1))], []))
mx.nd.waitall()
print(os.environ.get("DNNL_MAX_CPU_ISA"), amx.is_allowed())
""", DNNL_VERBOSE="1")
    assert told.endswith("\nNone False\n")
    assert "exec,cpu,convolution," in told and not re.search("exec,[^\n]*amx", told)


def test_what_is_told_where_bfloat16_is_asked_for(monkeypatch):
    monkeypatch.setattr(amx, "cpu_flags", lambda: frozenset({"amx_bf16"}))
    monkeypatch.setattr(amx, "check_bfloat16", lambda gpu: None)
    monkeypatch.setattr(amx, "wake", lambda: "AMX stays asleep: tests")
    monkeypatch.setattr(amx, "explain_slowness", lambda amx: None if amx else "slower")
    with pytest.warns(RuntimeWarning) as told:
        amx.prepare_bfloat16(gpu=False)
    assert [str(warning.message) for warning in told] == ["AMX stays asleep: tests", "slower"]
    monkeypatch.setattr(amx, "wake", lambda: None)
    amx.prepare_bfloat16(gpu=False)
