"""What starts the processes of a job: this machine itself, ssh, Open MPI or Slurm."""
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
from pathlib import Path
from typing import Any, Iterator, Mapping, Tuple

from ..system.files import StrPath
from . import supervisor

# What each launcher needs on PATH.
PROGRAMS = {"local": None, "ssh": "ssh", "mpi": "mpirun", "slurm": "srun"}
_FLAGS = {"hostfile": ("ssh", "mpi"), "host_ip": ("ssh", "mpi", "slurm"), "nodes": ("slurm",)}
_HOST = re.compile(r"((?:\w[\w.-]*@)?\w[\w.-]*)(?::(\d{1,5})|\s+slots=\d+)?", re.ASCII)
_HOLD = [sys.executable, "-I", "-S", supervisor.__file__]
Starter = Tuple[str, "subprocess.Popen[bytes]"]  # a program's name in messages, and the program


def check_hosts(path: StrPath) -> list[tuple[str, str]]:
    """Return the hosts of a file and their ports, "" where none is given; or ValueError."""
    text = Path(path).read_text(encoding="utf-8-sig", errors="replace")
    hosts = []
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        host = _HOST.fullmatch(line)
        if host and 1 <= int(host[2] or 1) < 2**16:
            hosts.append((host[1], host[2] or ""))
        elif line:
            raise ValueError(f"--hostfile {path}, line {number} is {line!r}: give HOST, HOST:PORT "
                             "or HOST slots=N")
    if not hosts:
        raise ValueError(f"--hostfile {path} is empty: give a host on each line")
    return hosts


def check_launcher(launcher: str, **flags: Any) -> None:
    """Raise ValueError if a launcher lacks what it needs, or has no use for a flag."""
    for name, value in flags.items():
        if value is not None and launcher not in _FLAGS[name]:
            raise ValueError(f"--{name.replace('_', '-')} is not for --launcher {launcher}: leave "
                             "it out")
    if flags.get("hostfile") is not None:
        check_hosts(flags["hostfile"])
    elif launcher == "ssh":
        raise ValueError("--launcher ssh needs --hostfile: give a file with a host on each line")
    program = PROGRAMS[launcher]
    if program and shutil.which(program) is None:
        raise ValueError(f"--launcher {launcher} needs {program}, which is not on PATH: install "
                         "it, or take another launcher")


def start(launcher: str, jobs: Mapping[str, str], counts: Mapping[str, int],
          hostfile: StrPath | None = None, nodes: int | None = None) -> Iterator[Starter]:
    """Start the scheduler here, all others by the launcher; `jobs`: what `hold` needs, by role."""
    yield "the scheduler's holder", _run(_HOLD, jobs["scheduler"])
    hosts = itertools.cycle(check_hosts(hostfile) if launcher == "ssh" and hostfile else [])
    for role in ("server", "worker"):
        count = counts[role]
        if launcher == "mpi":
            among = ["--hostfile", str(hostfile)] if hostfile else []
            yield "mpirun", _run(["mpirun", "-n", str(count), *among, "-x", supervisor.JOB, *_HOLD],
                                 jobs[role])
        elif launcher == "slurm":
            yield "srun", _run(["srun", "--exclusive=user", "--export=ALL", "-N",
                                str(nodes or count), "-n", str(count), *_HOLD], jobs[role])
        elif launcher == "local":
            for _ in range(count):
                yield f"a {role}'s holder", _run(_HOLD, jobs[role])
        else:
            for host, port in itertools.islice(hosts, count):
                yield f"ssh to {host}", _run(
                    ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new",
                     *(["-p", port] if port else []), host, " ".join(map(shlex.quote, _HOLD))],
                    jobs[role], by_stdin=True)


def _run(command: list[str], job: str, by_stdin: bool = False) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own: a terminal's Ctrl-C reaches the launcher only."""
    with tempfile.TemporaryFile() as f:
        if by_stdin:  # ssh would show it on its command line, and the other host, too
            f.write(f"{job}\n".encode())
            f.seek(0)
        return subprocess.Popen(
            command, stdin=f, env=dict(os.environ) if by_stdin else {**os.environ, supervisor.JOB: job},
            start_new_session=True,
            preexec_fn=lambda: supervisor.die_with_parent(signal.SIGTERM))  # noqa: PLW1509
