"""The role of this process in a distributed job, and its reports to the launcher."""
from __future__ import annotations

import contextlib
import json
import os
import re
import select
import threading
from typing import Mapping

from .command_line import command_line

ROLES = ("worker", "server", "scheduler")
_NUMBERS = ("DMLC_NUM_WORKER", "DMLC_NUM_SERVER", "DMLC_PS_ROOT_PORT")
VARIABLES = ("DMLC_ROLE", "DMLC_PS_ROOT_URI", *_NUMBERS)
_REPORT = "DCGAN_MX_REPORT"  # DESCRIPTOR:INODE of the pipe to the supervisor


def read_role(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the role of this process: worker, server or scheduler; None outside a job.

    Raises ValueError if some of `VARIABLES` are missing or invalid. MXNet would abort or hang.
    """
    environ = os.environ if environ is None else environ
    present = [name for name in VARIABLES if environ.get(name)]
    if not present:
        return None
    for name in VARIABLES:
        value = environ.get(name, "")
        if not value:
            raise ValueError(f"{name} is not set, but {present[0]} is: start the job with "
                             f"{command_line('launch')}, or unset all DMLC_ variables")
        if name == "DMLC_ROLE" and value not in ROLES:
            raise ValueError(f"{name}: invalid value {value!r}: expected {', '.join(ROLES)}")
        if name in _NUMBERS and not (re.fullmatch("[0-9]{1,5}", value) and 1 <= int(value) < 2**16):
            raise ValueError(f"{name}: invalid value {value!r}: expected a number from 1 to "
                             f"{2**16 - 1}")
    return environ["DMLC_ROLE"]


def run_server() -> None:
    """Run MXNet's server or scheduler if that is this process's role, then raise SystemExit.

    Returns at once in all other processes; raises ValueError as `read_role` does.
    """
    if os.environ.get("DMLC_ROLE") in ROLES[1:]:
        read_role()
        from .runtime import mx
        mx.kvstore.kvstore_server._init_kvstore_server_module()


def _take_report_fd() -> int | None:
    """Return the pipe to the supervisor, or None; remove it from the environment."""
    # A child that inherits only the variable may have another file under this descriptor.
    fd, _, inode = os.environ.pop(_REPORT, "").partition(":")
    with contextlib.suppress(ValueError, OSError):
        if os.fstat(int(fd)).st_ino == int(inode):
            os.set_inheritable(int(fd), False)
            return int(fd)
    return None


def _end_with_supervisor(fd: int) -> None:
    """End this process when the supervisor, which alone reads the pipe, has died."""
    # The system kills only the supervisor's child, which may be a shell.
    errors = select.poll()
    errors.register(fd, 0)
    errors.poll()
    os._exit(1)


_report_fd = _take_report_fd()
if _report_fd is not None:
    threading.Thread(target=_end_with_supervisor, args=(_report_fd,), daemon=True).start()


def report(**facts: object) -> bool:
    """Report facts about this process to the launcher; return whether there is one.

    `up`: MXNet is about to be imported. `rank`: the worker's rank, for messages. `ready`: the
    process saves and exits on a signal. The process id is added, because a shell may run between
    the supervisor and this process.
    """
    if _report_fd is None:
        return False
    with contextlib.suppress(OSError):  # the supervisor has died, which ends this process, too
        os.write(_report_fd, json.dumps({"pid": os.getpid(), **facts}).encode() + b"\n")
    return True
