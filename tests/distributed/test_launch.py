"""Jobs of real processes; small scripts replace ssh, mpirun and srun."""
import asyncio
import contextlib
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.processes import (
    find_processes,
    finish,
    kill_jobs,
    make_env,
    start_job,
    wait_until,
)

from dcgan_mx.distributed.launch import launch
from dcgan_mx.distributed.launchers import check_hosts, check_launcher, exit_status
from dcgan_mx.distributed.monitor import JobError, JobMonitor
from dcgan_mx.system.cpu import physical_cores

HOST = socket.gethostname()
ODD = ["a b", '"', "'", "$HOME", ";", "`id`", "\\", "*", "~", "é", "", "a=b", "#", "{1,2}", "!",
       "(", "&", "two\nlines"]
# One worker, server or scheduler: adds ones with the others until one of them is to fail.
ADDER = """
import os, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from dcgan_mx.system.devices import make_kvstore
from dcgan_mx.system.runtime import mx

out = Path(sys.argv[1])
kv = make_kvstore("dist_sync")  # runs servers
kv.init(3, mx.nd.zeros((2, 2)))
total = mx.nd.zeros((2, 2))
while not (out / f"fail-{kv.rank}").exists():
    kv.push(3, mx.nd.ones((2, 2)))
    kv.pull(3, out=total)
    assert (total.asnumpy() == kv.num_workers).all()
    (out / f"at-work-{kv.rank}").touch()
    time.sleep(0.05)
print("error: out of paper", file=sys.stderr)
sys.exit(3)
"""
# A process without MXNet; the code below follows.
PROCESS = """
import contextlib, json, os, signal, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from dcgan_mx.system import job_role

out, role = Path(sys.argv[1]), os.environ["DMLC_ROLE"]

def note(what, text=""):
    (out / f"{what}.{role}.{os.getpid()}").write_text(text)

def wait_for(name):
    while not (out / name).exists():
        time.sleep(0.02)

def stop(number, _):
    note("stopped")
    sys.exit(128 + number)

"""
LISTEN = "signal.signal(signal.SIGTERM, stop)\n"
REPORT = "job_role.report(up=True)\n"
WAIT = """
note("started", json.dumps([dict(os.environ), os.getcwd(), sys.argv[2:]]))
wait_for("end")
"""
IDLE = LISTEN + REPORT + WAIT
# Replaces ssh, mpirun and srun; the processes get no other variables.
FAKE_LAUNCHER = """#!%s
import os, subprocess, sys, time

name, args = os.path.basename(sys.argv[0]), sys.argv[1:]
assert "token" not in "".join(args), args  # others see them
environ = {"HOME": os.environ["HOME"], "PATH": os.environ["PATH"]}
if name == "ssh":
    assert args[:4] == ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"], args
    *port, host, line = args[4:]
    assert port == ["-p", "2222"] * (host == "127.0.0.1"), args
    if host == "unreachable":
        os.write(2, b"ssh: connect to host unreachable port 22: No route to host\\n")
        sys.exit(255)
    if host == "silent":
        time.sleep(100)
    os.chdir("/")
    os.execve("/bin/sh", ["sh", "-c", line], environ)
flags = {}
while args[0].startswith("-"):
    flag = args.pop(0)
    assert flag in ("--hostfile", "-n", "-N", "-x", "--exclusive=user", "--export=ALL"), flag
    flags[flag] = None if "=" in flag else args.pop(0)
if name == "srun":
    assert flags["-N"] == "1"
    environ = dict(os.environ)
else:
    environ[flags["-x"]] = os.environ[flags["-x"]]
tasks = [subprocess.Popen(args, env=environ) for _ in range(int(flags["-n"]))]
sys.exit(max(task.wait() for task in tasks))
"""


@pytest.fixture
def start(tmp_path):
    """Start a job; return the launcher when some processes have started. All end with the test."""
    def start(code=IDLE, started=5, flags=("-n", 2), args=(), shell=(), **kwargs):
        (tmp_path / "process.py").write_text(PROCESS + code)
        launcher = start_job(flags, [*shell, sys.executable, tmp_path / "process.py", tmp_path,
                                     *args], **kwargs)
        wait_until(lambda: len(find("started", tmp_path)) >= started, launcher)
        return launcher
    yield start
    kill_jobs()
    wait_until(lambda: not find_processes(tmp_path))


