"""Jobs of real processes; the programs ssh, mpirun, srun and qsub are stood in for."""
import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dcgan_mx.jobs.launchers import check_hosts, check_launcher
from dcgan_mx.jobs.tracking import quote
from dcgan_mx.machine.processor import physical_cores

ROOT = Path(__file__).parent.parent.parent
ODD = ["a b", '"', "$HOME", ";", "`id`", "\\", "*", "~", "é", "", "a=b", "#", "{1,2}", "!", "(",
       "&"]
# One worker, server or scheduler: adds ones with the others until one of them sees a file that says
# that it is enough, or a signal. All stop after the same sum: who went on alone would wait.
WORKER = """
import os, signal, sys, time
from pathlib import Path
from dcgan_mx.machine.runtime import join_job, mx

out, asked = Path(sys.argv[1]), []
kv = mx.kv.create("dist_sync")
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
join_job(kv)
kv.init(3, mx.nd.zeros((2, 2)))
total = mx.nd.zeros((2, 2))
while True:
    kv.push(3, mx.nd.full((2, 2), 1 + 10 * (out / "enough").exists() + 100 * bool(asked)))
    kv.pull(3, out=total)
    number, = set(total.asnumpy().ravel().tolist())
    stops, enough, ones = map(int, f"{number:03.0f}")  # a digit says of how many workers
    assert ones == kv.num_workers
    if stops:
        (out / f"stopped-{kv.rank}").touch()
        sys.exit(128 + signal.SIGTERM)
    if enough:
        break
    (out / f"at-work-{kv.rank}").touch()
    time.sleep(0.02)
    if (out / f"fail-{kv.rank}").exists():
        print("error: out of paper", file=sys.stderr)
        sys.exit(3)
(out / f"{kv.rank}.args").write_text(repr((sys.argv[2:], os.environ["OMP_NUM_THREADS"])))
"""
# One without MXNet: tells what reaches it, and ends when all have told, or when it is asked to.
TELLER = """
import json, os, signal, sys, time
from pathlib import Path
from dcgan_mx.machine import job

out, number = Path(sys.argv[1]), int(sys.argv[2])
def stop(*_):
    (out / f"stopped-{os.getpid()}").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
job.report(up=True)
(out / f"{os.getpid()}.told").write_text(json.dumps([dict(os.environ), os.getcwd(), sys.argv[3:]]))
while len(list(out.glob("*.told"))) < number:
    time.sleep(0.02)
"""
# One of these ends before the others have begun.
EARLY = """
import os, sys, time
from dcgan_mx.machine import job

name, when = sys.argv[1:]
leaves = name == os.environ["DMLC_ROLE"] + os.environ.get("DMLC_TASK_ID", "")
if not leaves or when == "up":
    job.report(up=True)
if when == "late":
    job.report(rank=int(os.environ.get("DMLC_TASK_ID", "7")))
time.sleep(0 if leaves else 5 if when == "late" else 100.25)
"""
# What a launcher of this name does with its own flags; the processes get no other variables.
STAND_IN = """#!%s
import os, subprocess, sys, time

name, args = os.path.basename(sys.argv[0]), sys.argv[1:]
environ = {"HOME": os.environ["HOME"], "PATH": os.environ["PATH"]}
if name == "ssh":
    option, setting, host, p, port, line = args
    assert (option, setting, p) == ("-o", "StrictHostKeyChecking=no", "-p"), args
    if host == "unreachable":
        os.write(2, b"ssh: connect to host unreachable port 22: No route to host\\n")
        sys.exit(255)
    if host == "silent":
        time.sleep(100)
    os.execve("/bin/bash", ["bash", "-c", line], environ)
if args == ["--version"]:
    print("mpirun (Open MPI) 4.1.4")
    sys.exit()
flags = {}
while args[0].startswith("-"):
    flag = args.pop(0)
    assert flag in ("--hostfile", "-n", "-N", "-x", "--exclusive=user", "-cwd", "-t", "-S", "-e",
                    "-o", "-pe", "-v"), flag
    flags[flag] = None if flag in ("--exclusive=user", "-cwd") else args.pop(0)
    if flag == "-x":
        environ.update([flags[flag].split("=", 1)])
    elif flag == "-pe":
        args.pop(0)
    elif flag == "-v":
        environ.update(item.split("=", 1) for item in flags[flag].split(","))
if name == "srun":
    environ = os.environ
if name == "qsub":
    for i in range(1, int(flags["-t"].split("-")[1]) + 1):
        with open(os.path.join(flags["-o"], f"{i}.log"), "w") as log:
            subprocess.Popen(["/bin/bash", *args], env={**environ, "SGE_TASK_ID": str(i)},
                             stdout=log, stderr=log, start_new_session=True)
else:
    tasks = [subprocess.Popen(args, env=environ) for _ in range(int(flags["-n"]))]
    sys.exit(max(task.wait() for task in tasks))
"""


