"""Supervise one process of a job: start it, report its exit status, kill it with the launcher.

Every launcher starts this file by its path, so it imports nothing from the package. The job is a
line of JSON in the environment, or on standard input if other users could read it there. The
supervisor sends the token, then lines of JSON: its identity, reports of the process, exit status.
The launcher answers with single bytes. A broken connection means that the other side has died.
"""
from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from typing import Any

JOB = "DCGAN_MX_JOB"
START, STOP = b"+", b"-"
_prctl = getattr(ctypes.CDLL(None), "prctl", lambda *_: None)  # Linux


def keep_alive(connection: socket.socket) -> None:
    """Make the system detect within 13 s that the other machine has vanished."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("IDLE", 5), ("INTVL", 2), ("CNT", 4)):
        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_KEEP{name}"), value)


def die_with_parent(number: int) -> None:
    """Make the system signal this process when its parent dies; for `preexec_fn`."""
    _prctl(1, number)  # PR_SET_PDEATHSIG


class SupervisedProcess:
    """The process of the command, and the process that reports, which a shell may have started.

    Only the latter gets signals: they would kill the shell, and end the job before it has saved.
    """

    def __init__(self, job: dict[str, Any], address: str) -> None:
        self.reports, theirs = os.pipe()
        os.set_blocking(self.reports, False)
        environ = {**os.environ, **job["environ"], "DMLC_NODE_HOST": address,
                   "DCGAN_MX_REPORT": f"{theirs}:{os.fstat(theirs).st_ino}"}
        # preexec_fn is safe here: this process has one thread.
        self.process = subprocess.Popen(
            job["command"], env=environ, cwd=job["cwd"], pass_fds=[theirs],
            preexec_fn=lambda: die_with_parent(signal.SIGKILL))  # noqa: PLW1509
        os.close(theirs)
        self.reporter = self.process.pid

    def read(self) -> bytes | None:
        """Return new reports of the process; None at the end."""
        try:
            data = os.read(self.reports, 4096)
        except BlockingIOError:
            return b""
        for line in data.splitlines():  # a pipe keeps short lines whole
            with contextlib.suppress(ValueError, TypeError, KeyError):  # the launcher rejects it
                pid = json.loads(line)["pid"]
                if type(pid) is int and pid > 1:  # 0 and -1 would signal groups
                    self.reporter = pid
        return data or None

    def send(self, number: int) -> None:
        """Signal the reporting process, or the command if that process is in another session."""
        try:
            ours = os.getsid(self.reporter) == os.getsid(0)
            os.kill(self.reporter if ours else self.process.pid, number)
        except ProcessLookupError:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill both processes, the shell first: it would print that the other was killed."""
        self.process.send_signal(signal.SIGSTOP)
        self.send(signal.SIGKILL)
        self.process.kill()
        self.process.wait()


def main() -> None:
    """Supervise the command of a job."""
    job = json.loads(os.environ.pop(JOB, "") or sys.stdin.readline())
    host, port = job["address"]
    try:
        launcher = socket.create_connection((host, port), timeout=20)
    except OSError as error:
        sys.exit(f"error: {socket.gethostname()} cannot reach the launcher at {host}:{port}: "
                 f"{error}; check firewalls, or give the launcher a different host IP")
    launcher.settimeout(None)
    keep_alive(launcher)
    wake, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    for name in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    signal.set_wakeup_fd(wakeup.fileno())
    with contextlib.suppress(OSError):  # the launcher has died, or prints an error itself
        launcher.sendall(f"{job['token']}\n".encode())
        _send(launcher, role=job["environ"]["DMLC_ROLE"], host=socket.gethostname(),
              pid=os.getpid())
        if launcher.recv(1) == START:
            # The address that reaches the launcher reaches the other hosts; MXNet would guess one.
            _send(launcher, status=_supervise(job, launcher, wake))
    signal.set_wakeup_fd(-1)  # it is about to be closed, and Python would report a late signal
    # The exit status is always 0: errors of mpirun or srun would hide the launcher's message.


def _send(launcher: socket.socket, **facts: object) -> None:
    launcher.sendall(json.dumps(facts).encode() + b"\n")


def _supervise(job: dict[str, Any], launcher: socket.socket, wake: socket.socket) -> int:
    """Return the exit status of the process; kill it and raise OSError if the launcher dies."""
    try:
        child = SupervisedProcess(job, launcher.getsockname()[0])
    except OSError as error:
        print(f"error: cannot start {error.filename}: {error.strerror}", file=sys.stderr,
              flush=True)
        return 127
    try:
        _send(launcher, pid=child.process.pid)
        with selectors.DefaultSelector() as selector:
            for source in (launcher, child.reports, wake):
                selector.register(source, selectors.EVENT_READ)
            while child.process.poll() is None:
                ready = [key.fileobj for key, _ in selector.select()]
                if child.reports in ready:  # first: they name the process to signal
                    lines = child.read()
                    launcher.sendall(lines or b"")
                    if lines is None:
                        selector.unregister(child.reports)
                if launcher in ready:
                    if launcher.recv(1) != STOP:
                        raise ConnectionAbortedError
                    child.send(signal.SIGTERM)
                if wake in ready:
                    for number in set(wake.recv(100)) - {signal.SIGCHLD}:
                        child.send(number)
        launcher.sendall(child.read() or b"")
        return child.process.returncode
    finally:
        if child.process.poll() is None:
            child.kill()


if __name__ == "__main__":
    main()
