"""Start a distributed job on MXNet's tracker, watch every process of it, end all with one."""
import contextlib
import hmac
import json
import os
import secrets
import selectors
import signal
import socket
import time

from . import hold, launchers, tracking
from .job import ROLES
from .processor import physical_cores

_LINE = 4096  # bytes; longer ones are from strangers
_GRACE = 5.0  # seconds for what ends by itself
_STOPPED = (0, -signal.SIGTERM, 128 + signal.SIGTERM)


class JobError(RuntimeError):
    """A job that failed; one line says what failed first, and how."""


class _Member:
    """A process of the job, or who claims to be one, at the other end of a connection."""

    def __init__(self, connection):
        self.connection = connection
        self.since = time.monotonic()
        self.buffer = b""
        self.role = self.status = self.rank = None
        self.up = self.lost = False
        self.name = ""

    def __str__(self):
        rank = f" {self.rank}" if self.rank is not None else ""
        return f"{self.role}{rank} ({self.name})"

    def read(self, token):
        """Take in what has arrived; return whether to go on reading."""
        try:
            data = self.connection.recv(_LINE)
        except OSError:
            data = b""
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        try:
            for line in lines:
                self._take(json.loads(line), token)
        except (ValueError, TypeError, AttributeError):  # no JSON, or no dict, of ours
            data = b""
        self.lost = not data or len(self.buffer) > _LINE
        return not self.lost

    def _take(self, facts, token):
        if self.role is None:
            if not hmac.compare_digest(str(facts.get("token")).encode(), token.encode()):
                raise ValueError
            if facts.get("role") not in ROLES:
                raise ValueError
            self.role = facts["role"]
            self.name = f"process {facts.get('pid')} on {facts.get('host')}"
        self.up = self.up or facts.get("up", False)
        self.rank = facts.get("rank", self.rank)
        self.status = facts.get("status", self.status)


class _Watch:
    """All members of a job, from its start to its end."""

    def __init__(self, token, counts, start_timeout):
        self.token, self.counts, self.start_timeout = token, counts, start_timeout
        self.signals = []
        self.members = []
        self.failure = None  # what the tracker says
        self.stopped = False

    def run(self, listener, failures):
        """Return when all workers have ended well, or when a signal asks to."""
        deadline = time.monotonic() + self.start_timeout
        ended = None
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
                        key.fileobj.close()
                now = time.monotonic()
                self._drop_strangers(selector, now)
                if self._workers_ended():
                    ended = ended or now
                    if now > ended + _GRACE or len(self._list(ended=True)) == sum(
                            self.counts.values()):
                        return
                    continue
                self._check_members()
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

    def close(self):
        """Let go of all members, which ends those that are left."""
        for member in self.members:
            member.connection.close()

    def _accept(self, listener, selector):
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            hold.keep_alive(connection)
            connection.setblocking(False)
            member = _Member(connection)
            self.members.append(member)
            selector.register(connection, selectors.EVENT_READ, member)

    def _hear(self, failures, selector):
        try:
            message = failures.recv()
        except EOFError:
            selector.unregister(failures)
            message = "MXNet's tracker has died"
        if message and not self.failure:
            self.failure = message

    def _drop_strangers(self, selector, now):
        for member in list(self.members):
            if member.role is None and (member.lost or now > member.since + 10):
                self.members.remove(member)
                if not member.lost:
                    selector.unregister(member.connection)
                    member.connection.close()

    def _list(self, role=None, ended=None):
        return [m for m in self.members if m.role and role in (None, m.role)
                and ended in (None, m.status is not None)]

    def _workers_ended(self):
        good = _STOPPED if self.stopped else (0,)
        return sum(m.status in good for m in self._list("worker")) >= self.counts["worker"]

    def _check_members(self):
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
                               "above; the job is ended")

    def _list_missing(self):
        missing = []
        for role, count in self.counts.items():
            late = [m for m in self._list(role) if not m.up and m.status is None]
            n = count - len(self._list(role)) + len(late)
            if n > 0:
                names = f" ({', '.join(m.name for m in late)})" if late else ""
                missing.append(f"{n} of {count} {role}{'s' * (count > 1)}{names}")
        return missing

    def _stop(self):
        self.stopped = True
        for member in self._list("worker", ended=False):
            with contextlib.suppress(OSError):
                member.connection.sendall(b"stop\n")


