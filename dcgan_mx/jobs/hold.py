"""Hold one process of a job: start it, tell the launcher how it ends, end it with the launcher.

`launch` has every launcher start this file instead of the command itself. It is run by its path,
so it imports nothing of the package. Over one connection it tells the launcher, in lines of JSON,
who it is, what its process reports and the status that it ends with; the word `stop` comes back.
When either end dies the connection does, which the other end notices at once.
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
from typing import MutableMapping

# Seconds until a connection counts as dead where the other machine has vanished without a word.
_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 4}


def keep_alive(connection: socket.socket) -> None:
    """Have the system ask a silent peer every few seconds whether it is still there."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _find_role(environ: MutableMapping[str, str]) -> str:
    """Return the role; to a process of an SGE array the tracker gives a number only."""
    if "DMLC_ROLE" not in environ and "DMLC_TASK_ID" in environ:
        worker = int(environ["DMLC_TASK_ID"]) <= int(environ["DMLC_NUM_WORKER"])
        environ["DMLC_ROLE"] = "worker" if worker else "server"
    return environ.get("DMLC_ROLE", "")


def _descends(pid: int, ancestor: int) -> bool:
    """Whether a process is this one, or a child of a child of it; without /proc, False."""
    while pid not in (0, 1, ancestor):
        try:
            with open(f"/proc/{pid}/stat", "rb") as f:
                pid = int(f.read().rpartition(b")")[2].split()[1])
        except OSError:
            return False
    return pid == ancestor


class _Held:
    """The command's process, and the one that reports: not the same where the command is a shell.

    A signal is for the one that reports. A shell would die of it, and its end be taken for that of
    the training, which would still be at its last checkpoint; so no process group is signalled.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.reporter = process.pid
        self.rest = b""

    def hear(self, data: bytes) -> None:
        """Take in what the process reports."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):  # the launcher judges it
                self.reporter = json.loads(line)["pid"]

    def send(self, number: int) -> None:
        """Signal the one that reports, if it is still there; its number may be another's by now."""
        if _descends(self.reporter, self.process.pid):
            os.kill(self.reporter, number)
        else:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill both; a shell that waits for the other would still say that it was killed."""
        self.process.send_signal(signal.SIGSTOP)
        self.send(signal.SIGKILL)
        self.process.kill()
        self.process.wait()


def _start(command: list[str], environ: MutableMapping[str, str]
           ) -> tuple[subprocess.Popen[bytes] | None, int, str]:
    """Start the command so that it dies with this process; return it, its reports, what failed."""
    reports, theirs = os.pipe()
    environ["DCGAN_MX_REPORT"] = f"{theirs}:{os.fstat(theirs).st_ino}"
    prctl = getattr(ctypes.CDLL(None), "prctl", lambda *_: None)  # Linux

    def die_with_parent() -> None:
        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    try:
        # preexec_fn is safe here: this process has one thread.
        process = subprocess.Popen(command, env=environ, pass_fds=[theirs],
                                   preexec_fn=die_with_parent)  # noqa: PLW1509
    except OSError as error:
        return None, reports, f"{command[0]}: {error.strerror}"
    os.close(theirs)
    return process, reports, ""


def main() -> None:
    """Hold the command on the command line."""
    environ = dict(os.environ)
    host, port, token = environ.pop("DCGAN_MX_JOB").split(":")
    try:
        launcher = socket.create_connection((host, int(port)), timeout=20)
    except OSError as error:
        print(f"error: {socket.gethostname()} cannot reach the launcher at {host}:{port}: {error}; "
              "see that no firewall is between them, or give the launcher another --host-ip",
              file=sys.stderr)
        sys.exit(1)
    launcher.settimeout(None)
    keep_alive(launcher)
    # The address that leads to the launcher leads to the others; MXNet would guess an interface.
    environ["DMLC_NODE_HOST"] = launcher.getsockname()[0]
    role = _find_role(environ)
    wake, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    for name in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    signal.set_wakeup_fd(wakeup.fileno())
    process, reports, trouble = _start(sys.argv[1:], environ)
    held = _Held(process) if process else None

    def tell(**facts: object) -> None:
        launcher.sendall(json.dumps(facts).encode() + b"\n")
    try:
        tell(token=token, role=role, host=socket.gethostname(),
             pid=process.pid if process else os.getpid())
        if held is None:
            print(f"error: cannot start {trouble}", file=sys.stderr, flush=True)
            tell(status=127)
            return
        _serve(launcher, held, reports, wake, role == "worker")
        if held.process.poll() is not None:
            tell(status=held.process.returncode)
    except OSError:
        pass  # the launcher is gone; it has the word, if there is one to say
    finally:
        signal.set_wakeup_fd(-1)  # it is closed soon; Python would complain at a late signal
    if held and held.process.poll() is None:
        held.kill()
    # The status is 0: the launcher speaks; a word of mpirun or srun, too, would bury its own.


def _serve(launcher: socket.socket, held: _Held, reports: int, wake: socket.socket,
           stops: bool) -> None:
    """Carry reports, signals and the word `stop`, until the process or the launcher ends."""
    with selectors.DefaultSelector() as selector:
        for source in (launcher, reports, wake):
            selector.register(source, selectors.EVENT_READ)
        while held.process.poll() is None:
            for key, _ in selector.select():
                if key.fileobj is wake:
                    for number in wake.recv(100):
                        if number != signal.SIGCHLD:
                            held.send(number)
                elif key.fileobj is launcher:
                    word = launcher.recv(100)
                    if not word:
                        return
                    if stops:
                        held.send(signal.SIGTERM)
                else:
                    lines = os.read(reports, 4096)
                    if lines:
                        held.hear(lines)
                        launcher.sendall(lines)
                    else:
                        selector.unregister(reports)


if __name__ == "__main__":
    main()
