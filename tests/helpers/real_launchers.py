"""Training through real sshd, Open MPI and Slurm on this machine: `make test-launchers`.

The servers run in a temporary folder with their own keys and ports; the system is not changed. A
sum of two gradients does not depend on their order, so the parameters are bit-identical to those of
the local launcher.
"""
import contextlib
import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from helpers.common import ROOT
from helpers.processes import find_processes, finish, make_env, start_job, wait_until

from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint import PARAMS

os.environ["PATH"] += ":/usr/sbin"  # where Debian installs servers
NEEDS = {"ssh": ("openssh-server", ("sshd", "ssh", "ssh-keygen")),
         "mpi": ("openmpi-bin", ("mpirun",)),
         "slurm": ("slurm-wlm", ("srun", "slurmctld", "slurmd", "munged"))}
TRAIN = [sys.executable, ROOT / "scripts" / "train.py", "--dataset", "synthetic", "--size", 16,
         "--ngf", 4, "--ndf", 4, "--batch-size", 8, "--max-steps", 12]
SSHD = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""
SSH = """
Host 127.0.0.1
  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
"""
SLURM = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.sock
SlurmctldPort={port}
SlurmdPort={other}
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES OverSubscribe=FORCE:8
"""


@pytest.fixture(scope="session")
def folder():
    """A folder with a short name, which sockets need, and private, which munged needs."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="session")
def servers(folder):
    """A function that starts a server in the foreground; all end with the tests."""
    with contextlib.ExitStack() as stack:
        def start(*command, **env):
            log = stack.enter_context(open(folder / f"{Path(command[0]).name}.log", "wb"))
            server = stack.enter_context(subprocess.Popen(
                [*map(str, command)], stdout=log, stderr=log, env={**os.environ, **env}))
            stack.callback(server.terminate)
            return server
        yield start


def find_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start_ssh(folder, servers):
    """Return the launcher's flags and its environment."""
    port = find_port()
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name],
                       check=True)
    (folder / "sshd_config").write_text(SSHD.format(port=port, folder=folder))
    (folder / "ssh_config").write_text(SSH.format(folder=folder))
    with contextlib.suppress(PermissionError):
        Path("/run/sshd").mkdir(exist_ok=True)
    server = servers(shutil.which("sshd"), "-D", "-e", "-f", folder / "sshd_config")
    wait_until(lambda: answers(port), server)
    ssh = folder / "bin" / "ssh"  # the real program, without the user's configuration
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    ssh.chmod(0o755)
    (folder / "hosts").write_text(f"127.0.0.1:{port}\n")
    return ["-H", folder / "hosts"], {"PATH": f"{ssh.parent}:{os.environ['PATH']}"}


def start_mpi(folder, servers):
    (folder / "slots").write_text("localhost slots=4\n")
    return ["-H", folder / "slots"], {"OMPI_ALLOW_RUN_AS_ROOT": "1",
                                      "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def start_slurm(folder, servers):
    (folder / "spool").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    conf = folder / "slurm.conf"
    conf.write_text(SLURM.format(host=socket.gethostname().split(".")[0], user=getpass.getuser(),
                                 folder=folder, port=find_port(), other=find_port(),
                                 cpus=os.cpu_count()))
    munged = servers("munged", "--foreground", f"--key-file={folder}/munge.key",
                     f"--socket={folder}/munge.sock", f"--pid-file={folder}/munge.pid",
                     f"--seed-file={folder}/munge.seed", f"--log-file={folder}/munge.log",
                     "--force")
    wait_until((folder / "munge.sock").exists, munged)
    environ = {"SLURM_CONF": str(conf)}
    for name in ("slurmctld", "slurmd"):
        servers(name, "-D", **environ)
    wait_until(lambda: b"idle" in subprocess.run(
        ["sinfo", "-h", "-o", "%T"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, **environ}, check=False).stdout)
    return ["--nodes", "1"], environ


def train(run_dir, flags, **environ):
    job = start_job(["-n", 2, "-s", 1, *flags], [*TRAIN, "--run-dir", run_dir],
                    make_env(OMP_NUM_THREADS="1", **environ))
    status, err = finish(job)
    assert status == 0, err
    saved = checkpoint.list_checkpoints(run_dir)[-1]
    return [(saved / name).read_bytes() for name in PARAMS]


@pytest.fixture(scope="session")
def local(folder):
    """The parameters that the local launcher trains."""
    return train(folder / "local", [])


@pytest.fixture(scope="session", params=[*NEEDS])
def launcher(request, folder, servers):
    """A launcher's flags, and its environment."""
    package, programs = NEEDS[request.param]
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.fail(f"{' and '.join(missing)} missing: apt install {package}", pytrace=False)
    start = {"ssh": start_ssh, "mpi": start_mpi, "slurm": start_slurm}[request.param]
    flags, environ = start(folder, servers)
    return ["--launcher", request.param, "--host-ip", "127.0.0.1", *flags], environ


def test_training_is_bit_identical_to_the_local_launcher(launcher, local, folder):
    flags, environ = launcher
    run_dir = folder / f"run-{flags[1]}"
    assert train(run_dir, flags, **environ) == local
    wait_until(lambda: not find_processes(run_dir))


def test_failed_worker_is_named_and_all_processes_end(launcher, folder):
    """Arguments arrive unchanged; no command line shows the token."""
    flags, environ = launcher
    mark, words = folder / f"mark-{flags[1]}", ["a b", "$HOME;'\"", "é", ""]
    code = ("import os, pathlib, sys, time\n"
            "mark = pathlib.Path(sys.argv[1])\n"
            f"assert sys.argv[2:] == {words!r}\n"
            "pathlib.Path(f'{mark}.{os.getpid()}').touch()\n"
            "while not mark.exists(): time.sleep(0.02)\n"
            "sys.exit(3 * (os.environ['DMLC_ROLE'] == 'worker'))\n")
    job = start_job(["-n", 2, "-s", 1, *flags], [sys.executable, "-c", code, mark, *words],
                    make_env(**environ))
    wait_until(lambda: len([*folder.glob(f"{mark.name}.*")]) == 4, job)
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            assert b'"token"' not in path.read_bytes()
    mark.touch()
    status, err = finish(job)
    assert re.search(r"error: worker \(process \d+ on \S+\) ended with status 3: see its message "
                     r"above; the job was stopped\n$", err), err
    assert status == 1
    wait_until(lambda: not find_processes(mark))