def find(what, folder, role="*"):
    return list(folder.glob(f"{what}.{role}.*"))


def end(launcher, folder):
    """Wait for a job and return its exit status and standard error; no process is left."""
    result = finish(launcher)
    assert find_processes(folder) == []
    return result


@pytest.fixture
def fake_launchers(tmp_path):
    """An environment with replacements of the launchers' programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("ssh", "mpirun", "srun"):
        (folder / name).write_text(FAKE_LAUNCHER % sys.executable)
        (folder / name).chmod(0o755)
    return make_env(PATH=f"{folder}:{os.environ['PATH']}", MXNET_ODD="$x; y")


def write_hosts(folder, *hosts):
    """Write a host file; return the flags that start processes with ssh on these hosts."""
    (folder / "hosts").write_text("\n".join(hosts))
    return ["--launcher", "ssh", "-H", folder / "hosts", "--host-ip", "127.0.0.1"]


def list_listening(pid):
    """Return the addresses, as the kernel's hexadecimal digits, at which a process listens."""
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


def test_job_rejects_unknown_connections_and_ends_when_a_worker_fails(tmp_path):
    (tmp_path / "adder.py").write_text(ADDER)
    launcher = start_job(["-n", 2, "-s", 1], [sys.executable, tmp_path / "adder.py", tmp_path])
    wait_until(lambda: all((tmp_path / f"at-work-{i}").exists() for i in (0, 1)), launcher)
    listening = {address for pid in [launcher.pid, *find_processes(tmp_path)]
                 for address in list_listening(pid)}
    assert listening == {"0100007F"}

    supervisor, = find_processes(tmp_path, "server", supervisor=True)
    environ = dict(item.split("=", 1) for item in Path(f"/proc/{supervisor}/environ").read_text(
        ).split("\0") if "=" in item)
    spec = json.loads(environ["DCGAN_MX_JOB"])
    token = f"{spec['token']}\n".encode()
    silent = socket.create_connection(spec["address"], timeout=60)
    claims = [b"\n" * 50, b"GET / HTTP/1.0\r\nHost: localhost:8080\r\n\r\n", b"x" * 100_000,
              b"[" * 100_000, token[:-2] + b"x\n{}", *(token + claim + b"\n" for claim in (
                  b"[]", b"7", b"[" * 3000, b"x" * 5000, b'{"role": "boss"}', b'{"rank": 1}',
                  b'{"role": "worker", "status": "1"}', b'{"role": "worker", "trusted": true}',
                  b'{"role": "worker", "pid": true}', b"\xff", b'{"role": "worker"}',  # the third
                  b'{"role": "worker", "status": 256}'))]
    for claim in claims:
        with socket.create_connection(spec["address"], timeout=60) as unknown, \
                contextlib.suppress(ConnectionError):
            unknown.sendall(claim)
            assert unknown.recv(1) == b"", claim

    with silent:  # dropped after a few seconds
        assert silent.recv(1) == b""

    (tmp_path / "fail-1").touch()
    status, err = end(launcher, tmp_path)
    assert re.fullmatch(fr"error: out of paper\nerror: worker 1 \(process \d+ on {re.escape(HOST)}"
                        r"\) ended with status 3: see its message above; the job was stopped\n",
                        err)
    assert status == 1


@pytest.mark.parametrize("imports", ["", "import dcgan_mx, mxnet; "])
def test_servers_do_not_unpickle_commands(imports, tmp_path):
    code = (f"import sys; {imports}from dcgan_mx.system.devices import make_kvstore; "
            "kv = make_kvstore('dist_sync'); kv._send_command_to_servers(0, sys.argv[1])")
    mkdir = f"cos\nmkdir\n(S{str(tmp_path / 'made')!r}\ntR."
    pickle.loads(mkdir.encode())
    (tmp_path / "made").rmdir()
    status, err = finish(start_job(["-n", 1, "-s", 1], [sys.executable, "-c", code, mkdir]))
    assert status == 1 and "error: a worker sent its optimizer" in err
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("role, supervisor", [
    ("scheduler", True), ("server", False), ("worker", False), ("worker", True)])
