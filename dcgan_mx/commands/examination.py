"""What the doctor looks at: all that training needs of this machine."""
from __future__ import annotations

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
import time
import warnings
from pathlib import Path
from typing import Any, Dict

from .. import __version__
from ..machine import cuda, job
from ..machine.files import cache_folder
from ..machine.processor import ISA, name_processor, physical_cores, read_isa, read_threads

_LEAST_FREE = 100e6  # bytes; a checkpoint of the full networks takes 76 MB
_PACKAGES = ("numpy", "opencv-python-headless")
_PRECISIONS = ("bfloat16", "float32")


Problem = Dict[str, Any]


def examine() -> dict[str, Any]:
    """Look at everything that training needs.

    Returns
    -------
    dict
        What `--json` prints: facts by name; `problems`, of which some stop training; `can_train`.
    """
    problems: list[Problem] = []
    threads = _explain_threads(problems)
    mxnet = {} if problems else ask_child("probe_mxnet")
    driver = ask_child("probe_driver")
    facts = {
        "dcgan_mx": {"version": __version__, "folder": str(Path(__file__).parent.parent)},
        "versions": _find_versions(),
        "processor": {"name": name_processor(), "processors": _count_processors(),
                      "physical_cores": physical_cores()},
        "bfloat16": _judge_bfloat16(bool(problems or "threads" not in mxnet), problems),
        "threads": {"number": mxnet.get("threads"), "why": threads},
        "driver": driver.get("version"),
        "gpus": _judge_gpus(mxnet, driver, problems),
        "job": _describe_job(problems),
        "folders": {name: _try_folder(name, path, problems) for name, path in
                    (("data", Path("data")), ("runs", Path("runs")), ("cache", cache_folder()))},
    }
    if "failure" in mxnet:
        problems.insert(0, _explain_failure(mxnet["failure"]))
    elif "trouble" in mxnet:
        problems.insert(0, _problem(*mxnet["trouble"]))
    can_train = not any(problem["stops"] for problem in problems)
    return {**facts, "problems": problems, "can_train": can_train}


def _problem(problem: str, mend: str, stops: bool = True) -> Problem:
    return {"problem": problem, "mend": mend, "stops": stops}


def ask_child(function: str, timeout: float = 120, **variables: str) -> dict[str, Any]:
    """Call a function of this module in a process of its own.

    MXNet and the driver can crash, hang and, as a server of a job, never return; the variables of
    a job are kept from the process.

    Parameters
    ----------
    function
        Its name; it prints a JSON object.
    timeout
        Seconds.
    variables
        What its environment has besides that of this process.

    Returns
    -------
    dict
        The object, or `failure`: one line that says how the process ended.
    """
    environ = {**{name: value for name, value in os.environ.items()
                  if not name.startswith("DMLC_")}, **variables}
    code = f"from dcgan_mx.commands import examination; examination.{function}()"
    try:
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True,
                              text=True, errors="replace", timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"failure": f"there was no answer within {timeout} seconds"}
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        if done.returncode < 0:
            said.append(f"the process was ended by {signal.Signals(-done.returncode).name}")
        return {"failure": said[-1] if said else "the process ended without an answer"}
    return answer


def probe_mxnet() -> None:
    """Print what MXNet does here, after importing all that training imports."""
    try:
        from ..machine.runtime import mx
        from . import train  # noqa: F401
    except cuda.BuildError as error:
        print(json.dumps({"trouble": error.trouble}))
        return
    ones = mx.nd.ones((1, 3, 8, 8))
    mx.nd.Convolution(ones, ones, no_bias=True, num_filter=1, kernel=(8, 8)).wait_to_read()
    try:
        gpus = mx.context.num_gpus()
    except mx.base.MXNetError:  # the driver is there, but fails; why_no_gpu asks it
        gpus = 0
    try:
        threads = ctypes.CDLL("libgomp.so.1").omp_get_max_threads()  # the one that MXNet loaded
    except OSError:  # not Linux
        threads = None
    print(json.dumps({"gpus": gpus, "threads": threads,
                      "with_cuda": mx.runtime.Features().is_enabled("CUDA")}))


def probe_bfloat16() -> None:
    """Print how long a step of small networks takes in both precisions, in milliseconds.

    It is the processor's time, of one thread: who else uses the machine has no part in it.
    """
    from ..machine.amx import prepare_bfloat16
    from ..machine.runtime import mx
    from ..symbols import make_dcgan_sym
    from ..trainer import Trainer
    n, size = 16, 32
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        prepare_bfloat16(gpu=False)
    batches = (mx.io.DataBatch([mx.nd.zeros((n, 3, size, size))], []),
               mx.io.DataBatch([mx.nd.random.normal(shape=(n, 100, 1, 1))], []))
    least: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it has to say is said
        trainers = {precision: Trainer(*make_dcgan_sym(64, 64, 3, size=size), n, (3, size, size),
                                       precision=precision) for precision in _PRECISIONS}
    for _ in range(4):
        for precision, trainer in trainers.items():
            mx.nd.waitall()
            start = time.process_time()
            trainer.step(*batches)
            mx.nd.waitall()
            seconds = time.process_time() - start
            least[precision] = min(seconds, least.get(precision, seconds))
    print(json.dumps({"milliseconds": {name: round(1000 * s, 1) for name, s in least.items()},
                      "said": [str(warning.message) for warning in said]}))


