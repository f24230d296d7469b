"""How messages spell commands and flags: as the user would type them."""
from __future__ import annotations

import os
import shlex
import shutil
import sys

# Environment variable that gives workers the flags of their launcher, as JSON.
LAUNCHED_BY = "DCGAN_MX_LAUNCHED_BY"


def command_line(command: str) -> str:
    """Return the shell words that run a command of `dcgan-mx`, such as train or pack.

    These are `python scripts/train.py` if that script was started, `dcgan-mx COMMAND` if the shell
    finds the `dcgan-mx` of this Python, else `python -m dcgan_mx COMMAND`.
    """
    program = sys.argv[0]
    if command == "train" and program.endswith(os.path.join("scripts", "train.py")):
        return f"{_python()} {shlex.quote(program)}"
    installed = os.path.join(os.path.dirname(sys.executable), "dcgan-mx")
    if shutil.which("dcgan-mx") in (installed, os.path.abspath(program)):
        return f"dcgan-mx {command}"
    return f"{_python()} -m dcgan_mx {command}"


def flag_name(argument: str) -> str:
    """Return the flag of an argument: `--batch-size` for batch_size."""
    return "--" + argument.replace("_", "-")


def quote_path(path: object) -> str:
    """Return the shell word of a path, which no command takes for a flag."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def _python() -> str:
    """Return `python` if the shell finds this Python by that name, else its path."""
    if shutil.which("python") == sys.executable:
        return "python"
    relative = os.path.relpath(sys.executable)
    inside = not relative.startswith(os.pardir)
    return shlex.quote(os.path.join(os.curdir, relative) if inside else sys.executable)