def make_env(**more):
    clean = {k: v for k, v in os.environ.items()
             if not k.startswith("DMLC_") and k not in (
                 "OMP_NUM_THREADS", "MXNET_OMP_MAX_THREADS", "DCGAN_MX_JOB", "DCGAN_MX_REPORT")}
    return {**clean, "PYTHONPATH": str(ROOT), **more}


def start(flags, command, env=None, cwd=None, program=()):
    """Start the launcher."""
    return subprocess.Popen(
        [*program, sys.executable, ROOT / "scripts/launch.py", *map(str, flags), "--",
         *map(str, command)],
        env=env or make_env(), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # these tests, too, may run behind nohup
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))  # noqa: PLW1509


def finish(launcher, timeout=60):
    """Wait for the launcher's end; its status and what it and the job said on standard error."""
    _, err = launcher.communicate(timeout=timeout)
    return launcher.returncode, err


def launch(flags, command, env=None, cwd=None):
    return finish(start(flags, command, env, cwd))


def find_processes(mark, role=None, holder=False):
    """Processes with the mark on their command line: [(process id, environment), ...]."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode().split("\0")
            environ = dict(item.split("=", 1) for item in (folder / "environ").read_bytes(
                ).decode().split("\0") if "=" in item)
        except (OSError, ValueError):
            continue
        if str(mark) in line and not any(w.endswith("scripts/launch.py") for w in line) and (
                role is None or (environ.get("DMLC_ROLE") == role
                                 and holder == any("hold.py" in word for word in line))):
            found.append((int(folder.name), environ))
    return found


def wait_until(true, seconds=15):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def list_listening(pid):
    """Addresses, in the hexadecimal digits of the kernel, at which a process listens."""
    table = {}
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A":
                table[f"socket:[{columns[9]}]"] = columns[1].split(":")[0]
    files = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            files.append(os.readlink(link))
    return [table[name] for name in files if name in table]


@pytest.fixture
def job(tmp_path):
    """A job of two workers and a server that is at work; (launcher, folder)."""
    (tmp_path / "worker.py").write_text(WORKER)
    launcher = start(["-n", 2, "-s", 1],
                     [sys.executable, tmp_path / "worker.py", tmp_path, *ODD, "'"])
    try:
        wait_until(lambda: all((tmp_path / f"at-work-{i}").exists() for i in (0, 1)), 30)
        yield launcher, tmp_path
    finally:
        launcher.kill()
        print(*launcher.communicate(timeout=20))
        wait_until(lambda: not find_processes(tmp_path), 20)


def test_a_job_works_and_ends(job):
    launcher, folder = job
    processes = find_processes(folder)
    assert len(processes) >= 8  # worker, worker, server, scheduler, and who holds each
    listening = [address for pid in [launcher.pid, *(pid for pid, _ in processes)]
                 for address in list_listening(pid)]
    assert len(listening) == 5 and set(listening) == {"0100007F"}

    [(_, environ)] = find_processes(folder, "server", holder=True)
    host, port, token = environ["DCGAN_MX_JOB"].split(":")
    claims = [b"", b"\n", b"GET / HTTP/1.0\r\n\r\n", b"x" * 100_000, b"[]\n", b"7\n",
              b'{"token": 1}\n',
              b'{"token": "\xff"}\n', b'{"token": "%s", "role": "boss"}\n' % token.encode(),
              b'{"token": "%s", "role": "worker", "status": 1}\n' % token[:-1].encode()]
    strangers = [socket.create_connection((host, int(port))) for _ in claims]
    for stranger, claim in zip(strangers, claims):
        stranger.sendall(claim)
    for stranger in strangers[1:]:
        stranger.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b""
    for stranger in strangers:
        stranger.close()

    (folder / "enough").touch()
    assert finish(launcher) == (0, "")
    assert find_processes(folder) == []
    for rank in (0, 1):
        assert (folder / f"{rank}.args").read_text() == repr(
            ([*ODD, "'"], str(max(1, physical_cores() // 2))))


@pytest.mark.parametrize("role", ["scheduler", "server", "worker"])
def test_one_that_is_killed_ends_all(job, role):
    launcher, folder = job
    pid = find_processes(folder, role)[0][0]
    os.kill(pid, signal.SIGKILL)
    status, err = finish(launcher)
    ranks = [" 0", " 1"] if role == "worker" else [""]
    assert err in [f"error: {role}{rank} (process {pid} on {socket.gethostname()}) was killed by "
                   "SIGKILL; the job is ended\n" for rank in ranks]
    assert status == 1
    assert find_processes(folder) == []


def test_a_worker_that_fails_ends_all(job):
    launcher, folder = job
    (folder / "fail-1").touch()
    status, err = finish(launcher)
    first, second = err.splitlines()
    assert first == "error: out of paper"
    assert second.startswith("error: worker 1 (process ")
    assert second.endswith(") ended with status 3: see its message above; the job is ended")
    assert status == 1
    assert find_processes(folder) == []


def test_a_signal_asks_the_workers_to_stop(job):
    launcher, folder = job
    launcher.send_signal(signal.SIGTERM)
    assert finish(launcher) == (128 + signal.SIGTERM, "")
    assert {path.name for path in folder.glob("stopped-*")} == {"stopped-0", "stopped-1"}
    assert find_processes(folder) == []


@pytest.fixture
def stand_ins(tmp_path):
    """An environment in which the launchers' programs are stood in for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("ssh", "mpirun", "srun", "qsub"):
        (folder / name).write_text(STAND_IN % sys.executable)
        (folder / name).chmod(0o755)
    return make_env(PATH=f"{folder}:{os.environ['PATH']}", MXNET_ODD="$x; y")


