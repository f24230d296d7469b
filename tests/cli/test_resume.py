"""`train --resume`, and how trainings end."""
import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.common import ROOT, read_numbers
from helpers.small import SMALL, final, start, wait_for_log

from dcgan_mx.cli.main import run as run_command
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.run import Run


def train(*flags):
    assert run_command("train", [str(flag) for flag in flags]) == 0


@pytest.fixture(scope="module")
def _ended(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("ended") / "run"
    train(*SMALL, "--max-steps", 2, "--run-dir", run_dir)
    return run_dir


@pytest.fixture
def ended(_ended, tmp_path):
    """A run of two steps."""
    return shutil.copytree(_ended, tmp_path / "run")


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def read_status(process, name):
    text = Path(f"/proc/{process.pid}/status").read_text()
    return re.search(rf"^{name}:\s+(\S+)", text, re.M)[1]


def test_a_run_that_is_killed_and_stopped_ends_as_if_it_was_not(call, tmp_path):
    """One command each time, which begins with --resume, though there is nothing yet.

    It is killed before a checkpoint, stopped by SIGINT, put to sleep, as by Ctrl-Z or with a
    laptop's lid, and stopped by SIGTERM.
    """
    run_dir, flags = tmp_path / "run", (*SMALL, "--disp-batches", 1)
    command = (*flags, "--max-steps", 10**6, "--resume", "--run-dir", run_dir)
    process = start(*command)
    wait_for_log(run_dir, 2)
    process.kill()
    process.communicate()
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = start(*command)
        lines = len(Run(run_dir).read_log())
        if number == signal.SIGTERM:
            process.send_signal(signal.SIGSTOP)
            wait_for(lambda process=process: read_status(process, "State") == "T")
            time.sleep(2)
            lines = len(Run(run_dir).read_log())
            process.send_signal(signal.SIGCONT)
        wait_for_log(run_dir, lines + 2)
        process.send_signal(number)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == status and "Traceback" not in errors
        assert "warning" not in errors
        folder = checkpoint.list_checkpoints(run_dir)[-1]
        steps = int(folder.name[5:])
        assert f"stopped by {number.name} after step {steps}; saved in {folder}\n" in output
        assert re.search(fr"\nto go on: \S*python {ROOT}/scripts/train.py --resume --run-dir "
                         fr"{run_dir}\n", output)
    steps += 5
    done = call("train", "--resume", "--run-dir", run_dir, "--max-steps", steps)
    assert done.returncode == 0, done.stderr
    assert f"going on from {folder}" in done.stdout
    assert sorted(os.listdir(run_dir)) == ["checkpoints", "config.json", "grids", "lock",
                                           "log.jsonl", "report.html", "result.json"]
    whole = tmp_path / "whole"
    train(*flags, "--max-steps", steps, "--run-dir", whole)
    arrays = final(run_dir)
    for name, value in final(whole).items():
        np.testing.assert_array_equal(arrays[name], value)
    assert read_numbers(run_dir) == read_numbers(whole)


def test_a_second_signal_ends_it_at_once(tmp_path):
    """In the middle of a step of several seconds, not after the save."""
    run_dir = tmp_path / "run"
    process = start("--dataset", "synthetic", "--batch-size", 512, "--run-dir", run_dir)
    wait_for(lambda: int(read_status(process, "SigCgt"), 16) & 1 << signal.SIGTERM - 1)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # as `timeout` sends it: no second one
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143 and not (run_dir / "checkpoints").exists()


def test_resume_without_a_directory_takes_the_newest_run(call, tmp_path):
    for i in range(2):
        assert call("train", *SMALL, "--max-steps", i + 1, cwd=tmp_path).returncode == 0
    done = call("train", *SMALL, "--max-steps", 5, "--resume", cwd=tmp_path)
    assert "step-00000002" in done.stdout and done.returncode == 0, done.stderr
    assert len(os.listdir(tmp_path / "runs")) == 2


def test_what_a_run_does_not_take_changes_nothing(ended, call, one_line_error):
    def read():
        return {path: path.read_bytes() for path in ended.rglob("*") if path.is_file()
                and path.name != "lock"}

    before = read()
    for flags, *parts in (
            (("--lr", 0.1), "--lr is 0.1", "has 0.0002", "--override lr"),
            (("--batch-size", 8), "--batch-size is 8", "has 64", "--override batch_size"),
            (("--seed", 3), "--seed is 3", "has 1234"),
            (("--ngf", 8), "--ngf is 8", "has 4", "start a new run"),
            (("--override", "lr,speed"), "--override", "'speed'"),
            (("--ngf", 8, "--override", "ngf"), "--override", "'ngf'", "start a new run"),
            (("--max-steps", 1), "--max-steps 1", "at step 2", "give more"),
            (("--num-epochs", 1, "--max-steps", 1), "--max-steps 1", "at step 2")):
        one_line_error(call("train", "--resume", "--run-dir", ended, *flags), *parts)
    done = call("train", "--resume", "--run-dir", ended)
    assert done.returncode == 0
    assert done.stdout == (
        "finished: step 2 of 2, because of --max-steps 2\n"
        f"to train longer: dcgan-mx train --resume --run-dir {ended} --max-steps 4\n")
    assert read() == before


def test_other_flags_and_overrides_are_taken(ended, call):
    done = call("train", "--resume", "--run-dir", ended, "--max-steps", 6, "--disp-batches", 2,
                "--lr", 0.001, "--batch-size", 32, "--override", "lr,batch-size")
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in read_numbers(ended)] == [4, 6]
    flags = json.loads((ended / "config.json").read_text())["flags"]
    assert (flags["lr"], flags["max_steps"], flags["ngf"]) == (0.001, 6, 4)