def test_death_of_one_process_ends_the_job(role, supervisor, tmp_path, start):
    launcher = start("job_role.report(rank=7)\n" * (role == "worker") + IDLE)
    pid = find_processes(tmp_path, role, supervisor)[0]
    os.kill(pid, signal.SIGKILL)
    # A supervisor may be killed before it has passed on the rank.
    rank = ("( 7)?" if supervisor else " 7") * (role == "worker")
    process = rf"{role}{rank} \(process \d+ on {re.escape(HOST)}\)"
    message = (f"lost {process}: it or its host has died" if supervisor
               else f"{process} was killed by SIGKILL")
    status, err = end(launcher, tmp_path)
    assert re.fullmatch(f"error: {message}; the job was stopped\n", err)
    assert (supervisor or f"process {pid} " in err) and status == 1


def test_death_of_the_launcher_ends_the_job(tmp_path, start):
    launcher = start()
    launcher.kill()
    assert finish(launcher) == (-signal.SIGKILL, "")
    wait_until(lambda: not find_processes(tmp_path))


@pytest.mark.parametrize("number, times, report, shell", [
    (signal.SIGINT, 1, "", ()), (signal.SIGHUP, 2, REPORT, ()),
    (signal.SIGTERM, 1, REPORT, ("bash", "-c", '"$@"; exit $?', "bash"))])
def test_signal_stops_the_workers(number, times, report, shell, tmp_path, start):
    """Only workers get the signal, also behind a shell; a repeated signal counts once."""
    launcher = start(LISTEN.replace("stop", "lambda *_: (time.sleep(1), stop(*_))") + report + WAIT,
                     shell=shell)
    assert os.getsid(launcher.pid) not in {os.getsid(pid) for pid in find_processes(tmp_path)}
    for _ in range(times):
        launcher.send_signal(number)
    assert end(launcher, tmp_path) == (128 + number, "")
    assert len(find("stopped", tmp_path)) == len(find("stopped", tmp_path, "worker")) == 2


def test_signal_before_a_worker_can_save_ends_the_job(tmp_path, start):
    """Nothing is trained yet, and the ready workers would wait for the others."""
    launcher = start("""
def ready(*_):
    note("waits")
    time.sleep(1000)

first = False
if role == "worker":
    with contextlib.suppress(FileExistsError):
        (out / "first").touch(exist_ok=False)
        first = True
if first:
    signal.signal(signal.SIGTERM, ready)
    job_role.report(ready=True)
""" + REPORT + WAIT)
    launcher.send_signal(signal.SIGINT)
    assert end(launcher, tmp_path) == (128 + signal.SIGINT, "")


def test_signal_before_all_workers_have_started_ends_the_job(tmp_path, start, fake_launchers):
    flags = write_hosts(tmp_path, "127.0.0.1:2222", "silent")
    launcher = start(started=2, env=fake_launchers, cwd=tmp_path, flags=["-n", 1, *flags])
    launcher.send_signal(signal.SIGINT)
    assert end(launcher, tmp_path) == (128 + signal.SIGINT, "")


def test_signal_to_one_worker_stops_all(tmp_path, start):
    """The workers of a training agree to stop, save, and exit with the same status."""
    launcher = start("""
signal.signal(signal.SIGINT, lambda *_: (out / "end").write_text(str(os.getpid())))
""" + REPORT + WAIT + """
if role == "worker":
    if (out / "end").read_text() != str(os.getpid()):
        time.sleep(1)
    note("saved")
    sys.exit(128 + signal.SIGINT)
time.sleep(100)
""")
    os.kill(find_processes(tmp_path, "worker")[0], signal.SIGINT)
    assert finish(launcher) == (128 + signal.SIGINT, "")
    assert len(find("saved", tmp_path)) == 2


