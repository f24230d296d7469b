"""Set MXNet up for this machine, then import it as `mx`.

Every other module takes MXNet from here, so that what has to happen before the import happens once
(`compat` adds the names that MXNet needs when the package itself is imported):

- the number of OpenMP threads, which is read once, when the library is loaded;
- the CUDA libraries of the build for GPUs, which it would not find by itself;
- quiet: what MXNet says of its own age and of its graph passes is nothing a user can act on.
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
from .cpu import physical_cores, read_threads
from .cuda import INSTALL_CPU, BuildError, load_libraries
from .job_role import read_role, report


def first_line(error: BaseException) -> str:
    """Return the message of an MXNet error without the stack trace that may precede it."""
    lines = [line for line in str(error).splitlines()
             if line.strip() and not line.startswith(("Traceback", "Stack trace", " ", "\t"))]
    return lines[0] if lines else type(error).__name__


def _set_threads() -> None:
    """Give OpenMP one thread per core; MXNet would take half of them (src/engine/openmp.cc)."""
    if read_threads() is None:
        os.environ["OMP_NUM_THREADS"] = str(physical_cores())


def _replace_deprecated_names() -> None:
    """Keep a name that MXNet reads for every array and SciPy 2 removes."""
    sparse: Any = sys.modules.get("scipy.sparse")  # MXNet imports it if it is installed
    if sparse is not None:
        sparse.csr = types.SimpleNamespace(csr_matrix=sparse.csr_matrix)


def wait_all() -> None:
    """Wait until MXNet has finished all its work.

    Failures are not raised here but by the arrays that they concern, when these are read.
    """
    for _ in range(100):  # MXNet raises one failure at a time, and forgets it
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

    A worker that exits waits for all others (MXNet 1.9.1, kvstore_dist.h, ~KVStoreDist), while
    they wait for its gradients: an error in one would stop the job for ever. The launcher sees
    how each one ends, so none has to wait.
    """
    if report(rank=kv.rank):
        mx.base.check_call(mx.base._LIB.MXKVStoreSetBarrierBeforeExit(kv.handle, 0))


def _announce() -> None:
    """Report this process to the launcher; a server never returns from MXNet's import."""
    if os.environ.get("DMLC_ROLE", "worker") != "worker":
        read_role()
    report(up=True)


try:
    _announce()
    _set_threads()
except ValueError as error:  # MXNet would abort
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
load_libraries()
# A KVStore adds gradients, Adam is each device's own: a store has one updater only, for whichever
# network came last, and what is in a server's could not be saved.
os.environ["MXNET_UPDATE_ON_KVSTORE"] = "0"
os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")  # a line for every bound network
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # distutils (below Python 3.12) is deprecated
    try:
        import mxnet as mx
    except ModuleNotFoundError as error:
        if error.name != "mxnet":
            raise
        raise BuildError("MXNet is not installed", INSTALL_CPU) from None
    except OSError as error:
        raise BuildError(f"MXNet's library cannot be loaded ({error})", requirements.find_problem()
                         or f"reinstall it with {INSTALL_CPU} --force-reinstall") from None
_replace_deprecated_names()

__all__ = ["wait_all", "first_line", "disable_exit_barrier", "mx", "physical_cores", "set_parameters"]
