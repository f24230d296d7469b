"""MXNet's CPU and GPU builds, the CUDA libraries of the GPU build, and the NVIDIA driver.

NVIDIA's packages install the libraries outside of the loader's path, so they are loaded by path.
"""
from __future__ import annotations

import ctypes
import importlib.metadata
import shlex
from pathlib import Path
from typing import Any, NamedTuple

CPU_BUILD = "mxnet"
GPU_BUILD = "mxnet-cu117"
VERSION = "1.9.1"
_BUILDS = (CPU_BUILD, *(f"mxnet-cu{number}" for number in (100, 101, 102, 110, 112, 117)))
# Package, version, libraries; each library comes after its dependencies.
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
# setup.py adds these to the GPU build.
GPU_REQUIREMENTS = [f"{name}=={version}" for name, version, *_ in _LIBRARIES]
_MIN_DRIVER = 11070  # MXNet compiles fused operators to PTX of CUDA 11.7 at run time
_DRIVER = "libcuda.so.1"
# --no-deps: MXNet's metadata requires NumPy below 2, which has no wheels from Python 3.13 on.
INSTALL_CPU = f"pip install --no-deps {CPU_BUILD}=={VERSION}"
_CLONE = Path(__file__).parents[2]
_INSTALL_GPU = (
    f"DCGAN_MX_GPU=1 pip install --editable {shlex.quote(str(_CLONE))} && "
    f"pip install --no-deps {GPU_BUILD}=={VERSION}" if (_CLONE / "setup.py").exists() else
    f"pip install --no-deps {GPU_BUILD}=={VERSION} {' '.join(GPU_REQUIREMENTS)}")
_PCI = "/sys/bus/pci/devices"
_NVIDIA = "0x10de"  # NVIDIA's number as a vendor of PCI devices


class Problem(NamedTuple):
    """A problem and its fix, "" if there is none, both as parts of a sentence."""

    problem: str
    fix: str


NO_GPU = Problem("no NVIDIA GPU was found", "")