@pytest.fixture
def teller(tmp_path):
    """Make the command of a process without MXNet."""
    (tmp_path / "teller.py").write_text(TELLER)
    return lambda number, *args: [sys.executable, tmp_path / "teller.py", tmp_path, number, *args]


@pytest.fixture
def idle(tmp_path, teller):
    """A job of two workers and two servers that wait to be ended."""
    launcher = start(["-n", 2], teller(6))
    try:
        wait_until(lambda: len(list(tmp_path.glob("*.told"))) == 5)
        yield launcher, tmp_path
    finally:
        launcher.kill()
        launcher.communicate(timeout=20)
        wait_until(lambda: not find_processes(tmp_path), 20)


def test_a_holder_that_is_killed_ends_all(idle):
    launcher, folder = idle
    os.kill(find_processes(folder, "worker", holder=True)[0][0], signal.SIGKILL)
    status, err = finish(launcher)
    assert err.startswith("error: lost worker (process ")
    assert err.endswith(": it or its host has died; the job is ended\n") and err.count("\n") == 1
    assert status == 1
    assert find_processes(folder) == []


def test_a_launcher_that_is_killed_ends_all(idle):
    launcher, folder = idle
    launcher.kill()
    assert finish(launcher) == (-signal.SIGKILL, "")
    wait_until(lambda: not find_processes(folder), 5)


def test_a_tracker_that_is_killed_ends_all(idle):
    launcher, folder = idle
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    assert len(children) == 1
    os.kill(int(children[0]), signal.SIGKILL)
    assert finish(launcher) == (1, "error: MXNet's tracker has died; the job is ended\n")
    assert find_processes(folder) == []


