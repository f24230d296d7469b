"""MXNet's builds, the CUDA libraries that one of them needs, and the NVIDIA driver.

The build for CUDA brings machine code for some GPUs, but no CUDA library; those come as packages
of their own. They lie where no loader looks, so they are loaded by path before MXNet is.
"""
from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
from pathlib import Path
from typing import NamedTuple

CPU_BUILD = "mxnet"
GPU_BUILD = "mxnet-cu117"
VERSION = "1.9.1"
_BUILDS = (CPU_BUILD, *(f"mxnet-cu{number}" for number in (100, 101, 102, 110, 112, 117)))
# Package, version, its libraries; each library after those that it needs.
_LIBRARIES = (
    ("nvidia-cuda-runtime-cu11", "11.7.99", "libcudart.so.11.0"),
    ("nvidia-cuda-nvrtc-cu11", "11.7.99", "libnvrtc.so.11.2"),
    ("nvidia-nvtx-cu11", "11.7.91", "libnvToolsExt.so.1"),
    ("nvidia-cublas-cu11", "11.10.3.66", "libcublasLt.so.11", "libcublas.so.11"),
    ("nvidia-cufft-cu11", "10.9.0.58", "libcufft.so.10"),
    ("nvidia-curand-cu11", "10.2.10.91", "libcurand.so.10"),
    ("nvidia-cusparse-cu11", "11.7.4.91", "libcusparse.so.11"),
    ("nvidia-cusolver-cu11", "11.4.0.1", "libcusolver.so.11"),
    ("nvidia-cudnn-cu11", "8.5.0.96", "libcudnn.so.8"),
    ("nvidia-nccl-cu11", "2.14.3", "libnccl.so.2"))
# What setup.py asks for beside MXNet.
GPU_REQUIREMENTS = [f"{name}=={version}" for name, version, *_ in _LIBRARIES]
# Compute capabilities that libmxnet.so of GPU_BUILD has machine code for; it has no PTX.
_CODE = ((5, 0), (6, 0), (7, 0), (8, 0), (8, 6))
_LEAST_DRIVER = 11070  # MXNet compiles fused operators to PTX of CUDA 11.7 while it runs
_DRIVER = "libcuda.so.1"
# MXNet's metadata ask for NumPy below 2, which has no wheels for Python 3.13 and newer: there pip
# has to be told to ignore them, and on older Pythons it may.
INSTALL_CPU = f"pip install --no-deps {CPU_BUILD}=={VERSION}"
_INSTALL_GPU = ("DCGAN_MX_GPU=1 pip install --editable . && "
                f"pip install --no-deps {GPU_BUILD}=={VERSION}")


class Problem(NamedTuple):
    """What is wrong, and what mends it."""

    problem: str
    mend: str


class BuildError(ImportError):
    """MXNet's build, as it is installed, cannot be loaded here; `trouble` says why."""

    def __init__(self, *trouble: str) -> None:
        self.trouble = Problem(*trouble)
        super().__init__(": ".join(trouble))


class Gpu(NamedTuple):
    """A GPU as the driver describes it; `memory` in bytes."""

    name: str
    capability: tuple[int, int]
    memory: int


class Driver(NamedTuple):
    """The NVIDIA driver: the CUDA version that it is for, as 11070, and what keeps it from use."""

    version: int | None
    gpus: list[Gpu]
    trouble: Problem | None


def find_builds() -> list[str]:
    """Return the names of the installed packages that contain MXNet."""
    found = []
    for name in _BUILDS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.distribution(name)
            found.append(name)
    return found


def load_libraries() -> None:
    """Load the libraries that MXNet's CUDA build needs; BuildError if that is impossible."""
    builds = find_builds()
    if len(builds) > 1:
        raise BuildError(
            f"{' and '.join(builds)} are both installed, and hold the same files",
            f"pip uninstall --yes {' '.join(builds)}, as uninstalling one takes files of the "
            f"other along; then {INSTALL_CPU} for the CPU, or {_INSTALL_GPU} for a GPU")
    if builds in ([], [CPU_BUILD]):
        return
    try:
        ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise BuildError(
            f"there is no NVIDIA driver ({error}), and {builds[0]} cannot be imported without one",
            f"install the driver of your card, or take the build for the CPU, with pip uninstall "
            f"--yes {builds[0]} && {INSTALL_CPU}") from None
    if builds == [GPU_BUILD]:
        for package, version, *libraries in _LIBRARIES:
            for library in libraries:
                _load(package, version, library)
        _check_short_name()