class BuildError(ImportError):
    """The installed build of MXNet cannot be loaded; `problem` has the reason and the fix."""

    def __init__(self, problem: str, fix: str) -> None:
        self.problem = Problem(problem, fix)
        super().__init__(f"{problem}: {fix}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(self.problem)


class Gpu(NamedTuple):
    """A GPU as the driver describes it, with its memory in bytes."""

    name: str
    capability: tuple[int, int]
    memory: int


class Driver(NamedTuple):
    """The NVIDIA driver: its CUDA version, such as 12.4, and the problem that prevents its use."""

    version: str | None
    gpus: list[Gpu]
    problem: Problem | None


def find_builds() -> list[str]:
    """Return the names of the installed packages that contain MXNet."""
    return [name for name in _BUILDS if any(importlib.metadata.distributions(name=name))]


def load_libraries() -> None:
    """Load the CUDA libraries that the installed build of MXNet needs, or raise BuildError."""
    builds = find_builds()
    if len(builds) > 1:
        raise BuildError(
            f"{' and '.join(builds)} are both installed, but contain the same files",
            f"pip uninstall --yes {' '.join(builds)}; then {INSTALL_CPU} for the CPU, or "
            f"{_INSTALL_GPU} for a GPU")
    if builds != [GPU_BUILD]:
        return
    try:
        ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise BuildError(
            f"{GPU_BUILD} needs an NVIDIA driver, which is not installed ({error})",
            f"install the driver of your GPU, or the CPU build: pip uninstall --yes {GPU_BUILD} && "
            f"{INSTALL_CPU}") from None
    for package, version, *libraries in _LIBRARIES:
        for library in libraries:
            try:
                ctypes.CDLL(str(_find(package, library)), ctypes.RTLD_GLOBAL)
            except OSError as error:
                raise BuildError(
                    f"{GPU_BUILD} needs {library}, which cannot be loaded ({error})",
                    f"pip install --force-reinstall --no-deps {package}=={version}") from None
    _check_short_name()


def _find(package: str, library: str) -> Path:
    """Return the path of a package's library; its plain name if the package is not installed."""
    folder = "_".join(package.split("-")[1:-1])  # cuda_runtime of nvidia-cuda-runtime-cu11
    for found in importlib.metadata.distributions(name=package):
        return Path(str(found.locate_file(f"nvidia/{folder}/lib/{library}")))
    return Path(library)


def _check_short_name() -> None:
    """Raise BuildError if cuDNN cannot find the driver."""
    # Before the first convolution on a GPU, cuDNN 8.5 loads the driver as libcuda.so, from its own
    # folder or the system's, and aborts the process if that fails. Some drivers lack this name.
    link = _find("nvidia-cudnn-cu11", "libcuda.so").absolute()
    try:
        ctypes.CDLL("libcuda.so")
    except OSError as error:
        if not link.exists():
            with open("/proc/self/maps") as maps:
                driver = next(Path(line.split(maxsplit=5)[5].rstrip("\n")) for line in maps
                              if "libcuda.so" in line)
            raise BuildError(
                f"cuDNN needs the NVIDIA driver also as libcuda.so ({error})",
                f"ln -sf {driver.with_name(_DRIVER)} {link}") from None


def unsupported_reason(capability: tuple[int, int]) -> Problem | None:
    """Return why the GPU build does not support a compute capability; None if it does.

    It has machine code for 5.0, 6.0, 7.0, 8.0 and 8.6, which runs on GPUs of the same major and the
    same or a higher minor version (CUDA C++ Programming Guide, "Binary Compatibility").
    """
    major, minor = capability
    if 5 <= major <= 8:
        return None
    age = "new" if major > 8 else "old"
    return Problem(
        f"sm_{major}{minor} is too {age}: MXNet {VERSION} has machine code for sm_50 to sm_86, "
        "without PTX", "train on the CPU, or on a GPU of sm_50 to sm_89")


def ask_driver() -> Driver:
    """Ask the NVIDIA driver for its version and GPUs, without MXNet."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError as error:
        return Driver(None, [], Problem(
            f"the NVIDIA driver is not installed ({error})",
            "install the driver of your GPU, or start the container with --gpus all")
            if _has_gpu() else NO_GPU)
    number = _get_int(driver.cuDriverGetVersion)
    version = f"{number // 1000}.{number % 1000 // 10}"  # 11070 is 11.7
    status = driver.cuInit(0)
    if status:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        message = (text.value or b"unknown").decode()
        return Driver(version, [], Problem(
            f"the NVIDIA driver's cuInit returns error {status}, {message}",
            "check that nvidia-smi lists the GPU and CUDA_VISIBLE_DEVICES does not hide it"))
    gpus = []
    for i in range(_get_int(driver.cuDeviceGetCount)):
        device = _get_int(driver.cuDeviceGet, i)
        name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
        driver.cuDeviceGetName(name, len(name), device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
        capability = (_get_int(driver.cuDeviceGetAttribute, 75, device),
                      _get_int(driver.cuDeviceGetAttribute, 76, device))
        gpus.append(Gpu(name.value.decode(errors="replace"), capability, memory.value))
    return Driver(version, gpus, None if number >= _MIN_DRIVER else Problem(
        f"the NVIDIA driver supports only CUDA {version}",
        "install a driver of version 515 or newer, for CUDA 11.7"))


def _has_gpu() -> bool:
    """Whether a PCI device of NVIDIA is a display or 3D controller."""
    return any((device / "vendor").read_text().strip() == _NVIDIA
               and (device / "class").read_text().startswith("0x03")
               for device in Path(_PCI).glob("*"))


def _get_int(function: Any, *arguments: int) -> int:
    """Call a function of the driver that writes an integer to its first argument."""
    value = ctypes.c_int()
    function(ctypes.byref(value), *arguments)
    return value.value


def no_gpu_reason(with_cuda: bool) -> Problem:
    """Return why MXNet, built with or without CUDA, sees no GPU."""
    driver = ask_driver()
    if driver.problem == NO_GPU:
        return NO_GPU
    if with_cuda:
        return driver.problem or Problem(
            f"the NVIDIA driver lists {len(driver.gpus)} GPUs", "reinstall the driver")
    reasons = [reason for gpu in driver.gpus if (reason := unsupported_reason(gpu.capability))]
    if reasons and len(reasons) == len(driver.gpus):
        problem, fix = reasons[0]
        return Problem(f"{driver.gpus[0].name}: {problem}", fix)
    install = f"pip uninstall --yes {CPU_BUILD} && {_INSTALL_GPU}"
    if driver.problem:  # without a driver, the GPU build cannot even be imported
        return Problem(f"MXNet's CPU build is installed, and {driver.problem.problem}",
                       f"{driver.problem.fix}, then {install}")
    return Problem("MXNet's CPU build is installed", f"install the GPU build: {install}")
