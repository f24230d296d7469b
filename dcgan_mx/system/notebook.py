"""The kernel of a notebook, where this process is one."""
from __future__ import annotations

import sys
from typing import Any


def find_notebook_kernel() -> Any:
    """Return IPython's shell in the kernel of a notebook; None in any other process."""
    ipython = sys.modules.get("IPython")  # a kernel has imported it
    shell = ipython.get_ipython() if ipython else None
    return shell if hasattr(shell, "kernel") else None
