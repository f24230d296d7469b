"""Check that the system can run MXNet's wheel; uses only the standard library.

`make` runs this file with the system's Python before it downloads anything.
"""
import ctypes
import platform
import sys
from typing import Optional

# Libraries that the wheel links to but does not contain.
_LIBRARIES = {"x86_64": ("libgomp.so.1", "libquadmath.so.0"), "aarch64": ("libgomp.so.1",)}


def find_problem() -> Optional[str]:
    """Return the missing requirement and its fix in one line; None if nothing is missing."""
    if platform.system() != "Linux":
        return None
    if platform.libc_ver()[0] != "glibc":
        return ("MXNet's wheel needs glibc, but this system has a different C library, such as "
                "musl: use a distribution with glibc, such as Debian or Fedora")
    missing = [name for name in _LIBRARIES.get(platform.machine(), ()) if not _loads(name)]
    if not missing:
        return None
    debian = " ".join(name.replace(".so.", "") for name in missing)  # libgomp1 has libgomp.so.1
    fedora = " ".join(name.partition(".")[0] for name in missing)
    return (f"MXNet needs {' and '.join(missing)}: apt install {debian} (Debian, Ubuntu) or dnf "
            f"install {fedora} (Fedora)")


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    problem = find_problem()
    sys.exit(problem and f"error: {problem}")