def test_ctrl_c_reaches_only_the_workers(idle):
    launcher, folder = idle
    assert os.getsid(launcher.pid) not in {os.getsid(pid) for pid, _ in find_processes(folder)}
    launcher.send_signal(signal.SIGINT)
    assert finish(launcher) == (128 + signal.SIGINT, "")
    assert len(list(folder.glob("stopped-*"))) == 2


def test_workers_behind_a_shell_finish_what_they_do(tmp_path, teller):
    command = teller(9)
    Path(command[1]).write_text(
        TELLER.replace("    (out", "    time.sleep(1)\n    (out", 1).replace("(0)", "(143)"))
    launcher = start(["-n", 2], ["bash", "-c", '"$@"; exit $?', "bash", *command])
    wait_until(lambda: len(list(tmp_path.glob("*.told"))) == 5)
    launcher.send_signal(signal.SIGTERM)
    assert finish(launcher) == (128 + signal.SIGTERM, "")
    assert len(list(tmp_path.glob("stopped-*"))) == 2
    wait_until(lambda: not find_processes(tmp_path), 5)


def test_a_terminal_that_is_closed_asks_the_workers_to_stop(idle):
    launcher, folder = idle
    launcher.send_signal(signal.SIGHUP)
    assert finish(launcher) == (128 + signal.SIGHUP, "")
    assert len(list(folder.glob("stopped-*"))) == 2
    assert find_processes(folder) == []


def test_a_signal_that_comes_twice_at_once_is_one(tmp_path, teller):
    """As where a terminal is closed: of the shell, and of the system."""
    command = teller(9)
    Path(command[1]).write_text(TELLER.replace("    (out", "    time.sleep(2)\n    (out", 1))
    launcher = start(["-n", 2], command)
    wait_until(lambda: len(list(tmp_path.glob("*.told"))) == 5)
    for _ in range(2):
        launcher.send_signal(signal.SIGHUP)
        time.sleep(0.1)
    assert finish(launcher) == (128 + signal.SIGHUP, "")
    assert len(list(tmp_path.glob("stopped-*"))) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_alone_to_stop_has_all_stop(tmp_path, teller, number):
    """Workers of a training agree on it, save, and end alike, though not at the same moment."""
    command = teller(9)
    Path(command[1]).write_text(TELLER.replace("    sys.exit(0)", "    (out / 'end').touch()")
                                .replace("signal.SIGTERM", f"signal.{number.name}") + f"""
    if os.environ["DMLC_ROLE"] == "worker" and (out / "end").exists():
        time.sleep(0 if (out / f"stopped-{{os.getpid()}}").exists() else 2)
        (out / f"saved-{{os.getpid()}}").touch()
        sys.exit(128 + {int(number)})
""")
    launcher = start(["-n", 2], command)
    wait_until(lambda: len(list(tmp_path.glob("*.told"))) == 5)
    os.kill(find_processes(tmp_path, "worker")[0][0], number)
    assert finish(launcher) == (128 + number, "")
    assert len(list(tmp_path.glob("saved-*"))) == 2


def test_workers_that_do_not_end_after_a_signal_are_named(tmp_path, teller):
    command = teller(9)
    Path(command[1]).write_text(TELLER.replace("    sys.exit(0)", "    time.sleep(100)"))
    launcher = start(["-n", 2, "--stop-timeout", 2], command)
    wait_until(lambda: len(list(tmp_path.glob("*.told"))) == 5)
    launcher.send_signal(signal.SIGTERM)
    status, err = finish(launcher)
    worker = rf"worker \(process \d+ on {re.escape(socket.gethostname())}\)"
    assert re.fullmatch(rf"error: {worker} and {worker} not ended within 2 s of the signal: see "
                        r"what keeps them, or give a longer --stop-timeout\n", err), err
    assert status == 1 and find_processes(tmp_path) == []


def test_nohup_keeps_a_job_without_its_terminal(tmp_path, teller):
    launcher = start(["-n", 2], teller(6), program=["nohup"])
    wait_until(lambda: len(list(tmp_path.glob("*.told"))) == 5)
    launcher.send_signal(signal.SIGHUP)
    (tmp_path / "6.told").touch()
    status, err = finish(launcher)
    assert (status, err.replace("nohup: ignoring input\n", "")) == (0, "")
    assert list(tmp_path.glob("stopped-*")) == []


