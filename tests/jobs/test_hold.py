import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from dcgan_mx.jobs import hold

REPORTER = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
fd = int(os.environ["DCGAN_MX_REPORT"].split(":")[0])
os.write(fd, json.dumps({"pid": int(sys.argv[2]) or os.getpid(), "up": True}).encode() + b"\\n")
time.sleep(float(sys.argv[1]))
"""


class Launcher:
    """The launcher's end of one holder."""

    def __init__(self, *command, **environ):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            self.holder = subprocess.Popen(
                [sys.executable, "-I", "-S", hold.__file__, *command], text=True,
                env={**os.environ, "DMLC_ROLE": "worker", **environ, "DCGAN_MX_JOB":
                     f"127.0.0.1:{listener.getsockname()[1]}:secret"}, stderr=subprocess.PIPE)
            listener.settimeout(10)
            self.connection, _ = listener.accept()
        self.connection.settimeout(10)
        self.lines = self.connection.makefile("rb")
        self.hello = self.read()

    def read(self):
        line = self.lines.readline()
        return json.loads(line) if line else None

    def finish(self):
        """The holder's status, and what was said on standard error."""
        _, err = self.holder.communicate(timeout=10)
        self.lines.close()
        self.connection.close()
        return self.holder.returncode, err

    def is_held(self, pid=None):
        """Whether the held process, or another one, is alive."""
        try:
            with open(f"/proc/{pid or self.hello['pid']}/stat") as f:
                return f.read().rsplit(")")[1].split()[0] != "Z"
        except FileNotFoundError:
            return False


def wait_until(true, seconds=5):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def hold_reporter(role="worker", seconds=60, shell=(), claim=0):
    launcher = Launcher(*shell, sys.executable, "-c", REPORTER, str(seconds), str(claim),
                        DMLC_ROLE=role)
    launcher.facts = launcher.read()
    assert launcher.facts["up"]
    assert launcher.is_held()
    return launcher


SHELL = ("sh", "-c", '"$@"; exit $?', "sh")


@pytest.mark.parametrize("command, status", [
    ("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9), ("kill -11 $$", -11)])
def test_the_end_is_told(command, status):
    launcher = Launcher("sh", "-c", command)
    assert launcher.hello == {"token": "secret", "role": "worker", "pid": launcher.hello["pid"],
                              "host": socket.gethostname()}
    assert launcher.read() == {"status": status}
    assert launcher.read() is None
    assert launcher.finish() == (0, "")


def test_a_command_that_is_not_there():
    launcher = Launcher("/no/such")
    assert launcher.read() == {"status": 127}
    assert launcher.finish() == (0, "error: cannot start /no/such: No such file or directory\n")


@pytest.mark.parametrize("environ, role", [
    ({}, ""), ({"DMLC_TASK_ID": "2"}, "worker"), ({"DMLC_TASK_ID": "3"}, "server"),
    ({"DMLC_TASK_ID": "3", "DMLC_ROLE": "worker"}, "worker")])
def test_a_task_of_sge_finds_its_role(environ, role):
    environ = {**environ, "DMLC_NUM_WORKER": "2"}
    assert hold._find_role(environ) == role


@pytest.mark.parametrize("role, status", [("worker", 7), ("server", None)])
def test_stop_is_for_workers(role, status):
    launcher = hold_reporter(role)
    launcher.connection.sendall(b"stop\n")
    if status is None:
        with pytest.raises(socket.timeout):
            launcher.connection.settimeout(0.5)
            launcher.read()
        launcher.holder.terminate()
        launcher.finish()
    else:
        assert launcher.read() == {"status": status}
        assert launcher.finish() == (0, "")


def test_a_signal_is_passed_on():
    launcher = hold_reporter()
    launcher.holder.send_signal(signal.SIGTERM)
    assert launcher.read() == {"status": 7}
    assert launcher.finish() == (0, "")


def test_the_launchers_end_is_the_processs():
    launcher = hold_reporter()
    launcher.connection.shutdown(socket.SHUT_RDWR)
    assert launcher.finish() == (0, "")
    assert not launcher.is_held()


@pytest.mark.parametrize("way", ["stop", "signal"])
def test_a_shell_does_not_keep_signals_to_itself(way):
    launcher = hold_reporter(shell=SHELL)
    if way == "stop":
        launcher.connection.sendall(b"stop\n")
    else:
        launcher.holder.send_signal(signal.SIGTERM)
    assert launcher.read() == {"status": 7}
    assert launcher.finish() == (0, "")


def test_the_launchers_end_is_that_of_a_process_behind_a_shell():
    launcher = hold_reporter(shell=SHELL)
    pid = launcher.facts["pid"]
    assert launcher.is_held(pid) and pid != launcher.hello["pid"]
    launcher.connection.shutdown(socket.SHUT_RDWR)
    assert launcher.finish() == (0, "")
    assert not launcher.is_held()
    wait_until(lambda: not launcher.is_held(pid))


def test_a_number_that_is_a_strangers_is_not_signalled():
    with subprocess.Popen(["sleep", "60"]) as stranger:
        launcher = hold_reporter(claim=stranger.pid)
        launcher.connection.sendall(b"stop\n")
        assert launcher.read() == {"status": 7}
        assert launcher.finish() == (0, "")
        assert stranger.poll() is None
        stranger.kill()


def test_signals_at_the_end_are_quiet():
    for _ in range(20):  # more than every second one was heard
        launcher = hold_reporter()
        launcher.connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 0.05
        while launcher.holder.poll() is None and time.monotonic() < deadline:
            launcher.holder.terminate()
            time.sleep(0.0002)
        assert launcher.finish()[1] == ""


def test_the_holders_end_is_the_processs():
    launcher = hold_reporter()
    launcher.holder.kill()
    wait_until(lambda: not launcher.is_held())
    assert launcher.read() is None
    assert launcher.finish() == (-signal.SIGKILL, "")


def test_a_launcher_that_is_not_reached():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = subprocess.run([sys.executable, hold.__file__, "true"], stderr=subprocess.PIPE,
                              text=True, timeout=60, check=False, env={
                                  **os.environ, "DCGAN_MX_JOB": f"127.0.0.1:{port}:secret"})
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {socket.gethostname()} cannot reach the launcher at 127.0.0.1:{port}: [Errno 111] "
        "Connection refused; see that no firewall is between them, or give the launcher another "
        "--host-ip\n")
