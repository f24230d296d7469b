"""Prepare this process for MXNet, then import MXNet as `mx`.

All other modules take `mx` from here. The import raises BuildError if MXNet cannot be loaded, and
ValueError for an invalid number of threads.
"""
from __future__ import annotations

import contextlib
import os
import sys
import types
import warnings
from typing import Any, Mapping

import numpy as np

from . import requirements
from .compat import make_distutils_version
from .cpu import physical_cores, read_threads
from .cuda import INSTALL_CPU, BuildError, load_libraries
from .job_role import report
from .loader_path import keep_library_path

__all__ = ["disable_exit_barrier", "mx", "set_parameters", "wait_all"]


def wait_all() -> None:
    """Wait for all pending operations of MXNet; reading an array raises its failure."""
    for _ in range(100):  # each call raises one failure and clears it
        with contextlib.suppress(mx.base.MXNetError):
            mx.nd.waitall()
            return


def set_parameters(mod: Any, arrays: Mapping[str, np.ndarray], allow_extra: bool = False) -> None:
    """Set a Module's parameters and moving statistics from arg:NAME and aux:NAME arrays."""
    mod.set_params(*({name[4:]: mx.nd.array(array) for name, array in arrays.items()
                      if name.startswith(kind)} for kind in ("arg:", "aux:")),
                   allow_extra=allow_extra)


def disable_exit_barrier(kv: Any) -> None:
    """Report a worker's rank to the launcher, and let the worker exit without the others.

    A worker that fails would wait for all others (MXNet 1.9.1, kvstore_dist.h, ~KVStoreDist), which
    wait for its gradients. The barrier stays enabled in a job that nothing supervises.
    """
    if report(rank=kv.rank):
        mx.base.check_call(mx.base._LIB.MXKVStoreSetBarrierBeforeExit(kv.handle, 0))


if sys.flags.optimize > 1:
    raise BuildError("MXNet needs the docstrings that Python omits with -OO or PYTHONOPTIMIZE=2",
                     "use -O or PYTHONOPTIMIZE=1, or neither")
if read_threads() is None:  # MXNet would use half of the cores (src/engine/openmp.cc)
    os.environ["OMP_NUM_THREADS"] = str(physical_cores())
report(up=True)
load_libraries()
# A KVStore has one updater, for the network that came last, and a server's cannot be saved. So the
# KVStore only adds gradients, and each device runs Adam.
os.environ["MXNET_UPDATE_ON_KVSTORE"] = "0"
os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")  # otherwise a line for each bound network
_role = os.environ.pop("DMLC_ROLE", None)  # MXNet's import would run a server, then end the process
# MXNet imports scikit-learn for a deprecated class, scipy.stats for quantization, and distutils to
# compare versions. The three would take more than a second.
_replaced = {name: module for name, module in (
    ("sklearn", None), ("scipy.stats", None), ("distutils.version", make_distutils_version()))
    if name not in sys.modules}
sys.modules.update(_replaced)  # type: ignore[arg-type]
try:
    with keep_library_path(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # distutils (below Python 3.12) is deprecated
        import mxnet as mx
except ModuleNotFoundError as error:
    if error.name != "mxnet":
        raise
    raise BuildError("MXNet is not installed", INSTALL_CPU) from None
except OSError as error:
    raise BuildError(f"MXNet's library cannot be loaded ({error})", requirements.find_problem()
                     or f"reinstall it with {INSTALL_CPU} --force-reinstall") from None
finally:
    if _role is not None:
        os.environ["DMLC_ROLE"] = _role
    for _name in _replaced:
        del sys.modules[_name]
_sparse: Any = sys.modules.get("scipy.sparse")
if _sparse is not None:  # MXNet reads scipy.sparse.csr for each array; SciPy 2 removes it
    _sparse.csr = types.SimpleNamespace(csr_matrix=_sparse.csr_matrix)
