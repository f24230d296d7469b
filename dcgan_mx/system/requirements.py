"""Check that the system can run MXNet's wheel; uses only the standard library.

`make` runs this file with the system's Python before it downloads anything.
"""
import ctypes
import os
import platform
import sys
from typing import Optional

# Libraries that the wheel links to but does not contain.
_LIBRARIES = {"x86_64": ("libgomp.so.1", "libquadmath.so.0"), "aarch64": ("libgomp.so.1",)}


def find_problem() -> Optional[str]:
    """Return the missing requirement and its fix in one line; None if nothing is missing."""
    if platform.system() != "Linux":
        return None
    if not _is_glibc():
        return ("MXNet's wheel needs glibc, but this system has a different C library, such as "
                "musl: use a distribution with glibc, such as Debian or Fedora")
    missing = [name for name in _LIBRARIES.get(platform.machine(), ()) if not _loads(name)]
    if not missing:
        return None
    packages = [name.split(".")[0] for name in missing]
    debian = {"libgomp": "libgomp1", "libquadmath": "libquadmath0"}
    return (f"MXNet needs {' and '.join(missing)}: "
            f"apt install {' '.join(debian[name] for name in packages)} (Debian, Ubuntu) "
            f"or dnf install {' '.join(packages)} (Fedora)")


def _is_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (OSError, ValueError):
        return False


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    problem = find_problem()
    sys.exit(problem and f"error: {problem}")
