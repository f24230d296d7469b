"""Run MXNet's tracker, which starts the processes of a job, in a process group of its own.

The tracker (`dmlc_tracker`, beside `mxnet`) puts commands into shell lines as they are, watches
nothing and knows nothing of Python 3.9 and newer; what it lacks is added from outside.
"""
from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.process
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from typing import Any, Iterable

from . import hold
from .launchers import PROGRAMS

# The tracker's, less those that are left to try when a first one is taken.
_FIRST_PORTS, _LAST_PORT = range(9091, 9899), 9998
_TRAVEL = re.compile(r"OMP_NUM_THREADS|KMP_AFFINITY|(MXNET|PS)_\w+")
_PATHS = ("PYTHONPATH", "LD_LIBRARY_PATH")  # a container has its own


def quote(words: Iterable[str], launcher: str) -> str:
    """Write words as a line that one shell takes apart into the same words.

    Parameters
    ----------
    launcher
        A name in `launchers.PROGRAMS`; for ssh the tracker puts the line between single quotes.

    Raises
    ------
    ValueError
        If a word holds a line break, or, for ssh, a single quote.
    """
    for word in words:
        if "\n" in word or "\0" in word or (launcher == "ssh" and "'" in word):
            raise ValueError(f"{word!r} in the command or the environment cannot pass through "
                             f"the {launcher} launcher: leave out its line break or single quote")
    return " ".join(re.sub(r"[^\w@%+=:,./-]", r"\\\g<0>", word) or '""' for word in words)


def find_host(launcher: str, host_ip: str | None = None) -> str:
    """Return the address of this host that all processes of a job reach.

    Parameters
    ----------
    host_ip
        Taken as it is.

    Returns
    -------
    An IPv4 address; the loopback one for local jobs.

    Raises
    ------
    ValueError
        If none can be found.
    """
    if host_ip or launcher == "local":
        return host_ip or "127.0.0.1"
    try:
        host: str = _import("tracker").get_host_ip()
        return host
    except OSError as error:
        raise ValueError(f"this host's address cannot be found ({error}): give --host-ip"
                         ) from None


def _import(name: str) -> Any:
    try:
        return importlib.import_module(f"dmlc_tracker.{name}")
    except ModuleNotFoundError as error:
        raise ValueError(f"MXNet's tracker cannot be imported: {error}; pip install mxnet==1.9.1"
                         ) from None


def make_options(command: list[str], launcher: str, environ: dict[str, str],
                 flags: dict[str, object], cwd: str) -> Any:
    """Return what the tracker's submit functions take.

    Parameters
    ----------
    environ
        Variables of this job; they and those of this process that matter travel with the command
        where a launcher would not hand them on.
    flags
        Options of the tracker that differ from their defaults, such as `num_workers`.
    cwd
        Where the command runs.

    Returns
    -------
    argparse.Namespace

    Raises
    ------
    ValueError
        If the command cannot pass through the launcher.
    """
    words = list(command)
    if launcher != "kubernetes":  # there, this file does not exist
        words = [sys.executable, "-I", "-S", hold.__file__, *words]
    if launcher != "local":
        travel = {k: v for k, v in os.environ.items() if _TRAVEL.fullmatch(k)
                  or (k in _PATHS and launcher != "kubernetes")}
        words = ["/usr/bin/env", *(f"{k}={v}" for k, v in {**travel, **environ}.items()), *words]
    if launcher == "ssh" and quote([cwd], launcher) != cwd:
        raise ValueError(f"the working directory {cwd} cannot pass through the ssh launcher: "
                         "start from one whose name needs no quoting")
    line = quote(words, launcher)
    options = _import("opts").get_opts(["--cluster", launcher, "--num-workers", "1", "command"])
    vars(options).update(flags, command=words if launcher == "kubernetes" else [line])
    # Names that sge.py reads and nobody sets.
    options.jobname = options.jobname or "dcgan-mx"
    options.sge_log_dir = options.logdir = options.sge_log_dir or f"{options.jobname}.log"
    options.vcores = options.worker_cores
    if launcher == "mpi" and options.host_file:
        options.host_file = quote([options.host_file], launcher)
    return options


