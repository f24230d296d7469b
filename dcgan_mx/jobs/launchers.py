"""What each launcher of jobs needs, checked before one is started."""
from __future__ import annotations

import importlib.util
import os
import re
import shutil
from pathlib import Path
from typing import Any

from ..machine.files import StrPath

# What each launcher needs on the path.
PROGRAMS = {"local": "bash", "ssh": "ssh", "mpi": "mpirun", "slurm": "srun", "sge": "qsub",
            "yarn": "java", "kubernetes": None}
# Which launchers a flag is for.
_USERS = {"hostfile": ("ssh", "mpi"), "host_ip": tuple(PROGRAMS)[1:], "nodes": ("slurm",),
          "yarn_app_dir": ("yarn",), "image": ("kubernetes",)}
_HOST = re.compile(r"(\w[\w.-]*@)?\w[\w.-]*(:(?P<port>\d{1,5})|\s+slots=\d+)?", re.ASCII)


def check_hosts(path: StrPath) -> None:
    """Check a hosts file, whose lines the tracker puts into a shell's.

    Raises
    ------
    ValueError
        If it names no host, or a line is none.
    OSError
        If it cannot be read.
    """
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    if text.startswith("\ufeff"):
        raise ValueError(f"--hostfile {path} begins with a byte order mark, which would be taken "
                         "for a part of the first host's name: save it without one")
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(lines, 1):
        host = _HOST.fullmatch(line)
        if line and not (host and 1 <= int(host.group("port") or 1) < 2**16):
            raise ValueError(f"--hostfile {path}, line {number} is {line!r}: give HOST, HOST:PORT "
                             "or HOST slots=N")
    if not any(lines):
        raise ValueError(f"--hostfile {path} is empty: give a host on each line")


def check_launcher(launcher: str, **flags: Any) -> None:
    """Check that a launcher has what it needs here, and has a use for what is given.

    Parameters
    ----------
    launcher
        A name in `PROGRAMS`.
    hostfile, host_ip, nodes, yarn_app_dir, image : optional
        As for `launch.launch`.

    Raises
    ------
    ValueError
        If something is missing, or is not for this launcher.
    OSError
        If the hosts file cannot be read.
    """
    if launcher not in PROGRAMS:
        raise ValueError(f"--launcher {launcher} is unknown: give one of {', '.join(PROGRAMS)}")
    for name, value in flags.items():
        if value is not None and launcher not in _USERS[name]:
            raise ValueError(f"--{name.replace('_', '-')} is not for --launcher {launcher}: leave "
                             "it out")
    hostfile, host_ip = flags.get("hostfile"), flags.get("host_ip")
    if launcher == "ssh" and hostfile is None:
        raise ValueError("--launcher ssh needs --hostfile: give a file with a host on each line")
    if hostfile is not None:
        check_hosts(hostfile)
    if host_ip is not None and not re.fullmatch(r"\d+(\.\d+){3}", host_ip, re.ASCII):
        raise ValueError(f"--host-ip is {host_ip!r}: give an IPv4 address in numbers")
    if launcher == "yarn":
        _check_yarn(flags.get("yarn_app_dir") or "")
    if launcher == "kubernetes":
        for module, package in (("kubernetes", "kubernetes"), ("yaml", "pyyaml")):
            if importlib.util.find_spec(module) is None:
                raise ValueError("--launcher kubernetes needs the Python package "
                                 f"{package}: pip install {package}")
    program = PROGRAMS[launcher]
    if program and shutil.which(program) is None:
        raise ValueError(f"--launcher {launcher} needs {program}, which is not on PATH: install "
                         "it, or take another launcher")


def _check_yarn(app_dir: str) -> None:
    hadoop = os.environ.get("HADOOP_HOME", "")
    if not os.path.exists(os.path.join(hadoop, "bin", "hadoop")):
        raise ValueError(f"HADOOP_HOME is {hadoop!r}: set it to the folder of Hadoop, the one "
                         "with bin/hadoop")
    if not os.path.exists(os.path.join(app_dir, "dmlc-yarn.jar")):
        raise ValueError("--launcher yarn needs dmlc-yarn.jar, which MXNet's wheel does not "
                         "bring: build dmlc-core/tracker/yarn, give its folder as "
                         "--yarn-app-dir")