def test_a_second_signal_ends_all_at_once(tmp_path, teller):
    command = teller(9)
    Path(command[1]).write_text(TELLER.replace("    sys.exit(0)", "    time.sleep(100)"))
    launcher = start(["-n", 2], command)
    wait_until(lambda: len(list(tmp_path.glob("*.told"))) == 5)
    launcher.send_signal(signal.SIGTERM)
    wait_until(lambda: len(list(tmp_path.glob("stopped-*"))) == 2)
    time.sleep(1.1)
    assert launcher.poll() is None
    launcher.send_signal(signal.SIGINT)
    assert finish(launcher, 5) == (128 + signal.SIGTERM, "")
    assert find_processes(tmp_path) == []


@pytest.mark.parametrize("name", ["local", "ssh", "mpi", "slurm", "sge"])
def test_every_launcher_brings_everything(name, tmp_path, stand_ins, teller):
    flags = ["-n", 3, "-s", 2, "--launcher", name]
    (tmp_path / "my hosts").write_text("127.0.0.1:22\n\nlocalhost slots=2\n")
    if name != "local":
        flags += ["--host-ip", "127.0.0.1"]
    if name in ("ssh", "mpi"):
        flags += ["-H", "my hosts"]
    args = ODD + ["'"] * (name != "ssh")
    assert launch(flags, teller(6, *args), stand_ins, tmp_path) == (0, "")
    roles = []
    for path in tmp_path.glob("*.told"):
        environ, cwd, told = json.loads(path.read_text())
        assert (cwd, told) == (str(tmp_path), args)
        assert environ["MXNET_ODD"] == "$x; y"
        assert environ["DMLC_NODE_HOST"] == environ["DMLC_PS_ROOT_URI"] == "127.0.0.1"
        assert (environ["DMLC_NUM_WORKER"], environ["DMLC_NUM_SERVER"]) == ("3", "2")
        assert "DCGAN_MX_JOB" not in environ
        roles.append(environ["DMLC_ROLE"])
    assert sorted(roles) == ["scheduler", "server", "server", "worker", "worker", "worker"]


@pytest.mark.parametrize("name", ["local", "ssh", "mpi"])
def test_workers_know_what_line_started_them(name, tmp_path, stand_ins, teller):
    """So that they can say how to go on: with the launcher, its hosts, and odd names among them."""
    hosts = tmp_path / "my hosts"
    hosts.write_text("here\n")
    flags = ["-n", 1] if name == "local" else ["-n", 1, "--launcher", name, "-H", hosts,
                                               "--host-ip", "127.0.0.1"]
    assert launch(flags, teller(3), stand_ins, tmp_path) == (0, "")
    told = [json.loads(path.read_text())[0] for path in tmp_path.glob("*.told")]
    lines = {environ["DCGAN_MX_LAUNCHED_BY"] for environ in told}
    line, = lines
    assert shlex.split(line)[1:] == [str(ROOT / "scripts/launch.py"), *map(str, flags)]


def test_a_host_that_is_not_reached_is_named(tmp_path, stand_ins, teller):
    (tmp_path / "hosts").write_text("unreachable\n")
    status, err = launch(["-n", 2, "--launcher", "ssh", "-H", tmp_path / "hosts", "--host-ip",
                          "127.0.0.1"], teller(5), stand_ins, tmp_path)
    lines = err.splitlines()
    assert lines.pop() == ("error: ssh to unreachable, port 22, ended with status 255: see its "
                           "message above")
    assert set(lines) == {"ssh: connect to host unreachable port 22: No route to host"}
    assert status == 1
    assert find_processes(tmp_path) == []


def test_hosts_that_do_not_answer_are_not_waited_for(tmp_path, stand_ins, teller):
    (tmp_path / "hosts").write_text("127.0.0.1\nsilent\n")
    assert launch(["-n", 1, "--launcher", "ssh", "-H", tmp_path / "hosts", "--host-ip", "127.0.0.1",
                   "--start-timeout", 2], teller(3), stand_ins, tmp_path) == (
        1, "error: 1 of 1 worker not started within 2 s: see what keeps them, or give a longer "
           "--start-timeout\n")
    assert find_processes(tmp_path / "bin" / "ssh") == find_processes(tmp_path) == []