def test_workers_that_do_not_stop_in_time_are_named(tmp_path, start):
    launcher = start(IDLE.replace("stop", "lambda *_: time.sleep(1000)"),
                     flags=["-n", 2, "--stop-timeout", 2])
    launcher.send_signal(signal.SIGTERM)
    status, err = end(launcher, tmp_path)
    worker = rf"worker \(process \d+ on {re.escape(HOST)}\)"
    assert re.fullmatch(rf"error: {worker} and {worker} not ended within 2 s of the signal: check "
                        r"their hosts, or increase the stop timeout\n", err), err
    assert status == 1


def test_second_signal_ends_the_job_at_once(tmp_path, start):
    launcher = start(IDLE.replace("stop", "lambda *_: (note('stopped'), time.sleep(1000))"))
    launcher.send_signal(signal.SIGTERM)
    wait_until(lambda: len(find("stopped", tmp_path)) == 2)
    time.sleep(1.1)  # an earlier one would be the same
    assert launcher.poll() is None
    launcher.send_signal(signal.SIGINT)
    assert end(launcher, tmp_path) == (128 + signal.SIGTERM, "")


def test_nohup_job_survives_sighup(tmp_path, start):
    launcher = start(program=["nohup"])
    launcher.send_signal(signal.SIGHUP)
    (tmp_path / "end").touch()
    status, err = finish(launcher)
    assert (status, err.replace("nohup: ignoring input\n", "")) == (0, "")
    assert find("stopped", tmp_path) == []


