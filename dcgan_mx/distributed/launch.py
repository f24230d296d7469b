"""Start a distributed job, monitor it, and end all of its processes."""
from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import time
from typing import Any, Mapping

from ..system.command_line import LAUNCHED_BY
from ..system.cpu import physical_cores, read_threads
from ..system.errors import ArgumentError
from ..system.files import StrPath
from ..system.job_role import VARIABLES
from . import launchers, supervisor
from .monitor import JobMonitor

# Variables that all processes of the job inherit.
_INHERITED = re.compile(r"OMP_NUM_THREADS|KMP_AFFINITY|PYTHONPATH|LD_LIBRARY_PATH|(MXNET|PS)_\w+")


def launch(command: list[str], num_workers: int, num_servers: int | None = None,
           launcher: str = "local", hostfile: StrPath | None = None, host_ip: str | None = None,
           start_timeout: float = 60.0, nodes: int | None = None, stop_timeout: float = 300.0,
           launched_by: Mapping[str, Any] | None = None) -> int:
    """Run a command in all processes of a job; return 0, or 128 + n if signal n ended the job.

    The arguments are the flags of `dcgan-mx launch`, and `launched_by`, those of them that the
    resume command needs, which workers print. Raises ArgumentError, or JobError if the job fails.
    """
    ours = [name for name in os.environ if name in (*VARIABLES, supervisor.JOB)]
    if ours:
        raise ValueError(f"{ours[0]} is already set: unset it; the launcher sets it itself")
    launchers.check_launcher(launcher, hostfile=hostfile, host_ip=host_ip, nodes=nodes)
    if shutil.which(command[0]) is None:
        raise ValueError(f"command not found: {command[0]!r}: give a program on PATH, or its path")
    host = host_ip or ("127.0.0.1" if launcher == "local" else _find_address())
    counts = {"scheduler": 1, "server": num_servers or num_workers, "worker": num_workers}
    token = secrets.token_hex(16)
    monitor = JobMonitor(token, counts, start_timeout, stop_timeout)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_bind(host))
        listener.listen(256)
        host = listener.getsockname()[0]  # host_ip may be a name
        # Reserves the scheduler's port. The scheduler can still bind it, because both sockets set
        # SO_REUSEADDR and this one does not listen.
        reserved = stack.enter_context(_bind(host))
        environ = {name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)}
        environ.update(DMLC_PS_ROOT_URI=host, DMLC_PS_ROOT_PORT=str(reserved.getsockname()[1]),
                       DMLC_NUM_WORKER=str(num_workers), DMLC_NUM_SERVER=str(counts["server"]))
        if launcher == "local" and read_threads() is None:
            environ["OMP_NUM_THREADS"] = str(max(1, physical_cores() // num_workers))
        if launched_by:
            environ[LAUNCHED_BY] = json.dumps(launched_by)
        jobs = {role: json.dumps({
            "address": listener.getsockname(), "token": token, "command": command,
            "cwd": os.getcwd(), "environ": {**environ, "DMLC_ROLE": role}}) for role in counts}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                stack.callback(signal.signal, number, signal.signal(
                    number, lambda number, _: monitor.add_signal(number)))
        starters: list[launchers.Starter] = []
        stack.callback(_end, starters)
        for starter in launchers.start(launcher, jobs, counts, hostfile, nodes):
            starters.append(starter)  # noqa: PERF402  one by one: the next may fail
        asyncio.run(monitor.run(listener, starters))
    return 128 + monitor.signals[0] if monitor.signals else 0


def _find_address() -> str:
    """Return an address of this host that other hosts reach."""
    try:
        address = socket.gethostbyname(socket.gethostname())
        if address.startswith("127."):  # of Debian's /etc/hosts
            with socket.socket(type=socket.SOCK_DGRAM) as route:
                route.connect(("10.255.255.255", 1))  # sends nothing
                address = route.getsockname()[0]
        return address
    except OSError as error:
        raise ArgumentError("host_ip", f"the address of this host is unknown ({error}): give one"
                            ) from None


def _bind(host: str) -> socket.socket:
    """Return a socket that is bound to a free port."""
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, 0))
        return bound
    except OSError as error:
        bound.close()
        raise ArgumentError("host_ip", f"{host} is not an address of this host: {error.strerror}"
                            ) from None


def _end(starters: list[launchers.Starter]) -> None:
    """Wait for the started programs and their process groups; signal, then kill what is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 2.5  # for those that end by themselves
        for _, process in starters:
            while launchers.exit_status(process) is None and time.monotonic() < deadline:
                time.sleep(0.01)
            if process.returncode is None:  # not reaped: the number of its group is still ours
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
    for _, process in starters:
        process.wait()
