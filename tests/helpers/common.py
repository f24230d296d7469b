"""Helpers of many tests."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dcgan_mx.system.cpu import cpu_flags
from tools.common import read_events

ROOT = Path(__file__).parents[2]
# Name, compute capability and memory of the GPUs of the stub driver.
CARDS = [("NVIDIA GeForce RTX 3060", (8, 6), 12 * 2**30), ("NVIDIA H100", (9, 0), 80 * 2**30)]


def read_scalars(run_dir):
    """Return the scalars of a run in TensorBoard by tag and step."""
    return {(value.tag, event.step): value.simple_value for event in read_events(run_dir)
            for value in event.summary.value if not value.HasField("image")}


def require(packages, *programs):
    """Skip a test if programs are missing; fail it if CI is set."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        reason = f"{' and '.join(missing)} missing: apt install {packages}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def build_library(path, code=""):
    """Build a shared library from C code."""
    require("gcc libc6-dev", "gcc")
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)], input=code,
                   text=True, check=True)


def run_code(code, *args, check=True, **kwargs):
    """Run Python code in a new process; return the CompletedProcess."""
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True,
                          text=True, timeout=300, check=check, **kwargs)


def write_package(folder, name, version="1.9.1"):
    """Make a package look installed, as importlib.metadata and pip see it."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


needs_bfloat16 = pytest.mark.skipif(not cpu_flags() & {"avx512_bf16", "amx_bf16"},
                                    reason="the processor does not support bfloat16")