@pytest.mark.parametrize("name", ["local", "ssh", "mpi", "slurm"])
def test_launchers_pass_arguments_and_environment(name, tmp_path, start, fake_launchers):
    (tmp_path / "my hosts").write_text("127.0.0.1:2222\n\nlocalhost slots=2\n")
    flags = ["-n", "3", "-s", "2", "--launcher", name]
    flags += ["--host-ip", "127.0.0.1"] * (name != "local") + ["--nodes", "1"] * (name == "slurm")
    flags += ["-H", "my hosts"] * (name in ("ssh", "mpi"))
    launched_by = {} if name == "local" else {"launcher": name, "host_ip": "127.0.0.1"}
    env = {**fake_launchers, "OMP_NUM_THREADS": "", "DMLC_INTERFACE": "lo"}
    launcher = start(started=6, flags=flags, args=ODD, env=env, cwd=tmp_path)
    (tmp_path / "end").touch()
    assert finish(launcher) == (0, "")
    for path in find("started", tmp_path):
        environ, cwd, arguments = json.loads(path.read_text())
        assert (cwd, arguments) == (str(tmp_path), ODD)
        assert environ["MXNET_ODD"] == "$x; y"
        assert environ["DMLC_NODE_HOST"] == environ["DMLC_PS_ROOT_URI"] == "127.0.0.1"
        assert (environ["DMLC_NUM_WORKER"], environ["DMLC_NUM_SERVER"]) == ("3", "2")
        assert environ["OMP_NUM_THREADS"] == (
            str(max(1, physical_cores() // 3)) if name == "local" else "")
        assert "DCGAN_MX_JOB" not in environ
        assert json.loads(environ["DCGAN_MX_LAUNCHED_BY"]).items() >= {
            "num_workers": 3, "num_servers": 2, **launched_by}.items()
    assert [len(find("started", tmp_path, role)) for role in ("scheduler", "server", "worker")] == [
        1, 2, 3]


def test_unreachable_host_is_named(tmp_path, start, fake_launchers):
    flags = write_hosts(tmp_path, "unreachable")
    launcher = start(started=0, env=fake_launchers, flags=["-n", 2, *flags])
    status, err = end(launcher, tmp_path)
    lines = err.splitlines()
    assert lines.pop() == ("error: ssh to unreachable ended with status 255: see its message "
                           "above; the job was stopped")
    assert set(lines) == {"ssh: connect to host unreachable port 22: No route to host"}
    assert status == 1


def test_hosts_that_do_not_answer_time_out(tmp_path, start, fake_launchers):
    flags = ["-n", 1, *write_hosts(tmp_path, "silent")]
    launcher = start(started=0, env=fake_launchers, flags=[*flags, "--start-timeout", 2])
    status, err = end(launcher, tmp_path)
    assert err.startswith("error: ") and err.endswith(
        "1 of 1 server and 1 of 1 worker not started within 2 s: check their hosts, or increase "
        "the start timeout\n")
    assert status == 1
    launcher = start(started=1, env=fake_launchers, flags=flags)
    wait_until(lambda: len(find_processes(tmp_path / "bin" / "ssh")) == 2)
    launcher.kill()
    wait_until(lambda: not find_processes(tmp_path / "bin" / "ssh"))


def monitor(**peers):
    """Monitor processes that have reported some facts; return the message of the error, or "".

    None stands for a process that has not connected. After two time limits all report success.
    """
    time_limit = 2  # seconds, in which all connections are accepted also on a busy machine
    counts = {role: len(facts) for role, facts in peers.items()}
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        connections = []
        for role, processes in peers.items():
            for pid, known in enumerate(processes):
                if known is not None:
                    connections.append(stack.enter_context(
                        socket.create_connection(listener.getsockname())))
                    facts = {"role": role, "host": "here", "pid": pid, "up": True, **known}
                    connections[-1].sendall(f"token\n{json.dumps(facts)}\n".encode())
        end = threading.Timer(2 * time_limit, lambda: [
            connection.sendall(b'{"status": 0}\n') for connection in connections])
        stack.callback(end.cancel)
        end.start()
        try:
            asyncio.run(JobMonitor("token", counts, time_limit, 100).run(listener, []))
        except JobError as error:
            return str(error)
        finally:  # a late supervisor is not refused: it would print an error of its own
            socket.create_connection(listener.getsockname()).close()
    return ""


def test_missing_processes_are_named():
    late = {"up": False}
    assert monitor(server=[late], worker=[{"rank": 0}, late, None, {**late, "status": 0}]) == (
        "1 of 1 server (process 0 on here) and 2 of 4 workers (process 1 on here) not started "
        "within 2 s: check their hosts, or increase the start timeout")


def test_process_that_others_wait_for_is_named():
    ended, here = "on here) ended too early, with status 0, while", "on here)"
    cases = [
        ({"worker": [{"status": 0}, {}]}, f"worker (process 0 {ended} worker (process 1 {here}"),
        ({"worker": [{}, {"rank": 1}], "server": [{"status": 0}]},
         f"server (process 0 {ended} worker (process 0 {here} and worker 1 (process 1 {here}"),
        ({"worker": [{}, {}], "scheduler": [{"status": 0}]},
         f"scheduler (process 0 {ended} worker (process 0 {here} and worker (process 1 {here}"),
        ({"worker": [{"status": 0, "rank": 0}, {"rank": 1}]}, "")]  # all have joined
    with ThreadPoolExecutor(len(cases)) as pool:
        messages = pool.map(lambda case: monitor(**case[0]), cases)
    for message, (_, expected) in zip(messages, cases):
        assert message == (expected and f"{expected} waited for it; the job was stopped")


def test_connections_at_the_end_of_a_job_print_nothing(caplog):
    """Python 3.11 and 3.12 print tasks of asyncio's own that are cancelled before they begin."""
    with ThreadPoolExecutor(1) as pool:
        for _ in range(5):
            with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
                connections = pool.map(socket.create_connection, [listener.getsockname()] * 200)
                asyncio.run(JobMonitor("token", {"worker": 0}, 60, 60).run(listener, []))
                for connection in connections:
                    connection.close()
    assert caplog.records == []


def test_connections_that_have_ended_take_no_memory():
    monitor = JobMonitor("token", {"worker": 1}, 60, 60)

    async def connect(listener):
        job = asyncio.ensure_future(monitor.run(listener, []))
        for _ in range(50):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"wrong\n")
            assert await reader.read() == b""
            writer.close()
        left = len(monitor._serving)
        job.cancel()
        return left

    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert asyncio.run(connect(listener)) <= 1


def test_signal_without_a_name_is_numbered():
    assert monitor(worker=[{"status": -40}]).startswith(
        "worker (process 0 on here) was killed by signal 40; the job")


def test_command_that_does_not_join_succeeds():
    assert finish(start_job(["-n", 2], ["true"])) == (0, "")


@pytest.mark.parametrize("flags, command, message", [
    (["-n", 2], [], "the command is missing: add it after --; see --help"),
    (["-n", 0], ["true"], "--num-workers: invalid value '0': expected an integer >= 1 and < "
     "65536; see --help"),
    (["-n", 1, "--hostfile", "/nowhere", "--launcher", "ssh"], ["true"],
     "/nowhere: No such file or directory; give another path"),
    (["-n", 1, "--launcher", "ssh"], ["true"],
     "--hostfile: launcher ssh needs a file with a host on each line"),
    (["-n", 1], ["no-such-program"],
     "command not found: 'no-such-program': give a program on PATH, or its path"),
    (["-n", 1, "--host-ip", "127.0.0.1"], ["true"],
     "--host-ip: not supported by launcher local: omit it"),
    (["-n", 1, "--launcher", "mpi", "--host-ip", "192.0.2.77"], ["true"],
     "--host-ip: 192.0.2.77 is not an address of this host: Cannot assign requested address"),
    (["-n", 1, "--launcher", "mpi", "--host-ip", "no-such-host.invalid"], ["true"],
     "--host-ip: no-such-host.invalid is not an address of this host: ")])
def test_invalid_flags_are_one_line_errors(flags, command, message, call, fake_launchers):
    done = call("launch", *flags, "--", *command, env={"PATH": fake_launchers["PATH"]})
    assert done.returncode == 2 and done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


def test_os_error_without_a_file_name():
    launcher = start_job(["-n", 1], ["true"],
                         program=["bash", "-c", 'ulimit -n 7; exec "$@"', "bash"])
    assert finish(launcher) == (2, "error: Too many open files\n")


def test_exit_status_does_not_reap():
    """The number of a zombie cannot be reused, so its process group can be signalled."""
    process = subprocess.Popen(["sh", "-c", "kill -9 $$"])
    wait_until(lambda: exit_status(process) is not None)
    assert exit_status(process) == -9 and process.returncode is None
    assert process.wait() == exit_status(process) == -9


@pytest.mark.parametrize("name", ["DMLC_ROLE", "DCGAN_MX_JOB"])
def test_nested_jobs_are_rejected(name, monkeypatch):
    monkeypatch.setenv(name, "worker")
    with pytest.raises(ValueError, match=f"{name} is already set: unset it"):
        launch(["true"], 1)


@pytest.mark.parametrize("text", ["a\n-oProxyCommand=x", "a b", "a;b", "$(x)", "a:port", "#a",
                                  "a:1:2", "a slots=x", "-a", "a:0", "a:65536", "a:123456",
                                  "a\nb\xff"])
def test_invalid_hosts_are_rejected(tmp_path, text):
    (tmp_path / "hosts").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=rf"hosts, line {1 + text.count(chr(10))}: invalid host "):
        check_hosts(tmp_path / "hosts")


def test_host_file_format(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("\ufeffa\n\nme@b.example:2222\n10.0.0.1 slots=4\nrack_1_node-2:65535\n")
    assert check_hosts(path) == [("a", ""), ("me@b.example", "2222"), ("10.0.0.1", ""),
                                 ("rack_1_node-2", "65535")]
    path.write_text("\n \n")
    with pytest.raises(ValueError, match="is empty: write a host on each line"):
        check_hosts(path)
    path.write_text("a\n" * (1 << 20))
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        check_hosts(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a regular file"):
        check_hosts(path)


@pytest.mark.parametrize("name, program", [("ssh", "ssh"), ("mpi", "mpirun"), ("slurm", "srun")])
def test_missing_launcher_program_is_named(name, program, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "hosts").write_text("a")
    with pytest.raises(ValueError, match=f"launcher: {name} needs {program}, which is not on"):
        check_launcher(name, hostfile=tmp_path / "hosts" if name == "ssh" else None)
