"""MXNet's real GPU build, on any machine: `make test-cuda` makes .venv-cuda and runs this."""
import json
import mmap
import os
import struct
import subprocess

import pytest
from helpers.common import ROOT

from dcgan_mx.system import cuda
from tools.common import read_numbers

VENV = ROOT / ".venv-cuda"
PYTHON = VENV / "bin" / "python"
SITE, = VENV.glob("lib/python*/site-packages")


@pytest.fixture
def run(tmp_path):
    """A function that runs the Python of .venv-cuda; pip would find the checkout's egg-info."""
    def run(*args, env=os.environ):
        env = {name: value for name, value in env.items() if name != "PYTHONPATH"}
        return subprocess.run([str(PYTHON), *map(str, args)], cwd=tmp_path, env=env,
                              capture_output=True, text=True, timeout=500, check=False)
    return run


def one_line(done):
    return " ".join(done.stdout.split())


def test_pip_installs_one_build_without_conflicts(run):
    assert one_line(run("-m", "pip", "check")) == "No broken requirements found."
    frozen = run("-m", "pip", "freeze").stdout.splitlines()
    assert sorted(line for line in frozen if line.startswith(("mxnet", "nvidia"))) == sorted(
        [f"{cuda.GPU_BUILD}=={cuda.VERSION}", *cuda.GPU_REQUIREMENTS])
    assert any(line.startswith("tensorboardX") for line in frozen)  # installed after it


def test_without_a_driver(run, tmp_path):
    (tmp_path / "libcuda.so.1").write_bytes(b"")  # hides that of a machine with a driver
    no_driver = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = run("-c", "from dcgan_mx import Trainer", env=no_driver)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "mxnet-cu117 needs an NVIDIA driver, which is not installed (" in line
    assert line.endswith("install the driver of your GPU, or the CPU build: pip uninstall --yes "
                         "mxnet-cu117 && pip install --no-deps mxnet==1.9.1")
    done = run("-m", "dcgan_mx", "doctor", env=no_driver)
    assert done.returncode == 1
    assert "mxnet-cu117 needs an NVIDIA driver, which is not installed (" in one_line(done)


def test_with_a_driver_and_no_gpu(run, stub_driver):
    env = stub_driver(status=100)
    done = run("-c", "from dcgan_mx.system.runtime import mx; print(mx.context.num_gpus(), "
               "mx.runtime.Features().is_enabled('CUDA'), mx.nd.ones(3).sum().asscalar())", env=env)
    assert (done.stdout, done.stderr) == ("0 True 3.0\n", "")
    facts = json.loads(run("-m", "dcgan_mx", "doctor", "--json", env=env).stdout)
    assert facts["can_train"] and facts["gpus"] == [] and facts["driver"] == "12.4"
    done = run(ROOT / "scripts" / "train.py", "--dataset", "synthetic", "--gpu", 0,
               "--require-gpu", "--dry-run", env=env)
    assert done.returncode == 2
    line, = done.stderr.splitlines()
    assert line.startswith("error: --gpu: 0: MXNet sees no GPU: the NVIDIA driver's cuInit returns "
                           "error 100, the stub's error; check that nvidia-smi")


def test_training_on_the_cpu_equals_the_cpu_build(run, script, stub_driver, tmp_path):
    flags = ("--dataset", "synthetic", "--size", 16, "--ngf", 4, "--ndf", 4, "--batch-size", 8,
             "--max-steps", 20, "--disp-batches", 1, "--run-dir")
    for done in (run(ROOT / "scripts" / "train.py", *flags, tmp_path / "gpu",
                     env=stub_driver(status=100)), script("train.py", *flags, tmp_path / "cpu")):
        assert done.returncode == 0, done.stderr
    assert read_numbers(tmp_path / "gpu") == read_numbers(tmp_path / "cpu")


def check_parts(run, env):
    """Assert that cuDNN and NVRTC find the libraries that they load when they are called."""
    done = run("-c", """
import ctypes
from dcgan_mx.system.runtime import mx
cudnn, nvrtc = ctypes.CDLL("libcudnn.so.8"), ctypes.CDLL("libnvrtc.so.11.2")
print(*(getattr(cudnn, f"cudnn{part}VersionCheck")() for part in (
    "OpsInfer", "OpsTrain", "CnnInfer", "CnnTrain", "AdvInfer", "AdvTrain")))
program, size = ctypes.c_void_p(), ctypes.c_size_t()
kernel = b'extern "C" __global__ void twice(float *x) { x[threadIdx.x] *= 2; }'
flags = (ctypes.c_char_p * 1)(b"--gpu-architecture=compute_86")
print(nvrtc.nvrtcCreateProgram(ctypes.byref(program), kernel, b"k.cu", 0, None, None),
      nvrtc.nvrtcCompileProgram(program, 1, flags),
      nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size)), size.value > 100)
""", env=env)
    assert done.stdout == "0 0 0 0 0 0\n0 0 0 True\n", done.stderr


def test_cudnn_finds_its_parts_also_by_the_link_that_the_doctor_names(run, stub_driver, tmp_path):
    env = stub_driver(status=100)
    check_parts(run, env)
    short = tmp_path / "libcuda.so"
    short.unlink()
    short.write_bytes(b"")  # hides that of a machine with a driver
    problem, = json.loads(run("-m", "dcgan_mx", "doctor", "--json", env=env).stdout)["problems"]
    short.unlink()
    assert problem["stops"]
    *_, link = fix = problem["fix"].split()
    assert link == str(SITE / "nvidia" / "cudnn" / "lib" / "libcuda.so")
    subprocess.run(fix, check=True)
    try:
        check_parts(run, env)
    finally:
        os.unlink(link)


def test_machine_code_in_the_library():
    """It is in fat binaries; the layout is that of the CUDA toolkit's fatbinary_section.h."""
    found, at = set(), 0
    with open(SITE / "mxnet" / "libmxnet.so", "rb") as f, \
            mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while (at := data.find(struct.pack("<I", 0xBA55ED50), at)) >= 0:
            header, size = struct.unpack_from("<6xHQ", data, at)
            part, at = at + header, at + 4
            end = part + size
            while header == 16 and part + 32 < end <= len(data):
                kind, header_size, size, arch = struct.unpack_from("<H2xIQ12xI", data, part)
                found.add(({1: "PTX", 2: "machine code"}[kind], arch))
                part += header_size + size
    assert found == {("machine code", number) for number in (50, 60, 70, 80, 86)}


def test_two_builds_are_rejected_and_repaired(run, stub_driver):
    """The last test, because it breaks the GPU build, as a plain pip install does."""
    done = run("-m", "pip", "install", "--quiet", "--no-deps", f"{cuda.CPU_BUILD}=={cuda.VERSION}")
    assert done.returncode == 0, done.stderr
    env = stub_driver(status=100)
    done = run("-c", "from dcgan_mx import Trainer", env=env)
    assert "mxnet and mxnet-cu117 are both installed" in done.stderr.splitlines()[-1]
    done = run("-m", "dcgan_mx", "doctor", env=env)
    assert done.returncode == 1
    assert "mxnet and mxnet-cu117 are both installed" in one_line(done)
    subprocess.run(["make", f"VENV={VENV.name}", "install-gpu"], cwd=ROOT,
                   env=env, check=True, timeout=500)
    test_with_a_driver_and_no_gpu(run, stub_driver)
