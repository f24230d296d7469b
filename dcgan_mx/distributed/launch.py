"""Start a distributed job, have it watched, leave nothing of it behind."""
from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time

from ..system.command_line import LAUNCHED_BY
from ..system.cpu import THREADS, physical_cores
from ..system.files import StrPath
from . import launchers, supervisor
from .monitor import JobMonitor

# What travels from this process's environment to all others.
_TRAVEL = re.compile(r"OMP_NUM_THREADS|KMP_AFFINITY|PYTHONPATH|LD_LIBRARY_PATH|(MXNET|PS)_\w+")


def launch(command: list[str], num_workers: int, num_servers: int | None = None,
           launcher: str = "local", hostfile: StrPath | None = None, host_ip: str | None = None,
           start_timeout: float = 60.0, nodes: int | None = None, launched_by: str | None = None,
           stop_timeout: float = 300.0) -> int:
    """Start a job, watch it, and return when nothing of it is left.

    The flags are those of `dcgan-mx launch`; `launched_by` begins the line that workers say to go
    on with. Returns 0, or 128 + n if signal n ended the job; raises ValueError, or JobError.
    """
    ours = [name for name in os.environ if name.startswith("DMLC_") or name == supervisor.JOB]
    if ours:
        raise ValueError(f"{ours[0]} is set: unset it, the launcher sets such variables itself")
    launchers.check_launcher(launcher, hostfile=hostfile, host_ip=host_ip, nodes=nodes)
    if shutil.which(command[0]) is None:
        raise ValueError(f"the command {command[0]!r} is no program here: give one on PATH, or "
                         "its path")
    host = host_ip or ("127.0.0.1" if launcher == "local" else _find_address())
    counts = {"scheduler": 1, "server": num_servers or num_workers, "worker": num_workers}
    token = secrets.token_hex(16)
    watch = JobMonitor(token, counts, start_timeout, stop_timeout)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_bind(host))
        listener.listen(256)
        host = listener.getsockname()[0]  # it may have been a name
        # Nobody else gets the scheduler's port while this is bound; the scheduler does, because
        # both set SO_REUSEADDR and this one does not listen.
        reserved = stack.enter_context(_bind(host))
        environ = {name: value for name, value in os.environ.items() if _TRAVEL.fullmatch(name)}
        environ.update(DMLC_PS_ROOT_URI=host, DMLC_PS_ROOT_PORT=str(reserved.getsockname()[1]),
                       DMLC_NUM_WORKER=str(num_workers), DMLC_NUM_SERVER=str(counts["server"]))
        if launcher == "local" and not {*THREADS} & {*os.environ}:
            environ["OMP_NUM_THREADS"] = str(max(1, physical_cores() // num_workers))
        if launched_by:
            environ[LAUNCHED_BY] = launched_by
        jobs = {role: json.dumps({
            "address": listener.getsockname(), "token": token, "command": command,
            "cwd": os.getcwd(), "environ": {**environ, "DMLC_ROLE": role}}) for role in counts}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                stack.callback(signal.signal, number, signal.signal(
                    number, lambda number, _: watch.hear(number)))
        starters: list[launchers.Starter] = []
        stack.callback(_end, starters)
        for starter in launchers.start(launcher, jobs, counts, hostfile, nodes):
            starters.append(starter)  # noqa: PERF402  one by one: the next may fail
        watch.run(listener, starters)
    return 128 + watch.signals[0] if watch.signals else 0


def _find_address() -> str:
    """Return the address of this host that others reach."""
    try:
        address = socket.gethostbyname(socket.gethostname())
        if address.startswith("127."):  # of Debian's /etc/hosts
            with socket.socket(type=socket.SOCK_DGRAM) as route:
                route.connect(("10.255.255.255", 1))  # sends nothing
                address = route.getsockname()[0]
        return address
    except OSError as error:
        raise ValueError(f"this host has no known address ({error}): give --host-ip") from None


def _bind(host: str) -> socket.socket:
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, 0))
        return bound
    except OSError as error:
        bound.close()
        raise ValueError(f"--host-ip {host} is no address of this host: {error.strerror}"
                         ) from None


def _end(starters: list[launchers.Starter]) -> None:
    """Wait for what was started and for what that has started; ask, then kill, what is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 2.5  # for what ends by itself
        for _, process in starters:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)  # the leader of its session
    for _, process in starters:
        process.wait()
