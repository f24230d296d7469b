"""Watch every process of a job: its start, its reports, its end."""
from __future__ import annotations

import contextlib
import dataclasses
import hmac
import json
import selectors
import signal
import socket
import time
from typing import Any

from ..system.job_role import ROLES
from . import supervisor
from .launchers import Starter

_LINE = 4096  # bytes; longer ones are from strangers
_STOPPED = (0, -signal.SIGTERM, 128 + signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGTERM)
# What a process may tell of itself.
_FACTS = {"role": str, "host": str, "pid": int, "up": bool, "rank": int, "ready": bool,
          "status": int}


class JobError(RuntimeError):
    """A job that failed; one line says what failed first, and how."""


@dataclasses.dataclass(eq=False)
class Peer:
    """A process of the job, or who claims to be one, at the other end of a connection."""

    connection: socket.socket
    buffer: bytes = b""
    trusted: bool = False  # it knows the token
    lost: bool = False
    ended: float = 0.0  # when the status came
    role: str = ""
    host: str = ""
    pid: int = 0
    up: bool = False
    rank: Any = None  # an int, when it is known
    ready: bool = False
    status: Any = None  # likewise

    def __str__(self) -> str:
        rank = "" if self.rank is None else f" {self.rank}"
        return f"{self.role}{rank} (process {self.pid} on {self.host})"

    def read(self, token: bytes) -> None:
        """Take in what has arrived; `lost` says that there will be no more."""
        try:
            data = self.connection.recv(_LINE)
            *lines, self.buffer = (self.buffer + data).split(b"\n")
            for line in lines:
                if self.trusted:  # nothing of a stranger's is parsed
                    self._take(json.loads(line))
                elif hmac.compare_digest(line, token):
                    self.trusted = True
                else:
                    raise ValueError
            self.lost = not data or len(self.buffer) > _LINE
        except (OSError, ValueError, RecursionError):
            self.lost = True

    def _take(self, facts: object) -> None:
        if not (isinstance(facts, dict) and facts.get("role", self.role) in ROLES
                and all(type(value) is _FACTS.get(name) for name, value in facts.items())):
            raise ValueError
        if not self.role:
            self.connection.sendall(supervisor.START)
        if "status" in facts:
            self.ended = time.monotonic()
        for name, value in facts.items():
            setattr(self, name, value)


class JobMonitor:
    """All members of a job, and the signals that have arrived here or have ended a worker."""

    def __init__(self, token: str, counts: dict[str, int], start_timeout: float,
                 stop_timeout: float) -> None:
        self.token, self.counts = token.encode(), counts
        self.start_timeout, self.stop_timeout = start_timeout, stop_timeout
        self.signals: list[int] = []
        self.members: list[Peer] = []
        self._since = 0.0  # when the first signal came
        self._stopped = False

    def hear(self, number: int) -> None:
        """Take in a signal; within a second of the first it is the same, from shell and system."""
        now = time.monotonic()
        if not self.signals:
            self._since = now
        if not self.signals or now > self._since + 1:
            self.signals.append(number)

    def run(self, listener: socket.socket, starters: list[Starter]) -> None:
        """Return when all workers have ended well, or when a signal asks to; else JobError."""
        deadline = time.monotonic() + self.start_timeout
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as connections:
            selector.register(listener, selectors.EVENT_READ)
            while True:
                # Looked at before the members are read: what one of them says comes first.
                failed = [f"{name} ended with status {process.returncode}"
                          for name, process in starters if process.poll()]
                for key, _ in selector.select(0.1):
                    if key.data:
                        key.data.read(self.token)
                        if key.data.lost:
                            selector.unregister(key.fileobj)
                            key.data.connection.close()
                        continue
                    with contextlib.suppress(OSError):
                        connection = connections.enter_context(listener.accept()[0])
                        supervisor.keep_alive(connection)
                        connection.setblocking(False)
                        self.members.append(Peer(connection))
                        selector.register(connection, selectors.EVENT_READ, self.members[-1])
                now = time.monotonic()
                ended = [m for m in self._list("worker") if m.status in self._good()]
                if len(ended) == self.counts["worker"]:
                    return  # servers have nothing to keep
                self._check_stopped(now)
                self._check_members()
                self._check_early(now)
                if self.signals and self._stop():
                    return
                if failed and not self._stopped:
                    raise JobError(f"{failed[0]}: see its message above; the job is ended")
                missing = self._list_missing()
                if missing and now > deadline:
                    raise JobError(f"{' and '.join(missing)} not started within "
                                   f"{self.start_timeout:g} s: see what keeps them, or give a "
                                   "longer --start-timeout")

    def _good(self) -> tuple[int, ...]:
        return _STOPPED if self._stopped else (0,)

    def _list(self, role: str) -> list[Peer]:
        return [member for member in self.members if member.role == role]

    def _list_waiting(self) -> list[Peer]:
        return [member for member in self._list("worker") if member.status is None]

    def _stop(self) -> bool:
        """Have the workers save and end; return whether there is nothing to wait for."""
        workers = self._list("worker")
        # No step is made before all are there, and ready to save; one that ends before that leaves
        # those that are ready waiting for ever.
        if len(self.signals) > 1 or len(workers) < self.counts["worker"]:
            return True
        if not self._stopped:
            self._stopped = True
            for member in self._list_waiting():
                with contextlib.suppress(OSError):
                    member.connection.sendall(supervisor.STOP)
        return (any(m.ready for m in workers)
                and any(m.status is not None and not m.ready for m in workers))

    def _check_stopped(self, now: float) -> None:
        """Find who was told alone to stop, and who does not come to an end after a signal."""
        workers, waiting = self._list("worker"), self._list_waiting()
        for member in workers:
            if not self.signals and member.status in _STOPPED[2:]:
                self.hear(member.status - 128)
                self._stopped = True  # it had the others stop at the same step: they save now
        since = max([self._since, *(m.ended for m in workers)])
        if self._stopped and waiting and now > since + self.stop_timeout:
            raise JobError(f"{' and '.join(map(str, waiting))} not ended within "
                           f"{self.stop_timeout:g} s of the signal: see what keeps them, or give a "
                           "longer --stop-timeout")

    def _check_members(self) -> None:
        for member in self.members:
            status = member.status
            if status is None and member.lost and member.role:
                raise JobError(f"lost {member}: it or its host has died; the job is ended")
            if status not in (None, *self._good()):
                how = (f"was killed by {signal.Signals(-status).name}" if status < 0 else
                       f"ended with status {status}: see its message above")
                raise JobError(f"{member} {how}; the job is ended")

    def _check_early(self, now: float) -> None:
        """Find who ended well, but before those that now wait for it, for ever and in silence."""
        for member in self.members:
            # None has a rank before all have joined; thereafter each worker may end when it likes.
            waiting = [m for m in self._list_waiting() if m.up and (
                member.role != "worker" or m.rank is member.rank is None)]
            if (member.status == 0 and waiting and not self._stopped
                    and now > member.ended + self.start_timeout):
                raise JobError(f"{member} ended too early, with status 0, while "
                               f"{' and '.join(map(str, waiting))} waited for it; the job is "
                               "ended")

    def _list_missing(self) -> list[str]:
        missing = []
        for role, count in self.counts.items():
            late = [m for m in self._list(role) if not m.up and m.status is None]
            n = count - len(self._list(role)) + len(late)
            if n > 0:
                names = ", ".join(f"process {m.pid} on {m.host}" for m in late)
                missing.append(f"{n} of {count} {role}{'s' * (count > 1)}"
                               + f" ({names})" * bool(late))
        return missing
