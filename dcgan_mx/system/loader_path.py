"""Undo OpenCV's change of LD_LIBRARY_PATH.

If the variable is unset, importing OpenCV 4 sets it to a folder and an empty entry, with which all
child processes look for libraries in the current folder.
"""
from __future__ import annotations

import contextlib
import os
from typing import Iterator


@contextlib.contextmanager
def keep_library_path() -> Iterator[None]:
    """Restore LD_LIBRARY_PATH at the end."""
    path = os.environ.get("LD_LIBRARY_PATH")
    try:
        yield
    finally:
        if path is None:
            os.environ.pop("LD_LIBRARY_PATH", None)
        else:
            os.environ["LD_LIBRARY_PATH"] = path
