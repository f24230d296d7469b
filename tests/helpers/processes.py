"""Jobs of real processes in tests: to start them, to find them, to wait for what they do."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from helpers.common import ROOT


def wait_until(true, process=None):
    """Wait for a condition, which a process that has ended would never meet."""
    deadline = time.monotonic() + 100
    while not true():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)


def make_env(**more):
    """The environment without what the launcher sets itself."""
    ours = ("OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS", "DCGAN_MX_JOB", "DCGAN_MX_REPORT")
    clean = {name: value for name, value in os.environ.items()
             if not name.startswith("DMLC_") and name not in ours}
    return {**clean, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", **more}


def start_job(flags, command, env=None, cwd=None, program=()):
    """Start the launcher."""
    return subprocess.Popen(
        [*program, sys.executable, "-m", "dcgan_mx", "launch", *map(str, flags), "--",
         *map(str, command)],
        env=env or make_env(), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # these tests, too, may run behind nohup
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))  # noqa: PLW1509


def finish(launcher):
    """Wait for the launcher's end; its status and what it and the job said on standard error."""
    _, err = launcher.communicate(timeout=100)
    return launcher.returncode, err


def is_alive(pid):
    """Whether there is a process of this number that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def find_processes(mark, role=None, holder=False):
    """Numbers of a job's processes, or of those of a role, that have a mark in what they are told.

    The launcher is none of them.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
            environ = (folder / "environ").read_bytes()
        except OSError:
            continue
        if str(mark).encode() in line + environ and b"\0dcgan_mx\0launch\0" not in line and (
                role is None or (b'"DMLC_ROLE": "%s"' if holder else b"DMLC_ROLE=%s\0")
                % role.encode() in environ):
            found.append(int(folder.name))
    return found
