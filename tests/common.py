"""What many tests use."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dcgan_mx.runs.run import Run

ROOT = Path(__file__).parent.parent
# Name, compute capability, memory of the GPUs that a stub of the driver may list.
CARDS = [("NVIDIA GeForce RTX 3060", (8, 6), 12 * 2**30), ("NVIDIA H100", (9, 0), 80 * 2**30)]


def read_numbers(run_dir):
    """A run's log without its times."""
    return [{name: value for name, value in record.items()
             if name not in ("images_per_s", "seconds")} for record in Run(run_dir).read_log()]


def require(packages, *programs):
    """Skip a test for which programs are missing; where CI is set, fail it."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        reason = f"{' and '.join(missing)} missing: apt install {packages}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def build_library(path, code=""):
    """Build a shared library of C code."""
    require("gcc libc6-dev", "gcc")
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)], input=code,
                   text=True, check=True)
