"""Detection of notebooks."""
from __future__ import annotations

import sys
from typing import Any


def find_notebook_kernel() -> Any:
    """Return IPython's shell in the kernel of a notebook; None in other processes."""
    ipython = sys.modules.get("IPython")  # every notebook kernel has imported it
    shell = ipython.get_ipython() if ipython else None
    return shell if hasattr(shell, "kernel") else None
