import ctypes
import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from helpers.common import run_code

from dcgan_mx.system import compat, requirements


def run(code):
    done = run_code(code, check=False, env={**os.environ, "PYTHONWARNINGS": "error"})
    assert done.stderr == ""
    return done.stdout


def test_a_plain_import_of_mxnet_works_after_the_package():
    """mx.recordio works, too, which called ndarray.tostring."""
    assert run("""
import warnings
import dcgan_mx, sys
assert "mxnet" not in sys.modules and "distutils" not in sys.modules
assert ("distutils.version" in sys.modules) == (sys.version_info >= (3, 12))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # distutils, below Python 3.12
    import mxnet as mx
import numpy as np
header = mx.recordio.IRHeader(0, [1, 2.5, -3], 7, 0)
header, content = mx.recordio.unpack(mx.recordio.pack(header, b"content"))
print(header.flag, header.label.tolist(), header.id, content)
image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
packed = mx.recordio.pack_img(mx.recordio.IRHeader(0, 1.0, 0, 0), image, img_fmt=".png")
print((mx.recordio.unpack_img(packed)[1] == image).all())
""") == "3 [1.0, 2.5, -3.0] 7 b'content'\nTrue\n"


def test_existing_names_are_kept():
    before = dict(vars(np))
    compat.add_missing_names()
    assert all(vars(np)[name] is value for name, value in before.items())
    assert np.dtype(np.bool) == np.dtype("?")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from the names that NumPy still has
def test_old_names_behave_as_before():
    a = np.array([[3.0, 1.0], [2.0, 4.0]])
    assert (np.PZERO, np.PINF, np.NINF, np.Inf) == (0.0, np.inf, -np.inf, np.inf)
    assert np.signbit(np.NZERO) and np.isnan(np.NAN) and np.isnan(np.NaN)
    assert np.product(a) == 24 and np.round_(1.26, 1) == 1.3
    assert np.sometrue([False, True]) and not np.alltrue([False, True])
    assert np.msort(a).tolist() == [[2, 1], [3, 4]]
    assert np.in1d(a, [1, 2]).tolist() == [False, True, True, False]
    assert np.trapz([1.0, 2.0, 4.0]) == 4.5


def test_missing_libraries_are_named_with_their_packages(monkeypatch):
    def fail(name):
        raise OSError

    assert requirements.find_problem() is None
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(ctypes, "CDLL", fail)
    assert requirements.find_problem() == (
        "MXNet needs libgomp.so.1 and libquadmath.so.0: apt install "
        "libgomp1 libquadmath0 (Debian, Ubuntu) or dnf install libgomp libquadmath (Fedora)")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert "needs glibc" in requirements.find_problem()


def test_requirements_need_only_the_standard_library():
    """`make` runs the file with the system's Python, before anything is installed."""
    python = Path(sysconfig.get_config_var("BINDIR"), "python{}.{}".format(*sys.version_info))
    done = subprocess.run([str(python), "-S", "-E", requirements.__file__], capture_output=True,
                          text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
