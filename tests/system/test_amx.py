"""AMX is enabled for bfloat16 only, and only if Linux permits it.

This happens once in a process, so most tests start one. They pass on processors without AMX, too.
"""
import ctypes
import errno
import os
import re

import pytest
from helpers.common import needs_bfloat16, run_code

from dcgan_mx.system import amx
from dcgan_mx.system.cpu import cpu_flags

# A processor that reports AMX.
CLAIM = "amx.cpu_flags = lambda: frozenset({'amx_bf16', 'avx512_bf16'})\n"
# A permission without effect; only for processes whose kernels do not use AMX.
ALLOW = "amx._request_permission = lambda: None\n"
COMPUTE = """
x = mx.nd.ones((2, 3, 8, 8))
mx.nd.Convolution(x, x, no_bias=True, num_filter=2, kernel=(8, 8)).wait_to_read()
"""
# A seccomp filter, as in a container, that fails arch_prctl with an error.
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
    done = run_code("import os\nfrom dcgan_mx.system import amx\n"
                    f"from dcgan_mx.system.runtime import mx\n{code}", env={**clean, **env})
    assert done.stderr == ""
    return done.stdout


def is_offered():
    """Whether the processor has AMX and Linux supports it (ARCH_GET_XCOMP_SUPP)."""
    offered = ctypes.c_uint64()
    error = amx._arch_prctl(0x1021, ctypes.byref(offered))
    return "amx_bf16" in amx.cpu_flags() and not error and bool(offered.value >> 18 & 1)


def test_kernels_use_amx_only_if_it_is_enabled():
    """By the kernels that oneDNN reports. Children lack the permission, so they get no variable."""
    output = run("print('failure:', amx.enable() if 'amx_bf16' in amx.cpu_flags() else 'no AMX')\n"
               "print('seen:', amx.cpu_flags() >= {'avx512_bf16'} and amx._uses_amx())\n"
               "print(os.environ.get('DNNL_MAX_CPU_ISA'))", DNNL_VERBOSE="1")
    used = bool(re.search("exec,cpu,convolution,[^,]*amx", output))
    assert used == ("failure: None\n" in output) == ("seen: True\n" in output)
    assert used or not is_offered()
    assert output.endswith("\nNone\n")


def test_amx_stays_disabled_without_permission():
    """A real seccomp filter refuses; convolutions still work, and the variable stays unset.

    The last of several filters answers. A sandbox may answer yes and do nothing.
    """
    output = run(f"{SECCOMP}{CLAIM}"
               "for error in (1, 38, 0):\n    forbid(error)\n    print(amx.enable())"
               f"{COMPUTE}print(os.environ.get('DNNL_MAX_CPU_ISA'), amx.is_permitted())")
    whys = [os.strerror(errno.EPERM), os.strerror(errno.ENOSYS), "the call has no effect"]
    assert output.splitlines() == [
        *(f"AMX stays disabled: Linux does not permit it here ({why})" for why in whys),
        "None False"]


def test_a_variable_set_by_the_user_is_kept_and_reported(monkeypatch):
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX512_CORE_BF16")
    assert amx.enable() == (
        "AMX stays disabled: DNNL_MAX_CPU_ISA is set: unset it")
    assert os.environ["DNNL_MAX_CPU_ISA"] == "AVX512_CORE_BF16"


@needs_bfloat16
def test_train_command_enables_amx_before_it_computes(tmp_path):
    """By the report of oneDNN: it names the limit that the variable sets, here one below AMX."""
    output = run(f"""{CLAIM}{ALLOW}amx._AMX = "AVX512_CORE"
from dcgan_mx.cli import main
flags = ("--dataset synthetic --size 16 --ngf 2 --ndf 2 --nz 2 --batch-size 4 --eval-steps 1 "
         "--max-steps 1 --precision bfloat16 --run-dir")
import sys
sys.stderr = sys.stdout
print("status", main.run("train", [*flags.split(), {str(tmp_path / "run")!r}]))
""", DNNL_VERBOSE="1")
    assert "\nstatus 0\n" in output
    limited = "isa:Intel AVX-512 with AVX512BW, AVX512VL, and AVX512DQ extensions\n"
    assert limited in output


def test_float32_does_not_enable_amx_and_later_is_too_late():
    """Permission and variable stay unset in a float32 training; then `enable` has no effect."""
    output = run(f"""
from dcgan_mx import Trainer, make_dcgan_sym
trainer = Trainer(*make_dcgan_sym(2, 2, 3, size=16), 2, (3, 16, 16), nz=2)
trainer.step(mx.io.DataBatch([mx.nd.ones((2, 3, 16, 16))], []),
             mx.io.DataBatch([mx.nd.ones((2, 2, 1, 1))], []))
mx.nd.waitall()
print(os.environ.get("DNNL_MAX_CPU_ISA"), amx.is_permitted())
if amx.cpu_flags() & {{"avx512_bf16", "amx_bf16"}}:
    {CLAIM}    {ALLOW}    print(amx.enable())
    print(os.environ.get("DNNL_MAX_CPU_ISA"))
""", DNNL_VERBOSE="1")
    training, _, later = output.partition("\nNone False\n")
    assert "exec,cpu,convolution," in training and not re.search("exec,[^\n]*amx", training)
    assert "amx_bf16" not in cpu_flags() or "has already computed in this process" in later
    assert later.endswith("\nNone\n") or not later


def test_prepare_bfloat16_warns_if_amx_is_disabled(monkeypatch):
    monkeypatch.setattr(amx, "cpu_flags", lambda: frozenset({"amx_bf16"}))
    monkeypatch.setattr(amx, "check_bfloat16", lambda gpu: None)
    monkeypatch.setattr(amx, "enable", lambda: "AMX stays disabled: tests")
    monkeypatch.setattr(amx, "slow_bf16_reason", lambda amx: None if amx else "slower")
    with pytest.warns(RuntimeWarning) as output:
        amx.prepare_bfloat16(gpu=False)
    assert [str(warning.message) for warning in output] == ["AMX stays disabled: tests", "slower"]
    monkeypatch.setattr(amx, "enable", lambda: None)
    amx.prepare_bfloat16(gpu=False)
