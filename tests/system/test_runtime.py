import os
import subprocess
import sys
from pathlib import Path

import pytest

from dcgan_mx.system.runtime import physical_cores


def run(code, cpus=None, **env):
    """Run Python code in a new process, on some processors only."""
    clean = {k: v for k, v in os.environ.items()
             if k not in ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **env}, capture_output=True, text=True,
        timeout=100, check=True,
        preexec_fn=None if cpus is None else lambda: os.sched_setaffinity(0, cpus))
    return done.stdout + done.stderr


THREADS = "import os, dcgan_mx.system.runtime; print(os.environ.get('OMP_NUM_THREADS'))"


def test_one_thread_for_each_core_of_the_affinity_mask():
    assert run(THREADS, cpus={min(os.sched_getaffinity(0))}) == "1\n"
    assert run(THREADS) == f"{physical_cores()}\n"


def test_hardware_threads_of_a_core_count_once():
    siblings = {}
    for cpu in os.sched_getaffinity(0):
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        key = (tuple((topology / name).read_text() for name in ("physical_package_id", "core_id"))
               if topology.exists() else cpu)  # a chroot without /sys: processors count
        siblings.setdefault(key, []).append(cpu)
    assert physical_cores() == len(siblings)


def test_a_users_number_of_threads_wins():
    assert run(THREADS, OMP_NUM_THREADS="7") == "7\n"
    assert run(THREADS, MXNET_OMP_MAX_THREADS="1") == "None\n"


def test_mxnet_takes_the_threads():
    code = ("import ctypes, dcgan_mx.system.runtime; "
            "print(ctypes.CDLL('libgomp.so.1').omp_get_max_threads())")
    assert run(code, OMP_NUM_THREADS="3") == "3\n"
    assert run(code) == f"{physical_cores()}\n"


def test_the_launcher_loads_neither_mxnet_nor_what_changes_the_environment():
    code = ("import os, sys; before = dict(os.environ); import dcgan_mx.distributed.launch; "
            "print({'mxnet', 'cv2'} & {*sys.modules}, before == dict(os.environ))")
    assert run(code) == "set() True\n"


def test_a_job_half_told_ends_in_one_line():
    done = subprocess.run([sys.executable, "-c", "import dcgan_mx.system.runtime"], timeout=100,
                          env={**os.environ, "DMLC_ROLE": "server"}, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 2
    assert done.stderr == ("error: DMLC_PS_ROOT_URI is not set, but DMLC_ROLE is: start the job "
                           "with dcgan-mx launch, or unset all DMLC_ variables\n")


@pytest.mark.parametrize("value", ["abc", "0", "-1", "1.5"])
def test_a_bad_number_of_threads_ends_in_one_line(value):
    done = subprocess.run([sys.executable, "-c", "import dcgan_mx.system.runtime"], timeout=100,
                          env={**os.environ, "OMP_NUM_THREADS": value}, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (f"error: OMP_NUM_THREADS is {value!r}: give a whole number from 1, or "
                           "unset it\n")


def test_quiet_start():
    code = ("from dcgan_mx import make_dcgan_sym, Trainer; "
            "Trainer(*make_dcgan_sym(1, 1, 3, size=16), 2, (3, 16, 16))")
    assert run(code) == ""
    assert run(code, PYTHONWARNINGS="default") == ""


def test_public_names_are_imported_when_they_are_used():
    code = """
import sys
import dcgan_mx
assert "mxnet" not in sys.modules and "cv2" not in sys.modules
assert {*dcgan_mx.__all__} <= {*dir(dcgan_mx)}
from dcgan_mx.runs import checkpoint
from dcgan_mx.hooks import loggers
assert checkpoint.__name__ == "dcgan_mx.runs.checkpoint"
from dcgan_mx import *
from dcgan_mx.trainer import Trainer as same
assert Trainer is same and dcgan_mx.Trainer is same
assert dcgan_mx.visual is visual is sys.modules["dcgan_mx.visual"].visual
print({*dcgan_mx.__all__} - {*vars()})
try:
    dcgan_mx.Trainr
except AttributeError as error:
    print(error)
"""
    assert run(code) == (
        "set()\nmodule 'dcgan_mx' has no attribute 'Trainr'\n")