def test_a_launcher_that_is_killed_leaves_no_program_behind(tmp_path, stand_ins, teller):
    (tmp_path / "hosts").write_text("silent\n")
    launcher = start(["-n", 1, "--launcher", "ssh", "-H", tmp_path / "hosts", "--host-ip",
                      "127.0.0.1"], teller(3), stand_ins, tmp_path)
    wait_until(lambda: len(find_processes(tmp_path / "bin" / "ssh")) == 2)
    launcher.kill()
    wait_until(lambda: not find_processes(tmp_path / "bin" / "ssh"), 15)
    finish(launcher)


def test_processes_that_start_late_are_named(tmp_path):
    status, err = launch(["-n", 2, "--start-timeout", 4], ["sleep", 100.125])
    assert err.startswith("error: 1 of 1 scheduler (process ")
    assert err.endswith(") not started within 4 s: see what keeps them, or give a longer "
                        "--start-timeout\n")
    assert (status, err.count("\n"), err.count("process ")) == (1, 1, 5)
    assert find_processes("100.125") == []


@pytest.mark.parametrize("name, when", [
    ("worker0", "at once"), ("worker0", "up"), ("server2", "at once"), ("scheduler", "up")])
def test_one_that_leaves_the_others_waiting_is_named(tmp_path, name, when):
    path = tmp_path / "early.py"
    path.write_text(EARLY)
    status, err = launch(["-n", 2, "-s", 1, "--start-timeout", 4],
                         [sys.executable, path, name, when])
    host = re.escape(socket.gethostname())
    workers = rf"worker \(process \d+ on {host}\)"
    waiting = workers if name == "worker0" else f"{workers} and {workers}"
    assert re.fullmatch(
        rf"error: {name.rstrip('02')} \(process \d+ on {host}\) ended too early, with status 0, "
        rf"while {waiting} waited for it; the job is ended\n", err), err
    assert status == 1
    assert find_processes(path) == []


def test_workers_that_have_joined_may_end_one_after_the_other(tmp_path):
    path = tmp_path / "early.py"
    path.write_text(EARLY.replace('not leaves or when == "up"', "True"))
    assert launch(["-n", 2, "-s", 1, "--start-timeout", 3],
                  [sys.executable, path, "worker0", "late"]) == (0, "")


def test_ports_that_are_taken(teller):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        few = ("import sys; from dcgan_mx.jobs import tracking; "
               "from dcgan_mx.jobs.launch import launch; "
               f"tracking._FIRST_PORTS = [{port}]; tracking._LAST_PORT = {port}; "
               "launch(sys.argv[1:], 1)")
        done = subprocess.run([sys.executable, "-c", few, *map(str, teller(3))],
                              env=make_env(), text=True, stderr=subprocess.PIPE, timeout=60,
                              check=False)
    assert done.stderr.splitlines()[-1] == (
        f"dcgan_mx.jobs.watch.JobError: no port from {port} to {port} is free for the scheduler: "
        "end what has them")


def test_a_command_that_ends_well_before_it_starts():
    assert launch(["-n", 2], ["true"]) == (0, "")


@pytest.mark.parametrize("flags, command, message", [
    (["-n", 2], [], "there is no command: give it behind --; see --help"),
    ([], ["true"], "the following arguments are required: -n/--num-workers; see --help"),
    (["-n", 0], ["true"], "argument -n/--num-workers: 0 is out of range: give an integer in "
     "[1, 65536); see --help"),
    (["-n", 1, "--hostfile", "/nowhere", "--launcher", "ssh"], ["true"],
     "/nowhere: No such file or directory; mend that, or give another path"),
    (["-n", 1], ["no-such-program"],
     "the command 'no-such-program' is no program here: give one on PATH, or its path"),
    (["-n", 1, "--launcher", "mpi", "--host-ip", "192.0.2.77"], ["true"],
     "--host-ip 192.0.2.77 is no address of this host: Cannot assign requested address"),
    (["-n", 1, "--launcher", "mpi", "--host-ip", "localhost"], ["true"],
     "--host-ip is 'localhost': give an IPv4 address in numbers"),
    (["-n", 1], ["echo", "two\nlines"],
     "'two\\nlines' in the command or the environment cannot pass through the local launcher: "
     "leave out its line break or single quote")])
