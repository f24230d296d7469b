"""Start a distributed job on MXNet's tracker, have it watched, leave nothing of it behind."""
from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from ..machine.files import StrPath
from ..machine.processor import THREADS, physical_cores
from ..machine.typed import LAUNCHED_BY
from . import launchers, tracking
from .watch import TRACKER_DIED, JobError, Watch

_GRACE = 5.0  # seconds for what ends by itself
_JOB = "DCGAN_MX_JOB"


def launch(command: list[str], num_workers: int, num_servers: int | None = None,
           launcher: str = "local", hostfile: StrPath | None = None, host_ip: str | None = None,
           start_timeout: float = 60.0, nodes: int | None = None, yarn_app_dir: str | None = None,
           image: str | None = None, launched_by: str | None = None,
           stop_timeout: float = 300.0) -> int:
    """Start a job, watch it, and return when nothing of it is left.

    Parameters
    ----------
    command
        Runs once for every worker, every server and the scheduler; it has to import `dcgan_mx`.
    num_workers
        From 1.
    num_servers
        From 1; as many as workers if left out.
    launcher : 'local', 'ssh', 'mpi', 'slurm', 'sge', 'yarn' or 'kubernetes'
    hostfile
        For ssh and mpi.
    host_ip
        This host's address for the others.
    start_timeout
        Seconds that the processes may take until all have come to the import of MXNet, and that a
        worker which has ended well may leave others behind that have no rank yet.
    nodes
        For slurm: how many nodes the workers, and the servers, are spread over; one for each
        process if left out.
    yarn_app_dir
        For yarn: where dmlc-yarn.jar is.
    image
        For kubernetes: the container to run.
    launched_by
        What the workers name where they say how to go on: the line that starts them, up to the
        command.
    stop_timeout
        Seconds after a signal, or after the end of another worker thereafter, that a worker may
        take to finish its step, save and end.

    Returns
    -------
    0, or 128 and the number of the signal that ended the job.

    Raises
    ------
    ValueError
        If something cannot work, before anything is started.
    JobError
        If a process fails, or the job cannot start; nothing of it is left.
    """
    num_servers = num_workers if num_servers is None else num_servers
    ours = [name for name in os.environ if name.startswith("DMLC_") or name == _JOB]
    if ours:
        raise ValueError(f"{ours[0]} is set: unset it, the launcher sets such variables itself")
    launchers.check_launcher(launcher, hostfile=hostfile, host_ip=host_ip, nodes=nodes,
                             yarn_app_dir=yarn_app_dir, image=image)
    if launcher != "kubernetes" and shutil.which(command[0]) is None:
        raise ValueError(f"the command {command[0]!r} is no program here: give one on PATH, or "
                         "its path")
    host = tracking.find_host(launcher, host_ip)
    environ: dict[str, str] = {}
    if launcher == "local" and not {*THREADS} & {*os.environ}:
        environ["OMP_NUM_THREADS"] = str(max(1, physical_cores() // num_workers))
    flags: dict[str, object] = {"num_workers": num_workers, "num_servers": num_servers,
                               "host_file": hostfile and os.path.abspath(hostfile)}
    flags.update({"slurm_worker_nodes": nodes, "slurm_server_nodes": nodes})
    flags.update({"yarn_app_dir": yarn_app_dir} if yarn_app_dir else {})
    flags.update({"kube_worker_image": image, "kube_server_image": image} if image else {})
    token = secrets.token_hex(16)
    watch = Watch(token, {"scheduler": 1, "server": num_servers, "worker": num_workers},
                   start_timeout, stop_timeout, "in dcgan-mx.log" if launcher == "sge" else "above")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(host))
        if launcher != "kubernetes":
            environ[_JOB] = f"{host}:{listener.getsockname()[1]}:{token}"
        if launched_by:
            environ[LAUNCHED_BY] = launched_by
        options = tracking.make_options(command, launcher, environ, flags, os.getcwd())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                stack.callback(signal.signal, number, signal.signal(
                    number, lambda number, _: watch.hear(number)))
        process, failures = tracking.start(launcher, options, host, environ)
        stack.callback(_end_group, process)
        stack.callback(watch.close)
        if launcher == "kubernetes":  # containers need not reach this host; kubectl has them now
            _wait_for_tracker(failures)
        else:
            watch.run(listener, failures)
    return 128 + watch.signals[0] if watch.signals else 0


def _listen(host: str) -> socket.socket:
    listener = socket.socket()
    try:
        listener.bind((host, 0))
        listener.listen(256)
        return listener
    except OSError as error:
        listener.close()
        raise ValueError(f"--host-ip {host} is no address of this host: {error.strerror}"
                         ) from None


def _wait_for_tracker(failures: Connection) -> None:
    try:
        message = failures.recv()
    except EOFError:
        message = TRACKER_DIED
    if message:
        raise JobError(message)


def _end_group(process: BaseProcess) -> None:
    """Wait for the tracker and what it has started; ask, then kill, what is left."""
    group: Any = process.pid
    for number in (signal.SIGTERM, signal.SIGKILL):
        process.join(_GRACE / 2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
    process.join()