def launch(command, num_workers, num_servers=None, launcher="local", hostfile=None, host_ip=None,
           start_timeout=60.0, nodes=None, yarn_app_dir=None, image=None):
    """Start a job, watch it, and return when nothing of it is left.

    Parameters
    ----------
    command : list of str
        Runs once for every worker, every server and the scheduler; it has to import `dcgan_mx`.
    num_workers : int
        From 1.
    num_servers : int, optional
        From 1; as many as workers if left out.
    launcher : {'local', 'ssh', 'mpi', 'slurm', 'sge', 'yarn', 'kubernetes'}
    hostfile : str or os.PathLike, optional
        For ssh and mpi.
    host_ip : str, optional
        This host's address for the others.
    start_timeout : float
        Seconds that the processes may take until all have come to the import of MXNet.
    nodes : int, optional
        For slurm: how many nodes the workers, and the servers, are spread over; one for each
        process if left out.
    yarn_app_dir : str, optional
        For yarn: where dmlc-yarn.jar is.
    image : str, optional
        For kubernetes: the container to run.

    Returns
    -------
    int
        0, or 128 and the number of the signal that ended the job.

    Raises
    ------
    ValueError
        If something cannot work, before anything is started.
    JobError
        If a process fails, or the job cannot start; nothing of it is left.
    """
    num_servers = num_workers if num_servers is None else num_servers
    ours = [name for name in os.environ if name.startswith(("DMLC_", "DCGAN_MX_"))]
    if ours:
        raise ValueError(f"{ours[0]} is set: unset it, the launcher sets such variables itself")
    launchers.check_launcher(launcher, hostfile, yarn_app_dir)
    host = tracking.find_host(launcher, host_ip)
    environ = {}
    if launcher == "local" and not {"OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS"} & set(os.environ):
        environ["OMP_NUM_THREADS"] = str(max(1, physical_cores() // num_workers))
    flags = {"num_workers": num_workers, "num_servers": num_servers,
             "host_file": hostfile and os.path.abspath(hostfile)}
    flags.update({"slurm_worker_nodes": nodes, "slurm_server_nodes": nodes})
    flags.update({"yarn_app_dir": yarn_app_dir} if yarn_app_dir else {})
    flags.update({"kube_worker_image": image, "kube_server_image": image} if image else {})
    token = secrets.token_hex(16)
    watch = _Watch(token, {"scheduler": 1, "server": num_servers, "worker": num_workers},
                   start_timeout)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(host))
        if launcher != "kubernetes":
            environ["DCGAN_MX_JOB"] = f"{host}:{listener.getsockname()[1]}:{token}"
        options = tracking.make_options(command, launcher, environ, flags, os.getcwd())
        process, failures = tracking.start(launcher, options, host, environ)
        stack.callback(_end_group, process)
        stack.callback(watch.close)
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(
                number, lambda number, _: watch.signals.append(number)))
        if launcher == "kubernetes":  # containers need not reach this host; kubectl has them now
            _wait_for_tracker(failures)
        else:
            watch.run(listener, failures)
    return 128 + watch.signals[0] if watch.signals else 0


def _name_signal(number):
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _listen(host):
    listener = socket.socket()
    try:
        listener.bind((host, 0))
        listener.listen(256)
        return listener
    except OSError as error:
        listener.close()
        raise ValueError(f"--host-ip {host} is no address of this host: {error.strerror}"
                         ) from None


def _wait_for_tracker(failures):
    message = failures.recv()
    if message:
        raise JobError(message)


def _end_group(process):
    """Wait for the tracker and what it has started; ask, then kill, what is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        process.join(_GRACE / 2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    process.join()