def start(launcher: str, options: Any, host: str, environ: dict[str, str]
          ) -> tuple[multiprocessing.process.BaseProcess, multiprocessing.connection.Connection]:
    """Start the tracker and, through it, the job, all in a process group of the tracker's.

    Parameters
    ----------
    options : argparse.Namespace
        From `make_options`.
    host
        From `find_host`.
    environ
        Variables to add to the environment.

    Returns
    -------
    process
        Its id is that of the group. It ends when all that it has started has ended.
    failures
        Gives a str for each failure; None at the end of `submit`.
    """
    module = _import(launcher)
    context = multiprocessing.get_context("fork")
    failures, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(module, options, host, environ, theirs))
    process.start()
    theirs.close()
    failures.recv()  # the group exists
    return process, failures


def _run(module: Any, options: Any, host: str, environ: dict[str, str],
         pipe: multiprocessing.connection.Connection) -> None:
    os.setsid()  # a terminal's Ctrl-C reaches the launcher only, and ssh finds nobody to ask
    signal.signal(signal.SIGTERM, lambda *_: None)  # it is for those that this one waits for
    signal.signal(signal.SIGINT, lambda *_: None)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    lock = threading.Lock()

    def send(message: str | None) -> None:
        with lock, contextlib.suppress(OSError):
            pipe.send(message)
    send(None)
    mine = [threading.current_thread(), threading.Thread(target=_end_with_parent, daemon=True)]
    mine[1].start()
    warnings.simplefilter("ignore", DeprecationWarning)  # Thread.setDaemon
    for name in [name for name in os.environ if "SSH_ASKPASS" in name or (
            module.__name__.endswith(".ssh") and (name.startswith("AWS_") or
                                                  name in ("LD_LIBRARY_PATH", "KMP_AFFINITY",
                                                           "OMP_NUM_THREADS")))]:
        del os.environ[name]  # ssh.py would put it into a shell's line as it is
    os.environ.update(environ)
    if not hasattr(threading.Thread, "isAlive"):  # until Python 3.8
        thread_class: Any = threading.Thread
        thread_class.isAlive = threading.Thread.is_alive
    if module.__name__.endswith(".sge"):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  sge.py prints the line with the token
    if module.__name__.endswith(".slurm"):
        module.subprocess = types.SimpleNamespace(check_call=_call_without_share)
    tracker = module.tracker
    tracker.get_host_ip = lambda *_: host
    # A job that starts a moment later must not find the same port free.
    port = random.choice(_FIRST_PORTS)
    make_tracker = tracker.PSTracker
    tracker.PSTracker = lambda *args, **kwargs: make_tracker(
        *args, port=port, port_end=_LAST_PORT + 1, **kwargs)
    threading.excepthook = lambda args: send(_explain(args.exc_value, port))
    try:
        module.submit(options)
    except Exception as error:  # whatever it is, it goes to the one who speaks
        send(_explain(error, port))
    for thread in threading.enumerate():
        if thread not in mine:
            thread.join()
    send(None)


def _call_without_share(line: str, **kwargs: Any) -> int:
    """Call srun without the flag that it lost in Slurm 17.11; slurm.py gives it nevertheless."""
    return subprocess.check_call(line.replace(" --share ", " ", 1), **kwargs)


def _end_with_parent() -> None:
    parent: Any = multiprocessing.parent_process()
    multiprocessing.connection.wait([parent.sentinel])
    os.killpg(0, signal.SIGTERM)  # srun and mpirun have something to give back
    time.sleep(3)
    os.killpg(0, signal.SIGKILL)


def _explain(error: BaseException | None, port: int) -> str:
    """Put an error of the tracker's into one line."""
    if isinstance(error, subprocess.CalledProcessError):
        words = [word for word in str(error.cmd).split() if "=" not in word]
        what = os.path.basename(words[0])
        if what == "ssh":
            host = re.match(r"ssh -o \S+ (\S+) -p (\S+)", error.cmd)
            what = f"ssh to {host.group(1)}, port {host.group(2)}," if host else what
        elif what not in PROGRAMS.values():
            what = "the scheduler"
        return f"{what} ended with status {error.returncode}: see its message above"
    local = re.match(r"Get nonzero return code=(-?\d+).*'DMLC_ROLE': '(\w+)'", str(error), re.S)
    if local:
        return f"a {local.group(2)} ended with status {local.group(1)}: see its message above"
    if isinstance(error, AttributeError) and "port" in str(error):
        return f"no port from {port} to {_LAST_PORT} is free for the scheduler: end what has them"
    return f"MXNet's tracker: {type(error).__name__}: {' '.join(str(error).split())}"
