import json
import os
import subprocess
import sys

import pytest

from dcgan_mx.system.job_role import ROLES, VARIABLES, read_role

JOB = {"DMLC_ROLE": "worker", "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": "9091",
       "DMLC_NUM_WORKER": "2", "DMLC_NUM_SERVER": "1"}


def test_role():
    for role in ROLES:
        assert read_role({**JOB, "DMLC_ROLE": role}) == role
    assert read_role({}) is read_role(dict.fromkeys(JOB, "")) is None
    assert read_role({"DMLC_INTERFACE": "eth0"}) is None  # a name of MXNet's own


@pytest.mark.parametrize("name", VARIABLES)
def test_incomplete_variables_are_rejected(name):
    for environ in ({**JOB, name: ""}, {k: v for k, v in JOB.items() if k != name}):
        with pytest.raises(ValueError, match=f"{name} is not set"):
            read_role(environ)


@pytest.mark.parametrize("name, value", [
    ("DMLC_ROLE", "boss"), ("DMLC_ROLE", "Worker"), ("DMLC_NUM_WORKER", "0"),
    ("DMLC_NUM_WORKER", "-1"), ("DMLC_NUM_SERVER", "two"), ("DMLC_NUM_SERVER", "1.5"),
    ("DMLC_PS_ROOT_PORT", "65536"), ("DMLC_PS_ROOT_PORT", "²"),
    ("DMLC_PS_ROOT_PORT", "9" * 5000)])
def test_invalid_values_are_rejected(name, value):
    with pytest.raises(ValueError, match=f"{name}: invalid value .{value}"):
        read_role({**JOB, name: value})


def report(fd, inode, code="", **passed):
    """Return the output of a process that gets a report pipe."""
    code = "import os; from dcgan_mx.system import job_role; " + (
        code or "print(job_role.report(up=True, rank=1), os.getpid())")
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=True, text=True,
                          env={**os.environ, "DCGAN_MX_REPORT": f"{fd}:{inode}"},
                          stdout=subprocess.PIPE, **passed)
    return done.stdout


def test_reports_go_only_into_the_supervisors_pipe(tmp_path):
    here, there = os.pipe()
    inode = os.fstat(there).st_ino
    reported, pid = report(there, inode, pass_fds=[there]).split()
    assert reported == "True"
    assert os.read(here, 1000) == b'{"pid": %d, "up": true, "rank": 1}\n' % int(pid)
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_WRONLY)
    for output in (report(there, inode), report(other, inode, pass_fds=[other]), report("x", "y")):
        assert output.startswith("False ")
    assert report(there, inode, "from dcgan_mx.system.signals import stop_on_signal\n"
                  "with stop_on_signal(print): pass", pass_fds=[there]) == ""
    assert json.loads(os.read(here, 1000))["ready"] is True
    # A child of the process gets neither the variable nor the pipe.
    child = ("import subprocess, sys; print(os.environ.get('DCGAN_MX_REPORT')); sys.stdout.flush()"
             f"; subprocess.run([sys.executable, '-c', 'import os; os.fstat({there})'], "
             "close_fds=False, stderr=subprocess.STDOUT)")
    output = report(there, inode, child, pass_fds=[there])
    assert output.startswith("None\n") and "Bad file descriptor" in output
    os.close(there)
    assert os.read(here, 1000) == b""
    os.close(here)
    os.close(other)
    assert (tmp_path / "other").read_bytes() == b""
