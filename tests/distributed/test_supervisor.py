import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from helpers.processes import is_alive, wait_until

from dcgan_mx.distributed import supervisor

TOKEN = "0123456789abcdef" * 2
REPORTER = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
fd = int(os.environ["DCGAN_MX_REPORT"].split(":")[0])
os.write(fd, json.dumps({"pid": int(sys.argv[1]) or os.getpid(), "up": True}).encode() + b"\\n")
time.sleep(100)
"""
SHELL = ("sh", "-c", '"$@"; exit $?', "sh")


class Launcher:
    """The launcher of one supervised process."""

    def __init__(self, *command, by_stdin=False, start=True, cwd=os.curdir):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            job = json.dumps({"address": listener.getsockname(), "token": TOKEN, "cwd": cwd,
                              "command": command, "environ": {"DMLC_ROLE": "worker"}})
            self.supervisor = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__], text=True, stdin=subprocess.PIPE,
                env=os.environ if by_stdin else {**os.environ, supervisor.JOB: job},
                stderr=subprocess.PIPE)
            if by_stdin:
                self.supervisor.stdin.write(f"{job}\n")
            self.supervisor.stdin.close()
            self.supervisor.stdin = None
            listener.settimeout(60)
            self.connection, _ = listener.accept()
        self.connection.settimeout(60)
        self.lines = self.connection.makefile("rb")
        assert self.lines.readline() == f"{TOKEN}\n".encode()
        assert self.read() == {"role": "worker", "host": socket.gethostname(),
                               "pid": self.supervisor.pid}
        if start:
            self.connection.sendall(supervisor.START)

    def read(self):
        line = self.lines.readline()
        return json.loads(line) if line else None

    def finish(self):
        """Return the supervisor's exit status and standard error."""
        _, err = self.supervisor.communicate(timeout=60)
        self.lines.close()
        self.connection.close()
        return self.supervisor.returncode, err


def start_reporter(shell=(), claim=0):
    """Supervise a process that reports its id, or another one; return the launcher and that id."""
    launcher = Launcher(*shell, sys.executable, "-c", REPORTER, str(claim))
    launcher.pid = launcher.read()["pid"]
    reported = launcher.read()
    assert reported["up"] and is_alive(launcher.pid)
    assert bool(shell or claim) == (reported["pid"] != launcher.pid)
    return launcher, reported["pid"]


@pytest.mark.parametrize("by_stdin", [False, True])
@pytest.mark.parametrize("command, status", [("exit 3", 3), ("kill -11 $$", -11)])
def test_exit_status_is_reported(command, status, by_stdin):
    launcher = Launcher("sh", "-c", f'test -z "$DCGAN_MX_JOB" && {command}', by_stdin=by_stdin)
    assert launcher.read().keys() == {"pid"}
    assert launcher.read() == {"status": status}
    assert launcher.read() is None
    assert launcher.finish() == (0, "")


def test_command_waits_for_the_launcher(tmp_path):
    launcher = Launcher("touch", str(tmp_path / "file"), start=False)
    launcher.connection.shutdown(socket.SHUT_RDWR)
    assert launcher.finish() == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command, cwd, name", [
    ("/no/such", ".", "/no/such"), ("true", "/no/folder", "/no/folder")])
def test_missing_program_or_folder_is_named(command, cwd, name):
    launcher = Launcher(command, cwd=cwd)
    assert launcher.read() == {"status": 127}
    assert launcher.finish() == (0, f"error: cannot start {name}: No such file or directory\n")


@pytest.mark.parametrize("shell", [(), SHELL])
@pytest.mark.parametrize("way", ["stop", "signal", "the launcher's end", "the supervisor's end"])
def test_signals_and_deaths_reach_the_process(way, shell):
    launcher, pid = start_reporter(shell)
    if way == "the supervisor's end":
        launcher.supervisor.kill()
        wait_until(lambda: not is_alive(launcher.pid))
        if shell:  # not a process of this package, which would end by itself
            os.kill(pid, signal.SIGKILL)
        assert launcher.finish() == (-signal.SIGKILL, "")
        return
    if way == "the launcher's end":
        launcher.connection.shutdown(socket.SHUT_RDWR)
    else:
        if way == "stop":
            launcher.connection.sendall(supervisor.STOP)
        else:
            launcher.supervisor.send_signal(signal.SIGTERM)
        assert launcher.read() == {"status": 7}
    assert launcher.finish() == (0, "")
    assert not is_alive(launcher.pid)
    wait_until(lambda: not is_alive(pid))


def test_process_behind_a_shell_ends_with_the_supervisor():
    """As on a remote host, where nothing else ends it."""
    code = "import time; from dcgan_mx.system.job_role import report; report(); time.sleep(100)"
    launcher = Launcher(*SHELL, sys.executable, "-c", code)
    shell, pid = launcher.read()["pid"], launcher.read()["pid"]
    assert shell != pid and is_alive(pid)
    launcher.supervisor.kill()
    wait_until(lambda: not is_alive(pid))
    assert launcher.finish() == (-signal.SIGKILL, "")


@pytest.mark.parametrize("pid", [-1, 1, None])
def test_reported_pid_of_others_is_not_signalled(pid):
    """-1 is a group, 1 is init, None stands for a process of another session."""
    with subprocess.Popen(["sleep", "100"], start_new_session=True) as other:
        launcher, _ = start_reporter(claim=pid or other.pid)
        launcher.connection.sendall(supervisor.STOP)
        assert launcher.read() == {"status": 7}
        assert launcher.finish() == (0, "")
        assert other.poll() is None
        other.kill()


def test_late_signals_print_nothing():
    for _ in range(4):  # without the fix, more than half of them printed
        launcher, _ = start_reporter()
        launcher.connection.shutdown(socket.SHUT_RDWR)
        for _ in range(100):
            launcher.supervisor.terminate()
            time.sleep(0.0002)
        assert launcher.finish()[1] == ""


def test_unreachable_launcher_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host, port = taken.getsockname()
        job = json.dumps({"address": [host, port]})
        done = subprocess.run([sys.executable, supervisor.__file__], stderr=subprocess.PIPE,
                              text=True, timeout=60, check=False,
                              env={**os.environ, supervisor.JOB: job})
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {socket.gethostname()} cannot reach the launcher at {host}:{port}: [Errno 111] "
        "Connection refused; check firewalls, or give the launcher a different host IP\n")