def test_bad_flags_end_in_one_line(flags, command, message, stand_ins):
    assert launch(flags, command, stand_ins) == (2, f"error: {message}\n")


def test_an_error_without_a_file_names_none():
    launcher = start(["-n", 1], ["true"], program=["bash", "-c", 'ulimit -n 8; exec "$@"', "bash"])
    assert finish(launcher) == (2, "error: Too many open files\n")


@pytest.mark.parametrize("name", ["DMLC_ROLE", "DCGAN_MX_JOB"])
def test_a_job_in_a_job_is_refused(name):
    assert launch(["-n", 1], ["true"], make_env(**{name: "worker"})) == (
        2, f"error: {name} is set: unset it, the launcher sets such variables itself\n")


@pytest.mark.parametrize("value", ["", "1"])
def test_the_variable_of_an_installation_for_gpus_is_no_jobs(value):
    assert launch(["-n", 1], ["true"], make_env(DCGAN_MX_GPU=value)) == (0, "")


@pytest.mark.parametrize("text", ["a\n-oProxyCommand=x", "a b", "a;b", "$(x)", "a:port", "#a",
                                  "a:1:2", "a slots=x", "é", "-a", "a:0", "a:65536",
                                  "a:123456"])
def test_hosts_that_are_none_are_refused(tmp_path, text):
    path = tmp_path / "hosts"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"hosts, line {1 + text.count(chr(10))} is "):
        check_hosts(path)


def test_hosts(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("a\n\nme@b.example:2222\n10.0.0.1 slots=4\nrack_1_node-2:65535\nb:1\n")
    check_hosts(path)
    path.write_text("\n \n")
    with pytest.raises(ValueError, match="is empty: give a host on each line"):
        check_hosts(path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "hosts"
    path.write_bytes(b"a\nb\xff\n")
    with pytest.raises(ValueError, match="hosts, line 2 is 'b\ufffd': give HOST"):
        check_hosts(path)
    path.write_bytes(b"\xef\xbb\xbfa\n")
    with pytest.raises(ValueError, match="hosts begins with a byte order mark, .*: save it"):
        check_hosts(path)


@pytest.mark.parametrize("name, program", [("ssh", "ssh"), ("mpi", "mpirun"), ("slurm", "srun"),
                                           ("sge", "qsub")])
def test_a_program_that_is_missing_is_named(name, program, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "hosts").write_text("a")
    with pytest.raises(ValueError, match=f"--launcher {name} needs {program}, which is not on"):
        check_launcher(name, hostfile=tmp_path / "hosts" if name == "ssh" else None)


@pytest.mark.parametrize("launcher, name, flag", [
    ("local", "host_ip", "host-ip"), ("slurm", "hostfile", "hostfile"), ("mpi", "nodes", "nodes"),
    ("ssh", "yarn_app_dir", "yarn-app-dir"), ("yarn", "image", "image")])
def test_a_flag_of_another_launcher_is_refused(launcher, name, flag):
    with pytest.raises(ValueError, match=f"--{flag} is not for --launcher {launcher}: leave it"):
        check_launcher(launcher, **{name: 1})


def test_what_yarn_and_kubernetes_need_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    with pytest.raises(ValueError, match="HADOOP_HOME is '': set it to the folder of Hadoop"):
        check_launcher("yarn")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "hadoop").touch()
    monkeypatch.setenv("HADOOP_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="needs dmlc-yarn.jar, which MXNet's wheel does not bring"):
        check_launcher("yarn")
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(ValueError, match="needs the Python package kubernetes: pip install"):
        check_launcher("kubernetes")


def test_what_ssh_cannot_carry_is_refused():
    with pytest.raises(ValueError, match="cannot pass through the ssh launcher"):
        quote(["it's"], "ssh")
    assert quote(["it's"], "local") == r"it\'s"
