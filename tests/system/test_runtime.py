import os
from pathlib import Path

import pytest
from helpers.common import run_code

from dcgan_mx.system import cpu as cpu_facts
from dcgan_mx.system.cpu import physical_cores


def run(code, cpus=None, **env):
    """Run Python code in a new process, optionally on some CPUs only; return its output."""
    clean = {k: v for k, v in os.environ.items()
             if k not in ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS")}
    done = run_code(
        code, env={**clean, **env},
        preexec_fn=None if cpus is None else lambda: os.sched_setaffinity(0, cpus))
    return done.stdout + done.stderr


THREADS = """
import ctypes, os, dcgan_mx.system.runtime
print(os.environ.get("OMP_NUM_THREADS"), ctypes.CDLL("libgomp.so.1").omp_get_max_threads(),
      os.environ.get("DMLC_ROLE"))
"""


def test_one_thread_per_core_unless_the_user_sets_a_number():
    cores = physical_cores()
    assert run(THREADS, cpus={min(os.sched_getaffinity(0))}) == "1 1 None\n"
    assert run(THREADS) == f"{cores} {cores} None\n"
    # In a server, importing MXNet itself would not return.
    assert run(THREADS, OMP_NUM_THREADS="3", DMLC_ROLE="server") == "3 3 server\n"


def test_import_and_new_trainer_print_nothing_and_keep_the_users_threads():
    code = ("from dcgan_mx import make_dcgan_sym, Trainer; "
            "Trainer(*make_dcgan_sym(1, 1, 3, size=16), 2, (3, 16, 16)); import os; "
            "print(os.environ.get('OMP_NUM_THREADS'))")
    assert run(code, PYTHONWARNINGS="default", MXNET_OMP_MAX_THREADS="1") == "None\n"


def test_hardware_threads_of_a_core_count_once(monkeypatch):
    monkeypatch.setattr(cpu_facts, "list_quotas", list)  # these tests may have a quota
    siblings = {}
    for cpu in os.sched_getaffinity(0):
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        key = (tuple((topology / name).read_text() for name in ("physical_package_id", "core_id"))
               if topology.exists() else cpu)  # a chroot without /sys: processors count
        siblings.setdefault(key, []).append(cpu)
    assert physical_cores() == len(siblings)


def test_launcher_imports_neither_mxnet_nor_changes_the_environment():
    code = ("import os, sys; before = dict(os.environ); import dcgan_mx.distributed.launch; "
            "print({'mxnet', 'cv2'} & {*sys.modules}, before == dict(os.environ))")
    assert run(code) == "set() True\n"


@pytest.mark.parametrize("environ, message", [
    ({"OMP_NUM_THREADS": "1.5"}, "OMP_NUM_THREADS: invalid value '1.5': expected an integer from 1 "
                                 "to 9999; change or unset it\n"),
    ({"PYTHONOPTIMIZE": "2"}, "MXNet needs the docstrings that Python omits with -OO or "
                              "PYTHONOPTIMIZE=2: use -O or PYTHONOPTIMIZE=1, or neither\n")])
def test_an_environment_in_which_mxnet_fails_is_named(environ, message):
    code = ("try:\n    import dcgan_mx.system.runtime\n"
            "except (ValueError, ImportError) as error:\n    print(error)")
    assert run(code, **environ) == message


def test_public_names_are_imported_lazily():
    code = """
import sys
import dcgan_mx
assert "mxnet" not in sys.modules and "cv2" not in sys.modules
assert {*dcgan_mx.__all__} <= {*dir(dcgan_mx)}
from dcgan_mx import *
assert not {"scipy.stats", "sklearn"} & {*sys.modules}  # slow, and not needed
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
