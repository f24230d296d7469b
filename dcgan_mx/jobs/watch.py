"""Watch every process of a job: its start, its reports, its end."""
from __future__ import annotations

import contextlib
import hmac
import selectors
import signal
import socket
import time
from multiprocessing.connection import Connection
from typing import Any

from ..machine.files import parse_json
from ..machine.job import ROLES
from . import hold

_LINE = 4096  # bytes; longer ones are from strangers
_ALONE = 10.0  # seconds that workers may go on without a server or the scheduler
TRACKER_DIED = "MXNet's tracker has died; the job is ended"
_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)  # those that ask a worker to stop
_STOPPED = (0, -signal.SIGTERM, *(128 + number for number in _SIGNALS))
_TWICE = 1.0  # seconds; see `Watch.hear`


class JobError(RuntimeError):
    """A job that failed; one line says what failed first, and how."""


class Member:
    """A process of the job, or who claims to be one, at the other end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.since = time.monotonic()
        self.buffer = b""
        self.role: str | None = None
        self.status: int | None = None
        self.rank: int | None = None
        self.ended = 0.0  # when the status came
        self.up = self.lost = False
        self.name = ""

    def __str__(self) -> str:
        rank = f" {self.rank}" if self.rank is not None else ""
        return f"{self.role}{rank} ({self.name})"

    def read(self, token: str) -> bool:
        """Take in what has arrived; return whether to go on reading."""
        try:
            data = self.connection.recv(_LINE)
        except OSError:
            data = b""
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        try:
            for line in lines:
                self._take(parse_json(line), token)
        except (ValueError, TypeError, AttributeError):  # no JSON, or no dict, of ours
            data = b""
        self.lost = not data or len(self.buffer) > _LINE
        return not self.lost

    def _take(self, facts: dict[str, Any], token: str) -> None:
        if self.role is None:
            if not hmac.compare_digest(str(facts.get("token")).encode(), token.encode()):
                raise ValueError
            if facts.get("role") not in ROLES:
                raise ValueError
            self.role = facts["role"]
            self.name = f"process {facts.get('pid')} on {facts.get('host')}"
        self.up = self.up or facts.get("up", False)
        self.rank = facts.get("rank", self.rank)
        if "status" in facts:
            self.status, self.ended = facts["status"], time.monotonic()


class Watch:
    """All members of a job, from its start to its end.

    Parameters
    ----------
    token
        What a member has to know.
    counts
        How many there are of each role.
    start_timeout, stop_timeout
        As for `launch.launch`.
    messages
        Where those of the processes are.

    Attributes
    ----------
    signals : list of int
        Those that have arrived here, or at a worker that has ended because of one.
    """

    def __init__(self, token: str, counts: dict[str, int], start_timeout: float,
                 stop_timeout: float, messages: str) -> None:
        self.token, self.counts, self.messages = token, counts, messages
        self.start_timeout, self.stop_timeout = start_timeout, stop_timeout
        self.signals: list[int] = []
        self._since = 0.0  # when the first of these came
        self.members: list[Member] = []
        self.failure: str | None = None  # what the tracker says
        self.stopped = False

    def hear(self, number: int) -> None:
        """Take in a signal.

        One that comes within a second of the first is the same: a shell whose terminal is closed
        tells its jobs, and then the system tells them, too.
        """
        now = time.monotonic()
        if not self.signals:
            self._since = now
        elif now < self._since + _TWICE:
            return
        self.signals.append(number)

    def run(self, listener: socket.socket, failures: Connection) -> None:
        """Return when all workers have ended well, or when a signal asks to.

        Parameters
        ----------
        listener
            Where the members come to.
        failures
            From `tracking.start`.

        Raises
        ------
        JobError
            If a process fails, or the job cannot start.
        """
        deadline = time.monotonic() + self.start_timeout
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(failures, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(0.1):
                    if key.fileobj is listener:
                        self._accept(listener, selector)
                    elif key.fileobj is failures:
                        self._hear(failures, selector)
                    elif not key.data.read(self.token):
                        selector.unregister(key.fileobj)
                        key.data.connection.close()
                now = time.monotonic()
                self._drop_strangers(selector, now)
                if self._workers_ended():
                    return  # servers have nothing to keep
                self._check_stopped(now)
                self._check_members()
                self._check_early(now)
                missing = self._list_missing()
                if len(self.signals) > 1 or (self.signals and missing):
                    return
                if self.signals and not self.stopped:
                    self._stop()
                if self.failure and not self.stopped:
                    raise JobError(self.failure)
                if missing and now > deadline:
                    raise JobError(f"{' and '.join(missing)} not started within "
                                   f"{self.start_timeout:g} s: see what keeps them, or give a "
                                   "longer --start-timeout")

    def close(self) -> None:
        """Let go of all members, which ends those that are left."""
        for member in self.members:
            member.connection.close()

    def _accept(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            hold.keep_alive(connection)
            connection.setblocking(False)
            member = Member(connection)
            self.members.append(member)
            selector.register(connection, selectors.EVENT_READ, member)

    def _hear(self, failures: Connection, selector: selectors.BaseSelector) -> None:
        try:
            message = failures.recv()
        except EOFError:
            message = TRACKER_DIED
            selector.unregister(failures)
        else:
            if message is None:  # it has nothing left to do
                selector.unregister(failures)
        self.failure = self.failure or message

    def _drop_strangers(self, selector: selectors.BaseSelector, now: float) -> None:
        for member in list(self.members):
            if member.role is None and (member.lost or now > member.since + 10):
                self.members.remove(member)
                if not member.lost:
                    selector.unregister(member.connection)
                    member.connection.close()

    def _list(self, role: str | None = None, ended: bool | None = None) -> list[Member]:
        return [m for m in self.members if m.role and role in (None, m.role)
                and ended in (None, m.status is not None)]

    def _workers_ended(self) -> bool:
        good = _STOPPED if self.stopped else (0,)
        return sum(m.status in good for m in self._list("worker")) >= self.counts["worker"]

    def _check_stopped(self, now: float) -> None:
        """Find who was told alone to stop, and who does not come to an end after a signal."""
        ended = self._list("worker", ended=True)
        for member in ended:
            if not self.signals and member.status in [128 + number for number in _SIGNALS]:
                self.hear(member.status - 128)
                self.stopped = True  # it had the others stop at the same step: they save now
        waiting = self._list("worker", ended=False)
        since = max([self._since, *(member.ended for member in ended)])
        if self.stopped and waiting and now > since + self.stop_timeout:
            raise JobError(f"{' and '.join(map(str, waiting))} not ended within "
                           f"{self.stop_timeout:g} s of the signal: see what keeps them, or give a "
                           "longer --stop-timeout")

    def _check_members(self) -> None:
        for member in self._list():
            if member.status is None:
                if member.lost:
                    raise JobError(f"lost {member}: it or its host has died; the job is ended")
            elif member.status < 0:
                if not (self.stopped and member.status in _STOPPED):
                    raise JobError(f"{member} was killed by {_name_signal(-member.status)}; the "
                                   "job is ended")
            elif member.status not in (_STOPPED if self.stopped else (0,)):
                raise JobError(f"{member} ended with status {member.status}: see its message "
                               f"{self.messages}; the job is ended")

    def _check_early(self, now: float) -> None:
        """Find who ended well, but before those that now wait for it, for ever and in silence."""
        for member in self._list():
            if self.stopped or member.status != 0:
                continue
            waiting = [m for m in self._list("worker", ended=False) if m.up]
            if member.role == "worker":
                # None has a rank before all have joined; thereafter each may end when it likes.
                waiting = [m for m in waiting if m.rank is None and member.rank is None]
            limit = self.start_timeout if member.role == "worker" else _ALONE
            if waiting and now > member.ended + limit:
                raise JobError(f"{member} ended too early, with status 0, while "
                               f"{' and '.join(map(str, waiting))} waited for it; the job is "
                               "ended")

    def _list_missing(self) -> list[str]:
        missing = []
        for role, count in self.counts.items():
            late = [m for m in self._list(role) if not m.up and m.status is None]
            n = count - len(self._list(role)) + len(late)
            if n > 0:
                names = f" ({', '.join(m.name for m in late)})" if late else ""
                missing.append(f"{n} of {count} {role}{'s' * (count > 1)}{names}")
        return missing

    def _stop(self) -> None:
        self.stopped = True
        for member in self._list("worker", ended=False):
            with contextlib.suppress(OSError):
                member.connection.sendall(b"stop\n")


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
