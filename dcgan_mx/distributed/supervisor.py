"""Hold one process of a job: start it, tell the launcher how it ends, end it with the launcher.

Every launcher starts this file, by its path: it imports nothing of the package. What to do comes as
a line of JSON in the environment, or, where that would show in a list of processes, on the standard
input. Over one connection go the job's token, then lines of JSON: who this is, what the process
reports, the status that it ends with; single bytes come back. When either end dies the other knows.
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
    """Have the system find within 13 s that the other machine has vanished without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("IDLE", 5), ("INTVL", 2), ("CNT", 4)):
        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_KEEP{name}"), value)


def die_with_parent(number: int) -> None:
    """Have the system send this process a signal when its parent dies; for `preexec_fn`."""
    _prctl(1, number)  # PR_SET_PDEATHSIG


class SupervisedProcess:
    """The command's process, and the one that reports: not the same where the command is a shell.

    A signal is for the one that reports, not for the group: a shell would die of it, and its end be
    taken for that of the training, which would still be saving.
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
        """Return what the process has reported; None if there will be no more."""
        try:
            data = os.read(self.reports, 4096)
        except BlockingIOError:
            return b""
        for line in data.splitlines():  # a pipe keeps short lines whole
            with contextlib.suppress(ValueError, TypeError, KeyError):  # the launcher judges it
                self.reporter = json.loads(line)["pid"]
        return data or None

    def send(self, number: int) -> None:
        """Signal the one that reports; where its number is another's by now, the command."""
        try:
            ours = os.getsid(self.reporter) == os.getsid(0)
            os.kill(self.reporter if ours else self.process.pid, number)
        except ProcessLookupError:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill both; a shell that waits for the other would still say that it was killed."""
        self.process.send_signal(signal.SIGSTOP)
        self.send(signal.SIGKILL)
        self.process.kill()
        self.process.wait()


def main() -> None:
    """Hold the command of a job."""
    job = json.loads(os.environ.pop(JOB, "") or sys.stdin.readline())
    host, port = job["address"]
    try:
        launcher = socket.create_connection((host, port), timeout=20)
    except OSError as error:
        print(f"error: {socket.gethostname()} cannot reach the launcher at {host}:{port}: {error}; "
              "see that no firewall is between them, or give the launcher another --host-ip",
              file=sys.stderr)
        sys.exit(1)
    launcher.settimeout(None)
    keep_alive(launcher)
    wake, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    for name in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    signal.set_wakeup_fd(wakeup.fileno())
    with contextlib.suppress(OSError):  # the launcher is gone; it has the word
        launcher.sendall(f"{job['token']}\n".encode())
        _tell(launcher, role=job["environ"]["DMLC_ROLE"], host=socket.gethostname(),
              pid=os.getpid())
        if launcher.recv(1) == START:
            # The address that leads to the launcher leads to the others; MXNet would guess one.
            _tell(launcher, status=_hold(job, launcher, wake))
    signal.set_wakeup_fd(-1)  # it is closed soon; Python would complain at a late signal
    # The status is 0: the launcher speaks; a word of mpirun or srun, too, would bury its own.


def _tell(launcher: socket.socket, **facts: object) -> None:
    launcher.sendall(json.dumps(facts).encode() + b"\n")


def _hold(job: dict[str, Any], launcher: socket.socket, wake: socket.socket) -> int:
    """Return the status that the process ends with; with the launcher it is killed: OSError."""
    try:
        held = SupervisedProcess(job, launcher.getsockname()[0])
    except OSError as error:
        print(f"error: cannot start {error.filename}: {error.strerror}", file=sys.stderr,
              flush=True)
        return 127
    try:
        _tell(launcher, pid=held.process.pid)
        with selectors.DefaultSelector() as selector:
            for source in (launcher, held.reports, wake):
                selector.register(source, selectors.EVENT_READ)
            while held.process.poll() is None:
                ready = [key.fileobj for key, _ in selector.select()]
                if held.reports in ready:  # first: they say whom to signal
                    lines = held.read()
                    launcher.sendall(lines or b"")
                    if lines is None:
                        selector.unregister(held.reports)
                if launcher in ready:
                    if launcher.recv(1) != STOP:
                        raise ConnectionAbortedError
                    held.send(signal.SIGTERM)
                if wake in ready:
                    for number in set(wake.recv(100)) - {signal.SIGCHLD}:
                        held.send(number)
        launcher.sendall(held.read() or b"")
        return held.process.returncode
    finally:
        if held.process.poll() is None:
            held.kill()


if __name__ == "__main__":
    main()
