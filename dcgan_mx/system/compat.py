"""Changes of MXNet 1.9.1, and names that it needs and newer NumPy and Python have removed.

Importing the package makes the changes and adds the names, so a plain `import mxnet` after it
works, too.
"""
from __future__ import annotations

import os
import sys
import types
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import Any, Callable, Sequence

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
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def make_distutils_version() -> types.ModuleType:
    """Return a replacement of distutils.version, with which MXNet compares NumPy's versions."""
    from packaging.version import Version
    module = types.ModuleType("distutils.version")
    vars(module).update(LooseVersion=Version, StrictVersion=Version)
    return module


def reject_command() -> None:
    """End a server that has received an optimizer from a worker, or from anyone else."""
    print("error: a worker sent its optimizer, and unpickling it could run any code: set "
          "MXNET_UPDATE_ON_KVSTORE=0, so that workers update the parameters", file=sys.stderr,
          flush=True)
    os._exit(1)  # MXNet would ignore an exception, and add gradients to the parameters


def define_later(code: str, name: str, scope: dict[str, Any]) -> Callable[..., Any]:
    """Return a function that compiles the function `name` of some code at its first call.

    At its import, MXNet generates a function for each operator. Compiling all of them takes longer
    than the rest of the import, and a program calls a few dozen.
    """
    defined: dict[str, Any] = {}

    def operator(*args: Any, **kwargs: Any) -> Any:
        if not defined:
            exec(code, scope, defined)
        return defined[name](*args, **kwargs)

    operator.__qualname__ = name
    return operator


_HERE = f"__import__({__name__!r}, fromlist=[''])"
_LAZY = (b"exec(code, None, local)",
         f"local[func_name] = {_HERE}.define_later(code, func_name, globals())".encode())
# In the source of some modules of MXNet, the first is replaced by the second.
_CHANGES = {
    "mxnet.ndarray.register": _LAZY, "mxnet.symbol.register": _LAZY,
    "mxnet.recordio": (b".tostring()", b".tobytes()"),  # removed in NumPy 2.3
    "mxnet.kvstore.kvstore_server": (
        b"pickle.loads(cmd_body)", f"{_HERE}.reject_command()".encode())}


class _Loader(SourceFileLoader):
    """Load a module of MXNet with its source changed."""

    def get_code(self, fullname: str) -> types.CodeType:
        source = self.get_data(self.path).replace(*_CHANGES[fullname])
        code: types.CodeType = compile(source, self.path, "exec", dont_inherit=True)
        return code


class _Finder:
    """Find only the modules to change, with the loader above."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None,
                  target: types.ModuleType | None = None) -> ModuleSpec | None:
        if name not in _CHANGES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin)
        return spec
