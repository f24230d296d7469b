"""Names that MXNet 1.9.1 needs and newer releases of NumPy and Python have removed.

Importing the package adds them, so a plain `import mxnet` after it works, too.
"""
from __future__ import annotations

import sys
import types
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import Sequence

import numpy as np

_RENAMED = {  # used in mxnet/numpy/*.py and numpy_dispatch_protocol.py
    "bool": bool,  # removed in NumPy 1.24; NumPy 2 has a different `bool`
    # Removed in NumPy 2.0: https://numpy.org/doc/stable/numpy_2_0_migration_guide.html
    "PZERO": 0.0, "NZERO": -0.0, "PINF": np.inf, "NINF": -np.inf, "Inf": np.inf,
    "NAN": np.nan, "NaN": np.nan,
    "alltrue": np.all, "sometrue": np.any, "product": np.prod, "round_": np.round,
    "msort": lambda a: np.sort(a, axis=0),
    # Deprecated in NumPy 2.0 and removed later.
    "in1d": lambda ar1, ar2, **kwargs: np.isin(np.ravel(ar1), ar2, **kwargs),
    "trapz": getattr(np, "trapezoid", None),
    # Removed in NumPy 1.20 (NEP 32). MXNet only copies them into mx.np.
    **dict.fromkeys(("mirr", "npv", "pmt", "ppmt", "pv", "rate")),
}


def add_missing_names() -> None:
    """Add the names that MXNet 1.9.1 needs, except those that exist."""
    names = vars(np)  # hasattr would raise NumPy's deprecation warnings
    for name, value in _RENAMED.items():
        names.setdefault(name, value)
    if sys.version_info >= (3, 12) and "distutils.version" not in sys.modules:
        # Not `distutils` itself: setuptools warns about a `distutils` that is not its own.
        sys.modules["distutils.version"] = make_distutils_version()
    if _RecordIOFinder not in sys.meta_path:
        sys.meta_path.insert(0, _RecordIOFinder)


def make_distutils_version() -> types.ModuleType:
    """Return a replacement of distutils.version, with which MXNet compares NumPy's versions."""
    from packaging.version import Version
    module = types.ModuleType("distutils.version")
    vars(module).update(LooseVersion=Version, StrictVersion=Version)
    return module


class _RecordIOLoader(SourceFileLoader):
    """Load mxnet.recordio without ndarray.tostring, which NumPy 2.3 removed."""

    def get_code(self, fullname: str) -> types.CodeType:
        source = self.get_data(self.path).replace(b".tostring()", b".tobytes()")
        code: types.CodeType = compile(source, self.path, "exec", dont_inherit=True)
        return code


class _RecordIOFinder:
    """Find only mxnet.recordio, with the loader above."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None,
                  target: types.ModuleType | None = None) -> ModuleSpec | None:
        if name != "mxnet.recordio":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _RecordIOLoader(name, spec.origin)
        return spec