def test_damage_is_told_and_the_one_before_is_taken(ended, call):
    call("train", "--resume", "--run-dir", ended, "--max-steps", 4)
    damaged = ended / "checkpoints" / "step-00000004" / "G-optimizer.params"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = call("train", "--resume", "--run-dir", ended, "--max-steps", 6)
    assert done.returncode == 0
    assert f"warning: {damaged} is damaged; trying the checkpoint before it" in done.stderr
    assert "going on from" in done.stdout and "step-00000002" in done.stdout


def test_of_two_resumes_at_once_one_trains(ended, call):
    """The other says so, in one line, and changes nothing."""
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--resume", "--run-dir",
               str(ended), "--max-steps", "1000000", "--checkpoint-steps", "10"]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for _ in range(2)]
    try:
        wait_for(lambda: any(process.poll() is not None for process in both))
        refused, trains = sorted(both, key=lambda process: process.poll() is None)
        _, errors = refused.communicate()
        # Before it, perhaps: what --max-steps replaces, if the other has not written that down yet.
        *warnings, error = errors.splitlines()
        assert refused.returncode == 2 and re.match(
            f"error: --run-dir {ended}: process ({trains.pid}|that has just begun) is at work in ",
            error)
        assert all(line.startswith("warning: --resume: --max-steps") for line in warnings)
        wait_for_log(ended, 2)
        trains.terminate()
        trains.communicate()
        assert trains.returncode == 143
    finally:
        for process in both:
            process.kill()
            process.wait()
    assert call("train", "--resume", "--run-dir", ended, "--max-steps", 10**6, "--dry-run"
                ).returncode == 0
    assert all(checkpoint.verify(path) for path in checkpoint.list_checkpoints(ended))


def test_divergence_stops_within_a_display_interval(ended, call):
    """A learning rate of 1e38: the last checkpoint is finite, and told."""
    done = call("train", "--resume", "--run-dir", ended, "--lr", "1e38", "--override", "lr",
                "--max-steps", 100, "--disp-batches", 5)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.match("error: step (5|10): ", done.stderr.strip().splitlines()[-1])
    assert f"saved in {ended / 'checkpoints' / 'step-00000002'}\n" in done.stdout
    assert [p.name for p in (ended / "checkpoints").iterdir()] == ["step-00000002"]
    assert all(np.isfinite(value).all() for value in final(ended).values())


def test_a_reason_that_cannot_be_noted_is_told_all_the_same(call, monkeypatch, tmp_path):
    def refuse(run, ending):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run.path / "result.json"))

    monkeypatch.setattr(Run, "end", refuse)
    done = call("train", *SMALL, "--lr", "1e38", "--max-steps", 20, "--disp-batches", 2,
                "--run-dir", tmp_path / "a")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: step 2: ")
    assert re.search("warning: and then: .*No space left.*result.json", done.stderr)
    done = call("train", *SMALL, "--max-steps", 1, "--run-dir", tmp_path / "b")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith(
        f"error: {tmp_path / 'b' / 'result.json'}: No space left on device")