def probe_driver() -> None:
    """Print what the NVIDIA driver says."""
    driver = cuda.ask_driver()
    print(json.dumps({"version": driver.version and cuda.dotted(driver.version),
                      "gpus": driver.gpus}))


def _explain_failure(failure: str) -> Problem:
    """Say which MXNet it is that fails; another one may be first on the path."""
    spec = importlib.util.find_spec("mxnet")
    where = (spec.origin or ", ".join(spec.submodule_search_locations or ())) if spec else "missing"
    if "SIGILL" in failure:
        return _problem(f"MXNet ({where}): {failure}",
                        "take a machine, or a setting of this virtual one, with AVX")
    return _problem(f"MXNet and what it needs cannot be loaded ({where}): {failure}",
                    f"{cuda.INSTALL_CPU} --force-reinstall, and see that no other folder "
                    "named mxnet comes before it (PYTHONPATH)")


def _find_versions() -> dict[str, str]:
    versions = {"Python": platform.python_version()}
    for name in (*cuda.find_builds(), *_PACKAGES):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # OpenCV has several packages; where it lacks, the probe fails
    return versions


def _count_processors() -> int:
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1)


def _explain_threads(problems: list[Problem]) -> str:
    try:
        chosen = read_threads()
    except ValueError as error:
        problem, _, mend = str(error).partition(": ")
        problems.append(_problem(problem, mend))
        return "see below"
    return f"you set {chosen}" if chosen else "one for each physical core; OMP_NUM_THREADS " \
        "overrides it"


def _judge_bfloat16(broken: bool, problems: list[Problem]) -> dict[str, Any]:
    """Tell what the processor offers, and measure what it brings; not where MXNet is broken."""
    offers = read_isa()
    facts: dict[str, Any] = {"offers": [name for name in ISA if name in offers],
                             "milliseconds": {}, "said": []}
    if broken or not offers & {"avx512_bf16", "amx_bf16"}:
        return facts
    measured = ask_child("probe_bfloat16", OMP_NUM_THREADS="1")
    if "failure" in measured:
        problems.append(_problem(f"training in bfloat16 fails: {measured['failure']}",
                                 "train in float32", False))
    return {**facts, **measured}


def _judge_gpus(mxnet: dict[str, Any], driver: dict[str, Any], problems: list[Problem]
                ) -> list[dict[str, Any]]:
    """List the driver's GPUs, each with whether training can use it; note what hinders."""
    gpus, usable = [], False
    for number, (name, capability, memory) in enumerate(driver.get("gpus", ())):
        trouble = cuda.why_not(tuple(capability))
        gpus.append({"number": number, "name": name, "capability": ".".join(map(str, capability)),
                     "memory": memory, "usable": not trouble and mxnet.get("gpus", 0) > number})
        usable |= trouble is None
        if trouble:
            problems.append(_problem(f"GPU {number}, {name}: {trouble[0]}", trouble[1], False))
    if "failure" in driver:
        problems.append(_problem(f"asking the NVIDIA driver failed: {driver['failure']}",
                                 "see that nvidia-smi works; install the driver anew", False))
    elif mxnet.get("gpus") == 0 and (usable or not gpus):
        reason, mend = cuda.why_no_gpu(mxnet["with_cuda"])
        problems.append(_problem(f"MXNet sees no GPU: {reason}", mend, False))
    return gpus


def _describe_job(problems: list[Problem]) -> dict[str, str] | None:
    try:
        role = job.read_role()
    except ValueError as error:
        problem, _, mend = str(error).rpartition(": ")
        problems.append(_problem(problem, mend))
        return None
    return {name: os.environ[name] for name in job.VARIABLES} if role else None


def _try_folder(name: str, path: Path, problems: list[Problem]) -> dict[str, Any]:
    """Write a file that is gone at once into a folder, or into the one that it would be made in."""
    place = path.absolute()
    while not os.path.lexists(place):
        place = place.parent
    free, why = None, None
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"1")
        free = shutil.disk_usage(place).free
        if free < _LEAST_FREE:
            why = f"has only {free / 1e6:.0f} MB left"
    except OSError as error:
        why = f"cannot be written to ({error.strerror} at {place})"
    if why:
        filled = name == "data" and (path / "mnist").is_dir()
        flag = {"data": "--data-path", "runs": "--run-dir", "cache": "XDG_CACHE_HOME"}[name]
        problems.append(_problem(f"the folder {path} {why}",
                                 f"mend that, or name another place with {flag}",
                                 name != "cache" and not filled))
    return {"path": str(path), "exists": path.is_dir(), "free": free, "writable": not why,
            **(_measure_packs(path) if name == "cache" else {})}


def _measure_packs(cache: Path) -> dict[str, int]:
    packs = [path.stat().st_size for path in cache.glob("*.rec")] if cache.is_dir() else []
    return {"packs": len(packs), "bytes": sum(packs)}
