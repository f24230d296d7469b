"""Facts from /proc/cpuinfo, on texts of several processors."""
import pytest

from dcgan_mx.system import cpu

EMERALD_RAPIDS = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 207
model name\t: Intel(R) Xeon(R) Processor
stepping\t: 2
microcode\t: 0x1
cpu MHz\t\t: 2100.000
cache size\t: 307200 KB
flags\t\t: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx \
fxsr sse sse2 ss ht syscall nx pdpe1gb rdtscp lm constant_tsc rep_good nopl xtopology nonstop_tsc \
cpuid tsc_known_freq pni pclmulqdq ssse3 fma cx16 pcid sse4_1 sse4_2 x2apic movbe popcnt \
tsc_deadline_timer aes xsave avx f16c rdrand hypervisor lahf_lm abm 3dnowprefetch cpuid_fault \
ssbd ibrs ibpb stibp ibrs_enhanced fsgsbase tsc_adjust bmi1 avx2 smep bmi2 erms invpcid avx512f \
avx512dq rdseed adx smap avx512ifma clflushopt clwb avx512cd sha_ni avx512bw avx512vl xsaveopt \
xsavec xgetbv1 xsaves avx_vnni avx512_bf16 wbnoinvd arat avx512vbmi umip pku ospke avx512_vbmi2 \
gfni vaes vpclmulqdq avx512_vnni avx512_bitalg avx512_vpopcntdq rdpid bus_lock_detect cldemote \
movdiri movdir64b fsrm md_clear serialize tsxldtrk ibt amx_bf16 avx512_fp16 amx_tile amx_int8 \
flush_l1d arch_capabilities
bugs\t\t: spectre_v1 spectre_v2 spec_store_bypass swapgs taa eibrs_pbrsb bhi ibpb_no_ret \
spectre_v2_user

processor\t: 1
vendor_id\t: GenuineIntel
"""
COOPER_LAKE = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Platinum 8376H CPU @ 2.60GHz
flags\t\t: fpu vme fma avx2 avx512f avx512dq avx512cd avx512bw avx512vl avx512_bf16 avx512_vnni
"""
ZEN_4 = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC 9R14
flags\t\t: fpu vme de pse fma avx f16c avx2 avx512f avx512dq adx smap avx512ifma clflushopt clwb \
avx512cd sha_ni avx512bw avx512vl avx512_bf16 clzero xsaveerptr avx512vbmi avx512_vnni
"""
ZEN_3 = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC 7R13 Processor
flags\t\t: fpu vme de pse fma avx f16c avx2 smap clflushopt clwb sha_ni vaes vpclmulqdq rdpid
"""
NEOVERSE_V1 = """\
processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd evtstrm aes sha1 sha2 atomics fphp asimdhp sve svebf16 i8mm bf16 dgh rng
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd40
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
    if "avx512_bf16" in isa:
        cpu.check_bfloat16(gpu=False)
    else:
        with pytest.raises(ValueError, match=r"^precision: .+ does not support bfloat16: use "
                           "float32, or a processor with AVX512-BF16 or AMX$"):
            cpu.check_bfloat16(gpu=False)


def test_cpu_model_is_the_first_model_name(cpuinfo):
    cpuinfo(EMERALD_RAPIDS)
    assert cpu.cpu_model() == "Intel(R) Xeon(R) Processor"
    cpuinfo(ZEN_3)
    with pytest.raises(ValueError, match="AMD EPYC 7R13 Processor does not"):
        cpu.check_bfloat16(gpu=False)


def test_unknown_processor(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "_CPUINFO", str(tmp_path / "none"))
    assert cpu.cpu_flags() == frozenset()
    assert cpu.cpu_model()
    assert cpu.slow_bf16_reason(amx=False) is None


def test_bfloat16_on_a_gpu_is_rejected(cpuinfo):
    cpuinfo(EMERALD_RAPIDS)
    with pytest.raises(ValueError, match="^precision: MXNet 1.9.1 does not support bfloat16 on a "
                       "GPU: use float32, or "):
        cpu.check_bfloat16(gpu=True)


@pytest.mark.parametrize("text, amx, slow", [
    (EMERALD_RAPIDS, True, False), (EMERALD_RAPIDS, False, True), (COOPER_LAKE, False, True),
    (ZEN_4, False, False)])
def test_slow_bf16_reason(text, amx, slow, cpuinfo):
    cpuinfo(text)
    explained = cpu.slow_bf16_reason(amx)
    assert (explained is not None) == slow
    if slow:
        assert "48 images/s instead of 62" in explained and "\n" not in explained
