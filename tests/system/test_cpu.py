"""Facts from /proc/cpuinfo, on texts of several processors."""
import math
import re

import pytest

from dcgan_mx.system import cpu

EMERALD_RAPIDS = """\
processor\t: 0
vendor_id\t: GenuineIntel
model\t\t: 207
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu vme avx2 avx512f avx512dq avx512bw avx_vnni avx512_bf16 amx_bf16 amx_tile amx_int8
bugs\t\t: spectre_v1 spectre_v2

processor\t: 1
vendor_id\t: GenuineIntel
"""
COOPER_LAKE = """\
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8376H CPU @ 2.60GHz
flags\t\t: fpu vme fma avx2 avx512f avx512dq avx512cd avx512bw avx512vl avx512_bf16 avx512_vnni
"""
ZEN_4 = """\
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9R14
flags\t\t: fpu vme fma avx2 avx512f avx512dq avx512cd avx512bw avx512vl avx512_bf16 clzero
"""
ZEN_3 = """\
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 7R13 Processor
flags\t\t: fpu vme de pse fma avx f16c avx2 smap clflushopt clwb sha_ni vaes vpclmulqdq rdpid
"""
NEOVERSE_V1 = """\
processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd evtstrm aes sha1 sha2 atomics fphp asimdhp sve svebf16 i8mm bf16 dgh rng
"""


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    """A function that replaces /proc/cpuinfo by a text."""
    def write(text):
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(cpu, "_CPUINFO", str(tmp_path / "cpuinfo"))
    return write


@pytest.mark.parametrize("text, isa", [
    (EMERALD_RAPIDS, {"avx512f", "avx512_bf16", "amx_bf16"}),
    (COOPER_LAKE, {"avx512f", "avx512_bf16"}), (ZEN_4, {"avx512f", "avx512_bf16"}),
    (ZEN_3, set()), (NEOVERSE_V1, set()), ("", set())])
def test_cpu_flags_and_bfloat16_check(text, isa, cpuinfo):
    cpuinfo(text)
    assert cpu.cpu_flags() == isa
    name = text.partition("model name\t: ")[2].partition("\n")[0]
    assert cpu.cpu_model() == name or not name
    if "avx512_bf16" in isa:
        cpu.check_bfloat16(gpu=False)
        with pytest.raises(ValueError, match="^precision: MXNet 1.9.1 does not support bfloat16 on "
                           "a GPU: use float32, or "):
            cpu.check_bfloat16(gpu=True)
    else:
        with pytest.raises(ValueError, match=rf"^precision: {re.escape(cpu.cpu_model())} does not "
                           "support bfloat16: use float32, or a processor with AVX512-BF16 or AMX"):
            cpu.check_bfloat16(gpu=False)


def test_unknown_processor(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "_CPUINFO", str(tmp_path / "none"))
    assert cpu.cpu_flags() == frozenset()
    assert cpu.cpu_model()
    assert cpu.slow_bf16_reason(amx=False) is None


@pytest.mark.parametrize("text, amx, slow", [
    (EMERALD_RAPIDS, True, False), (EMERALD_RAPIDS, False, True), (COOPER_LAKE, False, True),
    (ZEN_4, False, False)])
def test_slow_bf16_reason(text, amx, slow, cpuinfo):
    cpuinfo(text)
    explained = cpu.slow_bf16_reason(amx)
    assert (explained is not None) == slow
    if slow:
        assert "48 instead of 62 images/s" in explained and "\n" not in explained


@pytest.mark.parametrize("group, files, quota", [
    ("0::/", {"cpu.max": "150000 100000"}, 1.5),
    ("0::/", {"cpu.max": "max 100000"}, None),
    ("0::/a/b", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"}, 0.5),
    ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "200000 100000"}, 2),
    ("0::/elsewhere", {"cpu.max": "100000 50000"}, 2),  # a container with the host's path
    ("", {}, None)])
def test_the_smallest_quota_applies(group, files, quota, tmp_path, monkeypatch):
    for name, text in {"proc/self/cgroup": group,
                       **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    quotas = cpu.list_quotas(tmp_path)
    assert min(quotas, default=None) == quota
    monkeypatch.setattr(cpu, "list_quotas", lambda: quotas)
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: range(1000, 1003))
    assert cpu.physical_cores() == math.ceil(quota or 3)


def test_no_quota_is_known_without_control_groups(tmp_path):
    assert cpu.list_quotas(tmp_path) == []
