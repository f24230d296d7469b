import json
import os
import subprocess
import sys

import pytest

from dcgan_mx.system.job_role import VARIABLES, read_role

JOB = {"DMLC_ROLE": "worker", "DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": "9091",
       "DMLC_NUM_WORKER": "2", "DMLC_NUM_SERVER": "1"}


def test_no_variables_mean_no_job():
    assert read_role({}) is None
    assert read_role(dict.fromkeys(JOB, "")) is None


@pytest.mark.parametrize("role", ["worker", "server", "scheduler"])
def test_role(role):
    assert read_role({**JOB, "DMLC_ROLE": role}) == role


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("value", [None, ""])
def test_incomplete_variables_are_rejected(name, value):
    environ = {**JOB, name: value} if value is not None else {
        k: v for k, v in JOB.items() if k != name}
    with pytest.raises(ValueError, match=f"{name} is not set"):
        read_role(environ)


@pytest.mark.parametrize("name, meant", [
    ("DMLC_ROL", "DMLC_ROLE"), ("DMLC_PS_ROOT_URL", "DMLC_PS_ROOT_URI"),
    ("DMLC_PS_ROOT_PROT", "DMLC_PS_ROOT_PORT"), ("DMLC_NUM_WORKERS", "DMLC_NUM_WORKER"),
    ("DMLC_NUM_SEVER", "DMLC_NUM_SERVER"), ("DMLC_NUM\n_WORKER", "DMLC_NUM_WORKER")])
def test_misspelled_names_are_rejected(name, meant):
    """Otherwise every process would train alone."""
    others = {k: v for k, v in JOB.items() if k != meant}
    for environ in ({name: JOB[meant]}, {**others, name: JOB[meant]}):
        with pytest.raises(ValueError) as error:
            read_role(environ)
        assert str(error.value) == (
            f"{name!r} is set, but {meant} is not: rename or unset it")


def test_other_names_of_mxnet_are_accepted():
    """All names in MXNet 1.9.1's library and its tracker."""
    names = ["HDFS_OPTS", "INTERFACE", "JOB_ARCHIVES", "JOB_CLUSTER", "JSON_ENABLE_ANY", "LOCAL",
             "NODE_HOST", "LOG_STACK_TRACE_DEPTH", "NUM_ATTEMPT", "PS_VAN_TYPE", "PS_WATER_MARK",
             "RANK", "SERVER_CORES", "SERVER_ID", "SERVER_MEMORY_MB", "SUBMIT_CLUSTER", "TASK_ID",
             "TRACKER_ENV_END", "TRACKER_ENV_START", "TRACKER_PORT", "TRACKER_URI", "USE_AZURE",
             "USE_HDFS", "USE_KUBERNETES", "USE_S3", "WORKER_CORES", "WORKER_ID",
             "WORKER_MEMORY_MB"]
    others = {f"DMLC_{name}": "1" for name in names}
    assert read_role(others) is None
    assert read_role({**JOB, **others}) == "worker"


@pytest.mark.parametrize("name, value", [
    ("DMLC_ROLE", "boss"), ("DMLC_ROLE", "Worker"), ("DMLC_NUM_WORKER", "0"),
    ("DMLC_NUM_WORKER", "-1"), ("DMLC_NUM_SERVER", "two"), ("DMLC_NUM_SERVER", "1.5"),
    ("DMLC_PS_ROOT_PORT", "65536"), ("DMLC_PS_ROOT_PORT", "²")])
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
    there_is_one, pid = report(there, inode, pass_fds=[there]).split()
    assert there_is_one == "True"
    assert os.read(here, 1000) == b'{"pid": %d, "up": true, "rank": 1}\n' % int(pid)
    assert report(there, inode).startswith("False ")
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_WRONLY)
    assert report(other, inode, pass_fds=[other]).startswith("False ")
    assert report("x", "y").startswith("False ")
    assert report(there, inode, "from dcgan_mx.system.signals import StopOnSignal\n"
                  "with StopOnSignal(print): pass", pass_fds=[there]) == ""
    assert json.loads(os.read(here, 1000))["ready"] is True
    child = "print(os.environ.get('DCGAN_MX_REPORT'), os.get_inheritable(job_role._report_fd))"
    assert report(there, inode, child, pass_fds=[there]) == "None False\n"
    os.close(there)
    assert os.read(here, 1000) == b""
    os.close(here)
    os.close(other)
    assert (tmp_path / "other").read_bytes() == b""
