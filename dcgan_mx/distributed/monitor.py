"""Monitor all processes of a job: start, reports, exit."""
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
from .launchers import Starter, exit_status

_MAX_LINE = 4096  # bytes; strangers may send more
_TOKEN_TIMEOUT = 3.0  # seconds for a peer to send the token
_STOPPED = (0, -signal.SIGTERM, 128 + signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGTERM)
# The facts that a process may report, and their types.
_FACTS = {"role": str, "host": str, "pid": int, "up": bool, "rank": int, "ready": bool,
          "status": int}


class JobError(RuntimeError):
    """A job has failed; the message names the first failure."""


@dataclasses.dataclass(eq=False)
class Peer:
    """The other end of a connection: a supervised process, or a stranger."""

    connection: socket.socket
    buffer: bytes = b""
    trusted: bool = False  # has sent the token
    lost: bool = False
    ended: float = 0.0  # time of the exit status
    role: str = ""
    host: str = ""
    pid: int = 0
    up: bool = False
    rank: Any = None  # int, once known
    ready: bool = False
    status: Any = None  # int, once known
    since: float = dataclasses.field(default_factory=time.monotonic)

    def __str__(self) -> str:
        rank = "" if self.rank is None else f" {self.rank}"
        return f"{self.role}{rank} (process {self.pid} on {self.host})"

    def read(self, token: bytes) -> None:
        """Read and apply new lines; set `lost` at the end, or for a stranger."""
        try:
            data = self.connection.recv(_MAX_LINE)
            *lines, self.buffer = (self.buffer + data).split(b"\n")
            for line in lines:
                if self.trusted:  # never parse a stranger's data
                    self._apply(json.loads(line))
                elif hmac.compare_digest(line, token):
                    self.trusted = True
                else:
                    raise ValueError
            self.lost = not data or len(self.buffer) > _MAX_LINE
        except (OSError, ValueError, RecursionError):
            self.lost = True

    def _apply(self, facts: object) -> None:
        """Store reported facts; ValueError if they are invalid."""
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
    """All processes of a job, and the signals that the launcher or a worker has received."""

    def __init__(self, token: str, counts: dict[str, int], start_timeout: float,
                 stop_timeout: float) -> None:
        self.token, self.counts = token.encode(), counts
        self.start_timeout, self.stop_timeout = start_timeout, stop_timeout
        self.signals: list[int] = []
        self.peers: list[Peer] = []
        self._since = 0.0  # time of the first signal
        self._stopped = False

    def add_signal(self, number: int) -> None:
        """Record a signal; within a second of the first it is a repetition by shell or system."""
        now = time.monotonic()
        if not self.signals:
            self._since = now
        if not self.signals or now > self._since + 1:
            self.signals.append(number)

    def run(self, listener: socket.socket, starters: list[Starter]) -> None:
        """Return when all workers have succeeded or a signal ends the job; else raise JobError."""
        deadline = time.monotonic() + self.start_timeout
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as connections:
            selector.register(listener, selectors.EVENT_READ)
            while True:
                # Checked before the peers are read, whose errors take precedence.
                failed = [f"{name} ended with status {exit_status(process)}"
                          for name, process in starters if exit_status(process)]
                for key, _ in selector.select(0.1):
                    if key.data:
                        key.data.read(self.token)
                        continue
                    with contextlib.suppress(OSError):
                        connection = connections.enter_context(listener.accept()[0])
                        supervisor.keep_alive(connection)
                        connection.setblocking(False)
                        self.peers.append(Peer(connection))
                        selector.register(connection, selectors.EVENT_READ, self.peers[-1])
                now = time.monotonic()
                for key in [*selector.get_map().values()]:
                    peer = key.data
                    if peer and (peer.lost or not peer.trusted
                                 and now > peer.since + _TOKEN_TIMEOUT):
                        peer.lost = True
                        if not peer.role:
                            self.peers.remove(peer)
                        selector.unregister(key.fileobj)
                        peer.connection.close()
                ended = [m for m in self._list("worker") if m.status in self._good()]
                if len(ended) == self.counts["worker"]:
                    return  # servers have nothing to save
                self._check_stopped(now)
                self._check_peers()
                self._check_early(now)
                if self.signals and self._stop():
                    return
                if failed and not self._stopped:
                    raise JobError(f"{failed[0]}: see its message above; the job was stopped")
                missing = self._list_missing()
                if missing and now > deadline:
                    raise JobError(f"{' and '.join(missing)} not started within "
                                   f"{self.start_timeout:g} s: check their hosts, or give a longer "
                                   "--start-timeout")

    def _good(self) -> tuple[int, ...]:
        return _STOPPED if self._stopped else (0,)

    def _list(self, role: str) -> list[Peer]:
        return [peer for peer in self.peers if peer.role == role]

    def _list_waiting(self) -> list[Peer]:
        return [peer for peer in self._list("worker") if peer.status is None]

    def _stop(self) -> bool:
        """Make the workers save and exit; return whether the job can end at once."""
        workers = self._list("worker")
        # Nothing is trained before all workers are ready to save. A worker that exits earlier would
        # leave the ready ones waiting forever.
        if len(self.signals) > 1 or len(workers) < self.counts["worker"]:
            return True
        if not self._stopped:
            self._stopped = True
            for peer in self._list_waiting():
                with contextlib.suppress(OSError):
                    peer.connection.sendall(supervisor.STOP)
        return (any(m.ready for m in workers)
                and any(m.status is not None and not m.ready for m in workers))

    def _check_stopped(self, now: float) -> None:
        """Detect a worker that received a signal itself, and workers that do not stop in time."""
        workers, waiting = self._list("worker"), self._list_waiting()
        for peer in workers:
            if not self.signals and peer.status in _STOPPED[2:]:
                self.add_signal(peer.status - 128)
                self._stopped = True  # the others stop at the same step, and save now
        since = max([self._since, *(m.ended for m in workers)])
        if self._stopped and waiting and now > since + self.stop_timeout:
            raise JobError(f"{' and '.join(map(str, waiting))} not ended within "
                           f"{self.stop_timeout:g} s of the signal: check their hosts, or give a "
                           "longer --stop-timeout")

    def _check_peers(self) -> None:
        for peer in self.peers:
            status = peer.status
            if status is None and peer.lost and peer.role:
                raise JobError(f"lost {peer}: it or its host has died; the job was stopped")
            if status not in (None, *self._good()):
                how = (f"was killed by {signal.Signals(-status).name}" if status < 0 else
                       f"ended with status {status}: see its message above")
                raise JobError(f"{peer} {how}; the job was stopped")

    def _check_early(self, now: float) -> None:
        """Detect a process that exited with 0 while others wait for it forever."""
        for peer in self.peers:
            # Ranks are assigned when all have joined. After that each worker may exit at any time.
            waiting = [m for m in self._list_waiting() if m.up and (
                peer.role != "worker" or m.rank is peer.rank is None)]
            if (peer.status == 0 and waiting and not self._stopped
                    and now > peer.ended + self.start_timeout):
                raise JobError(f"{peer} ended too early, with status 0, while "
                               f"{' and '.join(map(str, waiting))} waited for it; the job "
                               "was stopped")

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
