"""Monitor all processes of a job: start, reports, exit."""
from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hmac
import json
import signal
import socket
import time
from typing import Any

from ..system.job_role import ROLES
from . import supervisor
from .launchers import Starter, exit_status

_MAX_LINE = 4096  # bytes
_TOKEN_TIMEOUT = 3.0  # seconds for a connection to send the token
_STOPPED = (0, -signal.SIGTERM, 128 + signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGTERM)
_SIGNALS = {number.value: number.name for number in signal.Signals}
# The facts that a process may report, and their types.
_FACTS = {"role": str, "host": str, "pid": int, "up": bool, "rank": int, "ready": bool,
          "status": int}


class JobError(RuntimeError):
    """A job has failed; the message names the first failure."""


@dataclasses.dataclass(eq=False)
class Peer:
    """A process of the job, and the connection to its supervisor."""

    connection: asyncio.StreamWriter
    lost: bool = False
    role: str = ""
    host: str = ""
    pid: int = 0
    up: bool = False
    rank: int | None = None
    ready: bool = False
    status: int | None = None
    ended: float = 0.0  # time of the exit status

    def __str__(self) -> str:
        rank = "" if self.rank is None else f" {self.rank}"
        return f"{self.role}{rank} (process {self.pid} on {self.host})"

    def update(self, facts: Any) -> None:
        """Store reported facts; ValueError if they are invalid."""
        if not (isinstance(facts, dict) and facts.get("role", self.role) in ROLES
                and all(type(value) is _FACTS.get(name) for name, value in facts.items())
                and -65 < facts.get("status", 0) < 256):
            raise ValueError
        if "status" in facts:
            self.ended = time.monotonic()
        vars(self).update(facts)


class JobMonitor:
    """All processes of a job, and the signals that the launcher or a worker has received."""

    def __init__(self, token: str, counts: dict[str, int], start_timeout: float,
                 stop_timeout: float) -> None:
        self.token, self.counts = f"{token}\n".encode(), counts
        self.start_timeout, self.stop_timeout = start_timeout, stop_timeout
        self.signals: list[int] = []
        self.peers: list[Peer] = []
        self._serving: set[asyncio.Future[None]] = set()
        self._since = 0.0  # time of the first signal
        self._stopped = False

    def add_signal(self, number: int) -> None:
        """Record a signal; within a second of the first it is a repetition by shell or system."""
        now = time.monotonic()
        if not self.signals:
            self._since = now
        if not self.signals or now > self._since + 1:
            self.signals.append(number)

    async def run(self, listener: socket.socket, starters: list[Starter]) -> None:
        """Return when all workers have succeeded or a signal ends the job; else raise JobError."""
        deadline = time.monotonic() + self.start_timeout
        # A duplicate, because the server closes its socket: a supervisor that connects late would
        # print that it cannot reach the launcher.
        with contextlib.closing(await asyncio.start_server(
                self._accept, sock=listener.dup(), limit=_MAX_LINE, backlog=256)):
            while True:
                # Checked before the reports are read, whose errors take precedence.
                failed = [f"{name} ended with status {exit_status(process)}"
                          for name, process in starters if exit_status(process)]
                await asyncio.sleep(0.05)
                now = time.monotonic()
                ended = [peer for peer in self._list("worker") if peer.status in self._good()]
                if len(ended) == self.counts["worker"]:
                    return  # servers have nothing to save
                self._check_stopped(now)
                self._check_peers(now)
                if self.signals and self._stop():
                    return
                if failed and not self._stopped:
                    raise JobError(f"{failed[0]}: see its message above; the job was stopped")
                missing = self._list_missing()
                if missing and now > deadline:
                    raise JobError(f"{' and '.join(missing)} not started within "
                                   f"{self.start_timeout:g} s: check their hosts, or increase the "
                                   "start timeout")

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task, which Python 3.11 would print if it were asyncio's own."""
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read the token, then the reports of a process, until they are invalid or end."""
        peer = Peer(writer)
        with contextlib.closing(writer), contextlib.suppress(
                OSError, ValueError, RecursionError, asyncio.TimeoutError,
                asyncio.CancelledError):  # at the end of `run`; Python 3.11 would print it
            supervisor.keep_alive(writer.get_extra_info("socket"))
            token = await asyncio.wait_for(reader.readline(), _TOKEN_TIMEOUT)
            if not hmac.compare_digest(token, self.token):
                return  # nothing is parsed before the token
            async for line in reader:
                peer.update(json.loads(line))
                if peer not in self.peers:
                    if len(self._list(peer.role)) == self.counts.get(peer.role):
                        return  # not a process of this job
                    self.peers.append(peer)
                    writer.write(supervisor.START)
        peer.lost = True

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
                peer.connection.write(supervisor.STOP)
        return (any(peer.ready for peer in workers)
                and any(peer.status is not None and not peer.ready for peer in workers))

    def _check_stopped(self, now: float) -> None:
        """Detect a worker that received a signal itself, and workers that do not stop in time."""
        workers, waiting = self._list("worker"), self._list_waiting()
        for peer in workers:
            if peer.status in _STOPPED[2:] and not self.signals:
                self.add_signal(peer.status - 128)
                self._stopped = True  # the others stop at the same step, and save now
        since = max([self._since, *(peer.ended for peer in workers)])
        if self._stopped and waiting and now > since + self.stop_timeout:
            raise JobError(f"{' and '.join(map(str, waiting))} not ended within "
                           f"{self.stop_timeout:g} s of the signal: check their hosts, or increase "
                           "the stop timeout")

    def _check_peers(self, now: float) -> None:
        """Detect a process that has died or failed, or that left others waiting forever."""
        for peer in self.peers:
            status = peer.status
            if status is None and peer.lost:
                raise JobError(f"lost {peer}: it or its host has died; the job was stopped")
            if status is not None and status not in self._good():
                name = _SIGNALS.get(-status, f"signal {-status}")
                how = (f"was killed by {name}" if status < 0 else
                       f"ended with status {status}: see its message above")
                raise JobError(f"{peer} {how}; the job was stopped")
            # Ranks are assigned when all have joined. After that each worker may exit at any time.
            waiting = [other for other in self._list_waiting() if other.up and (
                peer.role != "worker" or other.rank is peer.rank is None)]
            if (status == 0 and waiting and not self._stopped
                    and now > peer.ended + self.start_timeout):
                raise JobError(f"{peer} ended too early, with status 0, while "
                               f"{' and '.join(map(str, waiting))} waited for it; the job "
                               "was stopped")

    def _list_missing(self) -> list[str]:
        """Return how many processes of each role have not started, and the known ones of these."""
        missing = []
        for role, count in self.counts.items():
            late = [peer for peer in self._list(role) if not peer.up and peer.status is None]
            n = count - len(self._list(role)) + len(late)
            if n > 0:
                names = ", ".join(f"process {peer.pid} on {peer.host}" for peer in late)
                missing.append(f"{n} of {count} {role}{'s' * (count > 1)}"
                               + f" ({names})" * bool(late))
        return missing
