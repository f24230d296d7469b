"""Define MXNet's operator functions when they are called first.

At its import, MXNet 1.9.1 writes and compiles a Python function for each of its 2,500 operators
(mxnet/symbol/register.py, mxnet/ndarray/register.py). Compiling takes more than half of the time of
`import mxnet`, and a program calls a few dozen of them.
"""
from __future__ import annotations

import contextlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any, Callable, Iterator, Sequence

__all__ = ["lazy_operators"]

_MODULES = ("mxnet.ndarray.register", "mxnet.symbol.register")


class _Loader(SourceFileLoader):
    """Load a module in which `exec` compiles its function later."""

    def exec_module(self, module: ModuleType) -> None:
        scope = vars(module)
        scope["exec"] = lambda source, _, names: names.update(_define_later(source, scope))
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Find the modules that define operators."""

    def find_spec(self, fullname: str, path: Sequence[str] | None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname in _MODULES else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


def _define_later(source: str, scope: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    """Return the name of the function in `source`, and a function that compiles and calls it."""
    name = source[source.index("def ") + len("def "):source.index("(")]
    defined: dict[str, Any] = {}

    def operator(*args: Any, **kwargs: Any) -> Any:
        if not defined:
            exec(source, scope, defined)
        return defined[name](*args, **kwargs)

    operator.__qualname__ = name
    return {name: operator}


@contextlib.contextmanager
def lazy_operators() -> Iterator[None]:
    """Import MXNet in this context, and each operator is compiled by its first call."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
