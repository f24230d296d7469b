"""Programs that start the processes of a job: Python on this machine, ssh, Open MPI or Slurm."""
from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any, Iterator, Mapping, Tuple

from ..system.errors import ArgumentError
from ..system.files import StrPath, open_regular
from . import supervisor

# The program that each launcher needs on PATH.
PROGRAMS = {"local": None, "ssh": "ssh", "mpi": "mpirun", "slurm": "srun"}
_OPTIONS = {"hostfile": ("ssh", "mpi"), "host_ip": ("ssh", "mpi", "slurm"), "nodes": ("slurm",)}
_HOST = re.compile(r"((?:\w[\w.-]*@)?\w[\w.-]*)(?::(\d{1,5})|\s+slots=\d+)?", re.ASCII)
_MAX_HOSTFILE = 1 << 20  # bytes
_START = [sys.executable, "-I", "-S", supervisor.__file__]
Starter = Tuple[str, "subprocess.Popen[bytes]"]  # name in messages, process


def check_hosts(path: StrPath) -> list[tuple[str, str]]:
    """Return the hosts of a file and their ports ("" by default); ArgumentError if invalid."""
    with open_regular(path, follow=True) as f:
        raw = f.read(_MAX_HOSTFILE + 1)
    if len(raw) > _MAX_HOSTFILE:
        raise ArgumentError("hostfile", f"{path} is larger than 1 MiB: write a host on each line")
    text = raw.decode("utf-8-sig", errors="replace")
    hosts = []
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        host = _HOST.fullmatch(line)
        if host and 1 <= int(host[2] or 1) < 2**16:
            hosts.append((host[1], host[2] or ""))
        elif line:
            raise ArgumentError("hostfile", f"{path}, line {number}: invalid host {line!r}: "
                                "expected HOST, HOST:PORT or HOST slots=N")
    if not hosts:
        raise ArgumentError("hostfile", f"{path} is empty: write a host on each line")
    return hosts


def check_launcher(launcher: str, **options: Any) -> None:
    """Raise ArgumentError if a launcher does not support an option, or lacks one or its program."""
    for name, value in options.items():
        if value is not None and launcher not in _OPTIONS[name]:
            raise ArgumentError(name, f"not supported by launcher {launcher}: omit it")
    if options.get("hostfile") is not None:
        check_hosts(options["hostfile"])
    elif launcher == "ssh":
        raise ArgumentError("hostfile", "launcher ssh needs a file with a host on each line")
    program = PROGRAMS[launcher]
    if program and shutil.which(program) is None:
        raise ArgumentError("launcher", f"{launcher} needs {program}, which is not on PATH: "
                            "install it, or use a different launcher")


def start(launcher: str, jobs: Mapping[str, str], counts: Mapping[str, int],
          hostfile: StrPath | None = None, nodes: int | None = None) -> Iterator[Starter]:
    """Start the scheduler here and the others with the launcher; `jobs` has the JSON by role."""
    yield "the scheduler's supervisor", _run(_START, jobs["scheduler"])
    hosts = itertools.cycle(check_hosts(hostfile) if launcher == "ssh" and hostfile else [])
    for role in ("server", "worker"):
        count = counts[role]
        if launcher == "mpi":
            where = ["--hostfile", str(hostfile)] if hostfile else []
            yield "mpirun", _run(
                ["mpirun", "-n", str(count), *where, "-x", supervisor.JOB, *_START], jobs[role])
        elif launcher == "slurm":
            yield "srun", _run(["srun", "--exclusive=user", "--export=ALL", "-N",
                                str(nodes or count), "-n", str(count), *_START], jobs[role])
        elif launcher == "local":
            for _ in range(count):
                yield f"a {role}'s supervisor", _run(_START, jobs[role])
        else:
            for host, port in itertools.islice(hosts, count):
                yield f"ssh to {host}", _run(
                    ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new",
                     *(["-p", port] if port else []), host, " ".join(map(shlex.quote, _START))],
                    jobs[role], by_stdin=True)


def _run(command: list[str], job: str, by_stdin: bool = False) -> subprocess.Popen[bytes]:
    """Start a program in a new session, so that Ctrl-C reaches the launcher only."""
    with tempfile.TemporaryFile() as f:
        if by_stdin:  # it would be visible on the command lines of ssh and of the other host
            f.write(f"{job}\n".encode())
            f.seek(0)
        return subprocess.Popen(
            command, stdin=f, env={**os.environ, **({} if by_stdin else {supervisor.JOB: job})},
            start_new_session=True,
            preexec_fn=lambda: supervisor.die_with_parent(signal.SIGTERM))  # noqa: PLW1509


def exit_status(process: subprocess.Popen[bytes]) -> int | None:
    """Return the status of an ended program without reaping it: its number cannot be reused."""
    if process.returncode is not None:
        return process.returncode
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
