"""What each launcher of jobs needs, checked before one is started."""
import importlib.util
import os
import re
import shutil
from pathlib import Path

# What each launcher needs on the path.
PROGRAMS = {"local": "bash", "ssh": "ssh", "mpi": "mpirun", "slurm": "srun", "sge": "qsub",
            "yarn": "java", "kubernetes": None}
_HOST = re.compile(r"(\w[\w.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*(:\d{1,5}|\s+slots=\d+)?", re.ASCII)


def check_hosts(path):
    """Check a hosts file, whose lines the tracker puts into a shell's.

    Parameters
    ----------
    path : str or os.PathLike

    Raises
    ------
    ValueError
        If it names no host, or a line is none.
    OSError
        If it cannot be read.
    """
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    for number, line in enumerate(lines, 1):
        if line and not _HOST.fullmatch(line):
            raise ValueError(f"--hostfile {path}, line {number} is {line!r}: give HOST, HOST:PORT "
                             "or HOST slots=N")
    if not any(lines):
        raise ValueError(f"--hostfile {path} is empty: give a host on each line")


def check_launcher(launcher, hostfile=None, yarn_app_dir=None):
    """Check that a launcher has what it needs here.

    Parameters
    ----------
    launcher : str
        A name in `PROGRAMS`.
    hostfile : str or os.PathLike, optional
    yarn_app_dir : str, optional
        Where dmlc-yarn.jar is, which MXNet's wheel does not bring.

    Raises
    ------
    ValueError
        If something is missing.
    OSError
        If the hosts file cannot be read.
    """
    if launcher not in PROGRAMS:
        raise ValueError(f"--launcher {launcher} is unknown: give one of {', '.join(PROGRAMS)}")
    if hostfile is not None and launcher not in ("ssh", "mpi"):
        raise ValueError(f"--hostfile is not for --launcher {launcher}: leave it out")
    if launcher == "ssh" and hostfile is None:
        raise ValueError("--launcher ssh needs --hostfile: give a file with a host on each line")
    if hostfile is not None:
        check_hosts(hostfile)
    if launcher == "yarn":
        hadoop = os.environ.get("HADOOP_HOME", "")
        if not os.path.exists(os.path.join(hadoop, "bin", "hadoop")):
            raise ValueError(f"HADOOP_HOME is {hadoop!r}: set it to the folder of Hadoop, the one "
                             "with bin/hadoop")
        if not os.path.exists(os.path.join(yarn_app_dir or "", "dmlc-yarn.jar")):
            raise ValueError("--launcher yarn needs dmlc-yarn.jar, which MXNet's wheel does not "
                             "bring: build dmlc-core/tracker/yarn, give its folder as "
                             "--yarn-app-dir")
    if launcher == "kubernetes":
        for package, name in (("kubernetes", "kubernetes"), ("yaml", "pyyaml")):
            if importlib.util.find_spec(package) is None:
                raise ValueError("--launcher kubernetes needs the Python package "
                                 f"{name}: pip install {name}")
    program = PROGRAMS[launcher]
    if program and shutil.which(program) is None:
        raise ValueError(f"--launcher {launcher} needs {program}, which is not on PATH: install "
                         "it, or take another launcher")
