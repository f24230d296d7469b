"""Diagnostics of everything that training needs from the machine."""
from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict

from .. import __version__
from ..system import cuda, job_role
from ..system.cpu import ISA, cpu_flags, cpu_model, physical_cores, read_threads
from ..system.files import data_folder

_MIN_FREE = 100e6  # bytes; a checkpoint of the default networks takes 76 MB
_PACKAGES = ("numpy", "opencv-python-headless", "opencv-python")

Problem = Dict[str, Any]  # problem, fix, and whether it stops training


def collect_env() -> dict[str, Any]:
    """Return the content of `dcgan-mx doctor --json`: facts, `problems` and `can_train`."""
    problems: list[Problem] = []
    threads = _check_variables(read_threads, problems)
    _check_variables(job_role.read_role, problems)
    mxnet = {} if problems else ask_child("probe_mxnet")
    driver = ask_child("probe_driver")
    if "failure" in mxnet:
        problems.append(_explain_failure(mxnet["failure"]))
    elif "problem" in mxnet:
        problems.append(_problem(*mxnet["problem"]))
    flags = cpu_flags()
    # The number that MXNet's own variable sets is not OpenMP's.
    number = int(threads.partition("=")[2]) if threads and mxnet else mxnet.get("threads")
    env = {
        "dcgan_mx": {"version": __version__, "folder": str(Path(__file__).parent.parent)},
        "versions": _find_versions(),
        "processor": {"name": cpu_model(), "physical_cores": physical_cores(),
                      "bfloat16": [name for name in ISA if name in flags]},
        "threads": {"number": number, "why": f"you set {threads}" if threads else
                    "one per physical core; set OMP_NUM_THREADS to change"},
        "driver": driver.get("version"),
        "gpus": _list_gpus(mxnet, driver, problems),
        "job": {name: os.environ[name] for name in job_role.VARIABLES if os.environ.get(name)}
               or None,
        "folders": {name: _check_folder(name, path, problems) for name, path in
                    (("data", data_folder()), ("runs", Path("runs")))},
    }
    can_train = not any(problem["stops"] for problem in problems)
    return {**env, "problems": problems, "can_train": can_train}


def _problem(problem: str, fix: str, stops: bool = True) -> Problem:
    return {"problem": problem, "fix": fix, "stops": stops}


def ask_child(function: str, timeout: float = 120) -> dict[str, Any]:
    """Call a function of this module in a child process; return the JSON that it prints.

    MXNet and the driver can crash or hang, and importing MXNet as a server of a job never returns.
    If the child prints no JSON, `failure` explains in one line how it ended.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DMLC_")}
    # With -c, Python looks for modules in the current folder first.
    code = (f"import sys; del sys.path[0]; sys.path.append({str(Path(__file__).parents[2])!r}); "
            f"from dcgan_mx.cli import diagnostics; diagnostics.{function}()")
    try:
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True,
                              text=True, errors="replace", timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"failure": f"no answer within {timeout} seconds"}
    errors = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        if done.returncode < 0:
            errors.append(f"the process was ended by {signal.Signals(-done.returncode).name}")
        return {"failure": errors[-1] if errors else "the process ended without an answer"}
    return answer


def probe_mxnet() -> None:
    """Import what training imports, compute one convolution, and print what MXNet detects."""
    try:
        from ..system.runtime import mx
        from . import train  # noqa: F401
    except cuda.BuildError as error:
        print(json.dumps({"problem": error.problem}))
        return
    ones = mx.nd.ones((1, 3, 8, 8))
    mx.nd.Convolution(ones, ones, no_bias=True, num_filter=1, kernel=(8, 8)).wait_to_read()
    try:
        gpus = mx.context.num_gpus()
    except mx.base.MXNetError:  # a driver that fails; cuda.no_gpu_reason explains it
        gpus = 0
    try:
        threads = ctypes.CDLL("libgomp.so.1").omp_get_max_threads()  # MXNet has loaded it
    except OSError:  # not Linux
        threads = None
    print(json.dumps({"gpus": gpus, "threads": threads,
                      "with_cuda": mx.runtime.Features().is_enabled("CUDA")}))


def probe_driver() -> None:
    """Print what the NVIDIA driver reports."""
    driver = cuda.ask_driver()
    print(json.dumps({"version": driver.version, "gpus": driver.gpus}))


def _explain_failure(failure: str) -> Problem:
    """Name the MXNet that fails: Python may have found another one first."""
    spec = importlib.util.find_spec("mxnet")
    where = spec.origin if spec else "not found"
    if "SIGILL" in failure:
        return _problem(f"MXNet ({where}): {failure}", "use a processor with AVX; enable AVX if "
                        "this is a virtual machine")
    return _problem(f"cannot load MXNet or its dependencies ({where}): {failure}",
                    f"{cuda.INSTALL_CPU} --force-reinstall, and check that PYTHONPATH does not "
                    "contain another folder named mxnet")


def _find_versions() -> dict[str, str]:
    """Return the versions of Python, MXNet's builds and the packages that are installed."""
    versions = {"Python": platform.python_version()}
    for name in (*cuda.find_builds(), *_PACKAGES):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _check_variables(read: Callable[[], str | None], problems: list[Problem]) -> str | None:
    """Return what a function reads from environment variables; add a problem if it fails."""
    try:
        return read()
    except ValueError as error:
        problem, _, fix = str(error).rpartition(": ")
        problems.append(_problem(problem, fix))
        return "an invalid value, see below"


def _list_gpus(mxnet: dict[str, Any], driver: dict[str, Any], problems: list[Problem]
               ) -> list[dict[str, Any]]:
    """List the driver's GPUs and whether training can use them; add problems."""
    gpus, supported = [], False
    for number, (name, capability, memory) in enumerate(driver.get("gpus", ())):
        reason = cuda.unsupported_reason(tuple(capability))
        gpus.append({"number": number, "name": name, "capability": ".".join(map(str, capability)),
                     "memory": memory, "usable": not reason and mxnet.get("gpus", 0) > number})
        supported |= reason is None
        if reason:
            problems.append(_problem(f"GPU {number}, {name}: {reason[0]}", reason[1], False))
    if "failure" in driver:
        problems.append(_problem(f"the NVIDIA driver does not respond: {driver['failure']}",
                                 "check that nvidia-smi works; reinstall the driver", False))
    elif mxnet.get("gpus") == 0 and (supported or not gpus):
        problem, fix = cuda.no_gpu_reason(mxnet["with_cuda"])
        if fix:
            problems.append(_problem(f"MXNet detects no GPU: {problem}", fix, False))
    return gpus


def _check_folder(name: str, path: Path, problems: list[Problem]) -> dict[str, Any]:
    """Write a temporary file to a folder, or to its nearest existing parent."""
    place = path.absolute()
    while not os.path.lexists(place):
        place = place.parent
    free, problem = None, None
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"1")
        free = shutil.disk_usage(place).free
        if free < _MIN_FREE:
            problem = f"has only {free / 1e6:.0f} MB of free space"
    except OSError as error:
        problem = f"is not writable ({error.strerror} at {place})"
    if problem:
        downloaded = name == "data" and (path / "mnist").is_dir()
        flag = {"data": "--data-path", "runs": "--run-dir"}[name]
        problems.append(_problem(f"the folder {path} {problem}", "make room or change its "
                                 f"permissions, or choose another folder with {flag}",
                                 not downloaded))
    return {"path": str(path), "exists": path.is_dir(), "free": free, "writable": not problem}