def test_a_full_disk(script, tmp_path):
    """The limit is above config.json and log.jsonl and below a grid and a checkpoint."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
    done = script("train.py", *SMALL, "--disp-batches", 1, "--max-steps", 3, "--tensorboard",
                  "--run-dir", tmp_path / "run", preexec_fn=limit)
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if "error" in line]
    assert done.returncode == 2 and len(lines) == 1
    assert "Traceback" not in done.stderr
    assert "checkpoints/step-00000003: File too large" in lines[0]
    told = re.findall(r"/(\w+)[^/]*: File too large: (.*) is not shown there; the training goes",
                      done.stderr)
    # and no more of it: that never works again
    assert told == [("gout", "step 1"), ("events", "step 1")]
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 3
    assert all(not name.startswith(".") for name in os.listdir(tmp_path / "run" / "grids"))


def test_another_kind_of_limit_takes_the_place_of_the_saved_one(ended, call):
    done = call("train", "--resume", "--run-dir", ended, "--num-epochs", 1)
    assert "warning: --resume: --num-epochs 1 takes the place of --max-steps 2\n" in done.stderr
    assert "finished: 1 epoch, 32 steps, because of --num-epochs 1; saved in" in done.stdout
    assert f"to train longer: dcgan-mx train --resume --run-dir {ended} --num-epochs 2\n" in (
        done.stdout)


def test_switches_of_a_run_can_be_turned_off(ended, call):
    config = json.loads((ended / "config.json").read_text())
    config["flags"].update(show=True, fixed_noise=True, tensorboard=True)
    (ended / "config.json").write_text(json.dumps(config))
    done = call("train", "--resume", "--run-dir", ended, "--max-steps", 3, "--no-fixed-noise",
                env={"MPLBACKEND": "agg"})
    assert done.returncode == 0
    assert "warning: --show: matplotlib can open no window here" in done.stderr
    assert not (ended / "grids" / "fixed-00000003.png").exists()
    flags = json.loads((ended / "config.json").read_text())["flags"]
    assert (flags["fixed_noise"], flags["tensorboard"], flags["show"]) == (False, True, False)


@pytest.mark.parametrize("flags, words", [
    (("--seed", 5, "--override", "seed"), "--override seed: the epoch, of which 2 batches"),
    (("--batch-size", 32, "--override", "batch-size"), "--override batch_size: the epoch, of")])
def test_an_override_that_changes_the_order_begins_the_epoch_anew(flags, words, ended, call):
    """It says so, and the bar knows how many steps that makes."""
    done = call("train", "--resume", "--run-dir", ended, "--num-epochs", 1, *flags)
    assert done.returncode == 0 and words in done.stderr
    batches = 64 if "--batch-size" in flags else 32
    assert f"finished: 1 epoch, {2 + batches} steps" in done.stdout
    assert f"{2 + batches}/{2 + batches} " in done.stderr
    done = call("train", "--resume", "--run-dir", ended, "--num-epochs", 2, "--seed", 6,
                "--batch-size", 512, "--override", "seed,batch_size")
    assert "begins anew" not in done.stderr  # at an epoch's end nothing is shown twice


def test_a_kill_before_the_next_checkpoint_keeps_the_epoch_anew(ended, call):
    """Also after two of them, and where only an older checkpoint is left; not for later ones."""
    def go_on(last, *flags, lose=()):
        for step in lose:
            shutil.rmtree(ended / "checkpoints" / f"step-{step:08d}")
        done = call("train", "--resume", "--run-dir", ended, "--max-steps", last, *flags)
        assert done.returncode == 0, done.stderr
        return checkpoint.verify(max(checkpoint.list_checkpoints(ended)))["nbatch"], final(ended)

    assert go_on(4)[0] == 4
    begun = go_on(6, "--seed", 5, "--override", "seed")
    for _ in range(2):
        again = go_on(6, lose=[6])
        assert again[0] == begun[0] == 2
        for name, value in begun[1].items():
            np.testing.assert_array_equal(again[1][name], value)
    assert go_on(7)[0] == 3
    assert go_on(5, lose=[4, 6, 7])[0] == 3
    assert go_on(6)[0] == 4


def test_the_end_of_a_run_is_told_on_the_screen_and_in_the_report(call, tmp_path):
    """One step only: it has grids, a log line and a report, and the last line says how to go on."""
    run_dir = tmp_path / "run"
    done = call("train", *SMALL, "--max-steps", 1, "--run-dir", run_dir)
    assert done.stdout.splitlines()[1:] == [
        f"see {run_dir / 'report.html'}",
        "finished: step 1 of 1, because of --max-steps 1; saved in "
        f"{run_dir / 'checkpoints' / 'step-00000001'}",
        f"to train longer: dcgan-mx train --resume --run-dir {run_dir} --max-steps 2"]
    assert "warning" not in done.stderr
    text = (run_dir / "report.html").read_text()
    assert "finished: step 1 of 1, because of --max-steps 1" in text and "step 1</h1>" in text
    assert f"train --resume --run-dir {run_dir} --max-steps 2<" in text
    assert "To train longer:" in text
    assert len(os.listdir(run_dir / "grids")) == 3 and len(read_numbers(run_dir)) == 1
