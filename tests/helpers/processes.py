"""Start, find and await the processes of distributed jobs."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from helpers.common import ROOT

from dcgan_mx.distributed.supervisor import die_with_parent


def wait_until(true, process=None):
    """Wait for a condition; fail if `process` ends first."""
    deadline = time.monotonic() + 100
    while not true():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)


def make_env(**more):
    """Return the environment without the variables that the launcher sets."""
    ours = ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS", "DCGAN_MX_JOB", "DCGAN_MX_REPORT")
    clean = {name: value for name, value in os.environ.items()
             if not name.startswith("DMLC_") and name not in ours}
    return {**clean, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", **more}


_started = []  # launchers


def start_job(flags, command, env=None, cwd=None, program=()):
    """Start `dcgan-mx launch`, which ends with this process."""
    def prepare():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
        die_with_parent(signal.SIGKILL)

    _started.append(subprocess.Popen(
        [*program, sys.executable, "-m", "dcgan_mx", "launch", *map(str, flags), "--",
         *map(str, command)],
        env=env or make_env(), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=prepare))  # noqa: PLW1509
    return _started[-1]


def kill_jobs():
    """Kill all launchers, whose jobs end with them, and print their output."""
    while _started:
        _started[-1].kill()
        print(*_started.pop().communicate(timeout=100))


def finish(launcher):
    """Wait for the launcher; return its exit status and the standard error of the job."""
    _, err = launcher.communicate(timeout=100)
    return launcher.returncode, err


def is_alive(pid):
    """Whether a process with this number exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter: it has ended since the open
        return False


def find_processes(mark, role=None, supervisor=False):
    """Return the processes of a job, without the launcher, with a mark in arguments or environment.

    With `supervisor`, `role` selects the supervisors of processes with that role.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
            environ = (folder / "environ").read_bytes()
        except OSError:
            continue
        if str(mark).encode() in line + environ and b"\0dcgan_mx\0launch\0" not in line and (
                role is None or (b'"DMLC_ROLE": "%s"' if supervisor else b"DMLC_ROLE=%s\0")
                % role.encode() in environ):
            found.append(int(folder.name))
    return found
