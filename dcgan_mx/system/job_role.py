"""A job of several processes: which part this one has in it."""
from __future__ import annotations

import contextlib
import difflib
import json
import os
from typing import Mapping

from .command_line import command_line

ROLES = ("worker", "server", "scheduler")
_NUMBERS = ("DMLC_NUM_WORKER", "DMLC_NUM_SERVER", "DMLC_PS_ROOT_PORT")
VARIABLES = ("DMLC_ROLE", "DMLC_PS_ROOT_URI", *_NUMBERS)


def read_role(environ: Mapping[str, str] | None = None) -> str | None:
    """Return this process's role in a job: worker, server or scheduler; None outside of a job.

    Raises ValueError if the variables that launchers set are half set, or one is bad or misspelt:
    MXNet would end the process, wait for ever, or train alone.
    """
    environ = os.environ if environ is None else environ
    _check_spelling(environ)
    present = [name for name in VARIABLES if environ.get(name)]
    if not present:
        return None
    for name in VARIABLES:
        value = environ.get(name, "")
        if not value:
            raise ValueError(f"{name} is not set, but {present[0]} is: start the job with "
                             f"{command_line('launch')}, or unset all DMLC_ variables")
        if name == "DMLC_ROLE" and value not in ROLES:
            raise ValueError(f"{name} is {value!r}: give worker, server or scheduler")
        if name in _NUMBERS and not (
                value.isascii() and value.isdigit() and 1 <= int(value) < 2**16):
            raise ValueError(f"{name} is {value!r}: give a number from 1 to {2**16 - 1}")
    return environ["DMLC_ROLE"]


def _check_spelling(environ: Mapping[str, str]) -> None:
    """Raise ValueError for a name that looks like one of `VARIABLES` that is not set."""
    missing = [name for name in VARIABLES if not environ.get(name)]
    for name in environ:
        if name.startswith("DMLC_") and name not in VARIABLES:
            # Below that are other names that MXNet and its own launchers know: DMLC_WORKER_ID.
            for meant in difflib.get_close_matches(name, missing, 1, cutoff=0.8):
                raise ValueError(f"{name!r} is set, and {meant} is not: name it so, or unset it")


_REPORT = "DCGAN_MX_REPORT"


def _take_report_fd() -> int | None:
    """Return the pipe to this process's holder (`hold`), or None; take it out of the environment.

    The number alone could name anything in a process that inherited the variable, not the pipe.
    """
    fd, _, inode = os.environ.pop(_REPORT, "").partition(":")
    with contextlib.suppress(ValueError, OSError):
        if os.fstat(int(fd)).st_ino == int(inode):
            os.set_inheritable(int(fd), False)
            return int(fd)
    return None


_report_fd = _take_report_fd()


def report(**facts: object) -> bool:
    """Tell the launcher of this job something about this process; return whether there is one.

    `up`: MXNet is about to be imported; `rank`: the worker's, which messages then name it by;
    `ready`: a signal makes it save and end. Its process number goes with it, for its holder: a
    shell may stand between the two.
    """
    if _report_fd is None:
        return False
    with contextlib.suppress(OSError):  # the holder is gone, and this process with it
        os.write(_report_fd, json.dumps({"pid": os.getpid(), **facts}).encode() + b"\n")
    return True
