import json
import os
import re
import subprocess
import sys

import pytest
from helpers.common import CARDS, ROOT, build_library, run_code, write_package
from packaging.markers import Marker

from dcgan_mx.system import cuda

CUDA = str(ROOT / "dcgan_mx" / "system" / "cuda.py")
LOAD = f"import runpy; runpy.run_path({CUDA!r})['load_libraries']()"


@pytest.mark.parametrize("capability, text", [
    *(((major, minor), None) for major, minor in (
        (5, 0), (5, 2), (6, 1), (7, 0), (7, 5), (8, 0), (8, 6), (8, 9))),
    ((3, 7), "sm_37 is too old"), ((9, 0), "sm_90 is too new"), ((12, 0), "sm_120 is too new")])
def test_unsupported_reason(capability, text):
    assert cuda.unsupported_reason(capability) == (None if text is None else (
        f"{text}: MXNet 1.9.1 has machine code for sm_50 to sm_86, without PTX",
        "train on the CPU, or on a GPU of sm_50 to sm_89"))


def load(folder, code=LOAD, **env):
    """Load the libraries in a process that sees the packages in a folder, and no others."""
    env = {"PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(folder), **env}
    done = subprocess.run([sys.executable, "-S", "-c", code], env={**os.environ, **env},
                          capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + "".join(done.stderr.splitlines()[-1:])


@pytest.fixture
def gpu_build(tmp_path, stub_driver):
    """The packages that DCGAN_MX_GPU=1 installs, with empty libraries, and a driver."""
    stub_driver()
    for requirement in (f"{cuda.GPU_BUILD}=={cuda.VERSION}", *cuda.GPU_REQUIREMENTS):
        write_package(tmp_path, *requirement.split("=="))
    for package, _, *libraries in cuda._LIBRARIES:
        lib = tmp_path / "nvidia" / re.sub("nvidia-(.*)-cu11", r"\1", package).replace("-", "_")
        for library in libraries:
            (lib / "lib").mkdir(parents=True, exist_ok=True)
            build_library(lib / "lib" / library)
    return tmp_path


@pytest.mark.parametrize("other", ["mxnet-cu117", "mxnet-cu112"])
def test_cpu_build_loads_nothing_and_excludes_another(other, tmp_path):
    assert load(tmp_path) == ""
    write_package(tmp_path, "mxnet")
    assert load(tmp_path) == ""
    write_package(tmp_path, other)
    message = load(tmp_path)
    assert f"BuildError: mxnet and {other} are both installed" in message
    assert f"pip uninstall --yes mxnet {other}; then pip install --no-deps mxnet==1.9.1" in message


def test_libraries_are_loaded_after_their_dependencies(gpu_build):
    code = f"""
import ctypes
real, paths = ctypes.CDLL, []
ctypes.CDLL = lambda path, *mode: (paths.append(str(path)), real(path, *mode))
{LOAD}
mapped = open("/proc/self/maps").read()
print(*(path.replace({str(gpu_build)!r}, "") for path in paths if path in mapped), sep="\\n")
"""
    assert load(gpu_build, code).split() == [
        "libcuda.so.1", *(f"/nvidia/{path}" for path in (
            "cuda_runtime/lib/libcudart.so.11.0", "cuda_nvrtc/lib/libnvrtc.so.11.2",
            "nvtx/lib/libnvToolsExt.so.1", "cublas/lib/libcublasLt.so.11",
            "cublas/lib/libcublas.so.11", "cufft/lib/libcufft.so.10",
            "curand/lib/libcurand.so.10", "cusparse/lib/libcusparse.so.11",
            "cusolver/lib/libcusolver.so.11", "cudnn/lib/libcudnn.so.8",
            "nccl/lib/libnccl.so.2")), "libcuda.so"]


def test_missing_library_is_named_with_its_package(gpu_build):
    library = gpu_build / "nvidia" / "cudnn" / "lib" / "libcudnn.so.8"
    library.unlink()
    message = load(gpu_build)
    assert f"mxnet-cu117 needs libcudnn.so.8, which cannot be loaded ({library}: " in message
    assert message.endswith("pip install --force-reinstall --no-deps nvidia-cudnn-cu11==8.5.0.96")


def test_missing_package_falls_back_to_the_system(gpu_build):
    """An administrator may have installed CUDA."""
    info, = gpu_build.glob("nvidia_cuda_runtime_cu11*")
    (info / "METADATA").unlink()
    info.rmdir()
    library = gpu_build / "nvidia" / "cuda_runtime" / "lib" / "libcudart.so.11.0"
    assert load(gpu_build).endswith("pip install --force-reinstall --no-deps "
                                    "nvidia-cuda-runtime-cu11==11.7.99")
    library.rename(gpu_build / library.name)  # on LD_LIBRARY_PATH
    assert load(gpu_build) == ""


def test_gpu_build_needs_a_driver(gpu_build):
    (gpu_build / "libcuda.so.1").write_bytes(b"")
    message = load(gpu_build)
    assert "BuildError: mxnet-cu117 needs an NVIDIA driver, which is not installed (" in message
    assert message.endswith("install the driver of your GPU, or the CPU build: pip uninstall --yes "
                            "mxnet-cu117 && pip install --no-deps mxnet==1.9.1")


def test_cudnn_needs_the_short_name_of_the_driver(gpu_build):
    """Otherwise the first convolution aborts the process."""
    (gpu_build / "libcuda.so").unlink()
    (gpu_build / "libcuda.so").write_bytes(b"")  # hides that of a machine with a driver
    link = gpu_build / "nvidia" / "cudnn" / "lib" / "libcuda.so"
    message = load(gpu_build)
    assert "BuildError: cuDNN needs the NVIDIA driver also as libcuda.so (" in message
    assert message.endswith(f"): ln -sf {gpu_build}/libcuda.so.1 {link}")
    subprocess.run(message.rpartition(": ")[2].split(), check=True)
    assert load(gpu_build) == ""


def ask(env, call):
    """Evaluate a call of `cuda` in a process with the stub driver."""
    code = f"import json; from dcgan_mx.system import cuda; print(json.dumps(cuda.{call}))"
    return json.loads(run_code(code, env=env).stdout)


def test_driver_lists_its_gpus(stub_driver):
    assert ask(stub_driver(*CARDS), "ask_driver()") == [
        "12.4", [[name, [*capability], memory] for name, capability, memory in CARDS], None]


@pytest.mark.parametrize("driver, problem", [
    ({"status": 100}, "the NVIDIA driver's cuInit returns error 100, the stub's error"),
    ({"version": 11040}, "the NVIDIA driver supports only CUDA 11.4"),
    ({}, "the NVIDIA driver lists 2 GPUs")])
def test_no_gpu_reason(driver, problem, stub_driver):
    assert ask(stub_driver(*CARDS, **driver), "no_gpu_reason(True)")[0] == problem
    other = f", and {problem}" if driver else ""
    assert ask(stub_driver(*CARDS, **driver), "no_gpu_reason(False)")[0] == (
        f"MXNet's CPU build is installed{other}")


def test_the_gpu_build_is_not_suggested_for_an_unsupported_gpu(stub_driver):
    assert ask(stub_driver(CARDS[1]), "no_gpu_reason(False)") == [
        "NVIDIA H100: sm_90 is too new: MXNet 1.9.1 has machine code for sm_50 to sm_86, without "
        "PTX", "train on the CPU, or on a GPU of sm_50 to sm_89"]


@pytest.mark.parametrize("vendor, kind, present", [
    ("0x10de", "0x030000", True), ("0x10de", "0x030200", True), ("0x10de", "0x040300", False),
    ("0x1002", "0x030000", False), (None, None, False)])
def test_missing_driver(vendor, kind, present, tmp_path, monkeypatch):
    """The device with class 0x04 is the sound controller of a card."""
    if vendor:
        device = tmp_path / "0000:01:00.0"
        device.mkdir()
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    monkeypatch.setattr(cuda, "_PCI", str(tmp_path))
    monkeypatch.setattr(cuda, "_DRIVER", str(tmp_path / "libcuda.so.1"))
    for with_cuda in (True, False):
        problem, fix = cuda.no_gpu_reason(with_cuda)
        if not present:
            assert (problem, fix) == ("no NVIDIA GPU was found", "")
            continue
        assert f"the NVIDIA driver is not installed ({tmp_path}/libcuda.so.1: " in problem
        assert fix.startswith("install the driver of your GPU, or start the container with ")
        assert ("pip uninstall --yes mxnet && DCGAN_MX_GPU=1 pip install --editable "
                f"{ROOT} && " in fix) == (not with_cuda)


@pytest.mark.parametrize("value, build, libraries", [
    ("", "mxnet==1.9.1", []), ("0", "mxnet==1.9.1", []),
    ("1", "mxnet-cu117==1.9.1", cuda.GPU_REQUIREMENTS), ("yes", None, None)])
def test_setup_requires_one_build(value, build, libraries, tmp_path):
    """On Python 3.13 users install MXNet separately, so setup requires its dependencies."""
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", str(tmp_path)], cwd=ROOT,
        env={**os.environ, "DCGAN_MX_GPU": value}, capture_output=True, text=True, timeout=60,
        check=False)
    if build is None:
        assert done.returncode == 1
        assert "ValueError: DCGAN_MX_GPU: invalid value 'yes': expected 1 for" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "dcgan_mx.egg-info" / "requires.txt").read_text().splitlines()

    def find(python):
        wanted, found = True, set()
        for line in lines:
            if line.startswith("["):  # [extra:marker]
                extra, _, marker = line[1:-1].partition(":")
                wanted = not extra and Marker(marker).evaluate({"python_version": python})
            elif wanted and line.startswith(("mxnet", "nvidia", "requests", "numpy")):
                found.add(line)
        return found
    assert find("3.12") == {build, "numpy", *libraries}
    assert find("3.13") == {"requests", "numpy", *libraries}
