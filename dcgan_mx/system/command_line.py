"""What the user types: messages name commands in the way in which this process was started."""
from __future__ import annotations

import os
import shlex
import shutil
import sys

# The scripts that are not named after their command.
_SCRIPTS = {"pack": "make_rec.py"}
# What started this worker, and how it started others, up to the command itself.
LAUNCHED_BY = "DCGAN_MX_LAUNCHED_BY"


def command_line(command: str) -> str:
    """Return the beginning of a line that runs a command of `dcgan-mx`.

    Parameters
    ----------
    command
        Such as train or pack.

    Returns
    -------
    `python scripts/train.py` in a process that a script began, `python -m dcgan_mx train`
    where that was typed, else `dcgan-mx train`; with the path of a program that a shell would
    not find, or of which it would find another one.
    """
    program = sys.argv[0]
    folder, name = os.path.split(program)
    if os.path.basename(folder) == "scripts" and name.endswith(".py"):
        script = os.path.join(folder, _SCRIPTS.get(command, f"{command}.py"))
        return f"{_python()} {shlex.quote(script)}"
    if name == "__main__.py" and os.path.basename(folder) == "dcgan_mx":
        return f"{_python()} -m dcgan_mx {command}"
    if name == "dcgan-mx" and shutil.which(name) != program:
        return f"{shlex.quote(_shorten(program))} {command}"
    return f"dcgan-mx {command}"


def _python() -> str:
    found = shutil.which("python")
    return "python" if found == sys.executable else shlex.quote(_shorten(sys.executable))


def _shorten(path: str) -> str:
    """Return a path relative to the current folder where it is in it."""
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else os.path.join(os.curdir, relative)
