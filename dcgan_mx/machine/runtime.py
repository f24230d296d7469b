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
from .cuda import INSTALL_CPU, BuildError, load_libraries
from .job import read_role, report
from .processor import physical_cores, read_threads


def first_line(error: BaseException) -> str:
    """Return what an error of MXNet says, without the stack trace that may come before it.

    Returns
    -------
    One line; the error's type if it says nothing.
    """
    lines = [line for line in str(error).splitlines()
             if line.strip() and not line.startswith(("Traceback", "Stack trace", " ", "\t"))]
    return lines[0] if lines else type(error).__name__


def _set_threads() -> None:
    """Give OpenMP a thread a core; MXNet alone takes half the processors (src/engine/openmp.cc)."""
    if read_threads() is None:
        os.environ["OMP_NUM_THREADS"] = str(physical_cores())


def _replace_deprecated_names() -> None:
    """Give MXNet what it asks for with every array: a name that SciPy 2 will not have."""
    sparse: Any = sys.modules.get("scipy.sparse")  # MXNet has imported it, if it is installed
    if sparse is not None:
        sparse.csr = types.SimpleNamespace(csr_matrix=sparse.csr_matrix)


def finish() -> None:
    """Return when MXNet has done all that it was asked to.

    What failed is not raised here, where it need not concern the caller (a data reader's failure
    does not concern the parameters), but by the arrays that it concerns, when they are read.
    """
    for _ in range(100):  # of several failures it raises one at a time, and forgets it
        with contextlib.suppress(mx.base.MXNetError):
            mx.nd.waitall()
            return


def set_parameters(mod: Any, arrays: Mapping[str, np.ndarray], allow_extra: bool = False) -> None:
    """Set a Module's parameters and moving statistics.

    Parameters
    ----------
    mod : mx.mod.Module
    arrays : float32
        Under arg:NAME and aux:NAME, as in .params files.
    allow_extra
        Let there be some that the Module has not.
    """
    mod.set_params(*({name[4:]: mx.nd.array(array) for name, array in arrays.items()
                      if name.startswith(kind)} for kind in ("arg:", "aux:")),
                   allow_extra=allow_extra)


def join_job(kv: Any) -> None:
    """Tell the launcher a worker's rank, and let the worker end without the others.

    A worker waits for all others before its process ends, whatever it ends with (MXNet 1.9.1,
    kvstore_dist.h, ~KVStoreDist), while they wait for what it will never send: an error would
    stop the job for ever. Where a launcher sees how each one ends, none has to wait. Call it as
    soon as the store is made; outside of a job of `launch` it does nothing.

    Parameters
    ----------
    kv : mx.kv.KVStore
        A distributed one.
    """
    if report(rank=kv.rank):
        mx.base.check_call(mx.base._LIB.MXKVStoreSetBarrierBeforeExit(kv.handle, 0))


def _announce() -> None:
    """Tell the launcher that this process is there; a server never returns from MXNet's import."""
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

__all__ = ["finish", "first_line", "join_job", "mx", "physical_cores", "set_parameters"]