def _find(package: str, library: str) -> Path:
    """Return the path of a package's library, or its name for the system's loader."""
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return Path(library)
    folder = "_".join(package.split("-")[1:-1])  # cuda_runtime of nvidia-cuda-runtime-cu11
    return Path(str(found.locate_file(f"nvidia/{folder}/lib/{library}")))


def _load(package: str, version: str, library: str) -> None:
    try:
        ctypes.CDLL(str(_find(package, library)), ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise BuildError(
            f"{GPU_BUILD} needs {library}, which cannot be loaded ({error})",
            f"pip install --force-reinstall --no-deps {package}=={version}") from None


def _check_short_name() -> None:
    """Raise BuildError if cuDNN cannot find the driver.

    cuDNN 8.5 loads it as libcuda.so, from its own folder or the system's, before the first
    convolution on a GPU, and aborts the process if it is not there; not every driver comes with
    this name.
    """
    link = _find("nvidia-cudnn-cu11", "libcuda.so").absolute()
    try:
        ctypes.CDLL("libcuda.so")
    except OSError as error:
        if not link.exists():
            with open("/proc/self/maps") as maps:
                driver = next(Path(line.split(maxsplit=5)[5].rstrip("\n")) for line in maps
                              if "libcuda.so" in line)
            raise BuildError(
                f"cuDNN needs the NVIDIA driver under the name libcuda.so, too ({error})",
                f"ln -sf {driver.with_name(_DRIVER)} {link}") from None


def unsupported_reason(capability: tuple[int, int]) -> Problem | None:
    """Say why MXNet's CUDA build cannot use a GPU of this compute capability; None if it can.

    Machine code runs on GPUs of the same major and the same or a higher minor number (CUDA C++
    Programming Guide, "Binary Compatibility"); PTX would run on all later ones.
    """
    major, minor = capability
    if any(major == of and minor >= least for of, least in _CODE):
        return None
    age = "new" if capability > _CODE[-1] else "old"
    return Problem(
        f"sm_{major}{minor} is too {age}: MXNet {VERSION} has machine code for sm_50 to sm_86, "
        "and no PTX", "train on the CPU, without --gpu, or on a GPU of sm_50 to sm_89")


def ask_driver() -> Driver:
    """Ask the NVIDIA driver for its version and GPUs, without MXNet."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError as error:
        return Driver(None, [], Problem(f"there is no NVIDIA driver ({error})",
                                        "install the driver of your card"))
    version, count, capability = ctypes.c_int(), ctypes.c_int(), (ctypes.c_int * 2)()
    driver.cuDriverGetVersion(ctypes.byref(version))
    status = driver.cuInit(0)
    if status:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        said = (text.value or b"unknown").decode()
        return Driver(version.value, [], Problem(
            f"the NVIDIA driver answers cuInit with error {status}, {said}",
            "see that nvidia-smi lists the card, and that CUDA_VISIBLE_DEVICES does not hide it"))
    driver.cuDeviceGetCount(ctypes.byref(count))
    gpus = []
    for number in range(count.value):
        device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        driver.cuDeviceGet(ctypes.byref(device), number)
        driver.cuDeviceGetName(name, len(name), device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        for i, attribute in enumerate((75, 76)):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
            driver.cuDeviceGetAttribute(
                ctypes.byref(capability, i * ctypes.sizeof(ctypes.c_int)), attribute, device)
        gpus.append(Gpu(name.value.decode(errors="replace"), (capability[0], capability[1]),
                        memory.value))
    return Driver(version.value, gpus, None if version.value >= _LEAST_DRIVER else Problem(
        f"the NVIDIA driver is for CUDA {dotted(version.value)}, which is too old",
        f"install one for CUDA {dotted(_LEAST_DRIVER)} or newer: version 515 or newer"))


def dotted(version: int) -> str:
    """Return a version of CUDA as NVIDIA writes it: '11.7' for 11070."""
    return f"{version // 1000}.{version % 1000 // 10}"


def no_gpu_reason(with_cuda: bool) -> Problem:
    """Say why MXNet, built with or without CUDA, sees no GPU."""
    driver = ask_driver()
    if not with_cuda:
        problem = "this is MXNet's build without CUDA"
        install = f"pip uninstall --yes {CPU_BUILD} && {_INSTALL_GPU}"
        if driver.trouble:  # the other build cannot even be imported without a driver
            return Problem(f"{problem}, and {driver.trouble.problem}",
                           f"{driver.trouble.mend}, then {install}")
        return Problem(problem, f"to get one with it, {install}")
    return driver.trouble or Problem(
        f"the NVIDIA driver lists {len(driver.gpus)} of them", "install the driver anew")
