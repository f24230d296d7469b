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

import numpy as np
import pytest
from common import ROOT, read_numbers
from small import LONG, SMALL, final, start, wait_for_log

from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.run import Run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody stopped: its final arrays and its log."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    process = start(*LONG, "--run-dir", run_dir)
    process.communicate()
    assert process.returncode == 0
    return final(run_dir), read_numbers(run_dir)


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_resume_ends_as_if_there_was_none(number, status, whole, call,
                                                             tmp_path):
    run_dir = tmp_path / "run"
    process = start(*LONG, "--run-dir", run_dir)
    wait_for_log(run_dir, 3)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == status and "Traceback" not in errors
    folder = max((run_dir / "checkpoints").iterdir())
    assert str(folder) in output and f"stopped by {number.name}" in output
    assert re.search(fr"to go on: \S*python {ROOT}/scripts/train.py --resume --run-dir {run_dir}\n",
                     output)
    assert int(folder.name[5:]) < 60
    done = call("train", "--resume", "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    assert f"going on from {folder}" in done.stdout
    arrays = final(run_dir)
    for name, value in whole[0].items():
        np.testing.assert_array_equal(arrays[name], value)
    assert read_numbers(run_dir) == whole[1]
    assert sorted(os.listdir(run_dir)) == ["checkpoints", "config.json", "ended.json", "grids",
                                           "lock", "log.jsonl", "report.html"]


def test_a_second_signal_ends_it_at_once(tmp_path):
    run_dir = tmp_path / "run"
    process = start("--dataset", "synthetic", "--batch-size", 512, "--run-dir", run_dir)
    time.sleep(3)  # by now it waits for steps of several seconds each
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # as `timeout` sends it: no second one
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    start_of_end = time.monotonic()
    process.communicate(timeout=20)
    assert process.returncode == 143 and time.monotonic() - start_of_end < 1
    assert not (run_dir / "checkpoints").exists()


def test_the_same_command_with_resume_finds_its_run(whole, call, tmp_path):
    """Started with --resume (nothing there yet), killed before the first checkpoint, twice."""
    run_dir = tmp_path / "run"
    command = (*LONG, "--run-dir", run_dir, "--resume")
    for _ in range(2):
        process = start(*command)
        wait_for_log(run_dir, 2)
        process.kill()
        process.communicate()
    assert call("train", *command).returncode == 0
    for name, value in whole[0].items():
        np.testing.assert_array_equal(final(run_dir)[name], value)
    assert read_numbers(run_dir) == whole[1]


def test_resume_without_a_directory_takes_the_newest_run(call, tmp_path):
    for i in range(2):
        assert call("train", *SMALL, "--max-steps", i + 1, cwd=tmp_path).returncode == 0
    done = call("train", *SMALL, "--max-steps", 5, "--resume", cwd=tmp_path)
    assert "step-00000002" in done.stdout and done.returncode == 0, done.stderr
    assert len(os.listdir(tmp_path / "runs")) == 2


@pytest.fixture
def ended(call, tmp_path):
    """A run of two steps."""
    assert call("train", *SMALL, "--max-steps", 2, "--run-dir", tmp_path / "run"
                  ).returncode == 0
    return tmp_path / "run"


@pytest.mark.parametrize("flags, parts", [
    (("--lr", 0.1), ("--lr is 0.1", "has 0.0002", "--override lr")),
    (("--batch-size", 8), ("--batch-size is 8", "has 64", "--override batch_size")),
    (("--seed", 3), ("--seed is 3", "has 1234")),
    (("--ngf", 8), ("--ngf is 8", "has 4", "start a new run")),
    (("--override", "lr,speed"), ("--override", "'speed'")),
    (("--ngf", 8, "--override", "ngf"), ("--override", "'ngf'", "start a new run"))])
def test_flags_that_decide_the_numbers_must_be_the_runs(flags, parts, ended, call,
                                                        one_line_error):
    before = (ended / "config.json").read_bytes()
    one_line_error(call("train", "--resume", "--run-dir", ended, *flags), *parts)
    assert (ended / "config.json").read_bytes() == before


def test_other_flags_and_overrides_are_taken(ended, call):
    done = call("train", "--resume", "--run-dir", ended, "--max-steps", 6, "--disp-batches", 2,
                  "--lr", 0.001, "--batch-size", 32, "--override", "lr,batch-size")
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in read_numbers(ended)] == [4, 6]
    flags = json.loads((ended / "config.json").read_text())["flags"]
    assert (flags["lr"], flags["max_steps"], flags["ngf"]) == (0.001, 6, 4)


def test_damage_is_told_and_the_one_before_is_taken(call, tmp_path):
    run_dir = tmp_path / "run"
    call("train", *SMALL, "--max-steps", 4, "--checkpoint-steps", 2, "--run-dir", run_dir)
    damaged = run_dir / "checkpoints" / "step-00000004" / "G-optimizer.params"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = call("train", "--resume", "--run-dir", run_dir, "--max-steps", 6)
    assert done.returncode == 0
    assert f"warning: {damaged} is damaged; trying the checkpoint before it" in done.stderr
    assert "going on from" in done.stdout and "step-00000002" in done.stdout


def test_a_second_process_is_refused(call, one_line_error, tmp_path):
    run_dir = tmp_path / "run"
    process = start(*SMALL, "--run-dir", run_dir, "--num-epochs", 100000)
    try:
        done = call("train", "--resume", "--run-dir", run_dir)
        one_line_error(done, f"process {process.pid} is at work")
    finally:
        process.kill()
        process.communicate()


def test_of_two_resumes_at_once_one_trains(ended, call):
    """The other says so, in one line, and changes nothing."""
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--resume", "--run-dir",
               str(ended), "--max-steps", "1000000", "--checkpoint-steps", "10"]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for _ in range(2)]
    try:
        deadline = time.monotonic() + 120
        while all(process.poll() is None for process in both):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        refused, trains = sorted(both, key=lambda process: process.poll() is None)
        _, errors = refused.communicate()
        # Before it, perhaps: what --max-steps replaces, if the other has not written that down yet.
        *warnings, error = errors.splitlines()
        assert refused.returncode == 2 and error.startswith(f"error: --run-dir {ended}: ")
        assert "is at work in it" in error
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
    assert all(checkpoint.verify(path) for path in checkpoint.list(ended))


def test_a_process_that_is_stopped_and_continued(whole, tmp_path):
    """As by Ctrl-Z, or a laptop that sleeps: for 3 seconds nothing happens, then all goes on."""
    run_dir = tmp_path / "run"
    process = start(*LONG, "--run-dir", run_dir)
    wait_for_log(run_dir, 3)
    process.send_signal(signal.SIGSTOP)
    time.sleep(1)
    before = (run_dir / "log.jsonl").read_bytes()
    time.sleep(2)
    assert (run_dir / "log.jsonl").read_bytes() == before and process.poll() is None
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate()
    assert process.returncode == 0 and "warning" not in errors
    for name, value in whole[0].items():
        np.testing.assert_array_equal(final(run_dir)[name], value)
    assert read_numbers(run_dir) == whole[1]


def test_divergence_stops_within_a_display_interval(call, tmp_path):
    """A learning rate of 1e30: the last checkpoint is finite, and told."""
    run_dir = tmp_path / "run"
    call("train", *SMALL, "--max-steps", 4, "--run-dir", run_dir)
    done = call("train", "--resume", "--run-dir", run_dir, "--lr", "1e38", "--override", "lr",
                  "--max-steps", 100, "--disp-batches", 5)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert last.startswith("error: step 5: ") or last.startswith("error: step 10: ")
    assert f"saved in {run_dir / 'checkpoints' / 'step-00000004'}\n" in done.stdout
    assert [p.name for p in (run_dir / "checkpoints").iterdir()] == ["step-00000004"]
    assert all(np.isfinite(value).all() for value in final(run_dir).values())


def test_a_reason_that_cannot_be_noted_is_told_all_the_same(call, monkeypatch, tmp_path):
    def refuse(run, ending):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run.path / "ended.json"))

    monkeypatch.setattr(Run, "end", refuse)
    done = call("train", *SMALL, "--lr", "1e38", "--max-steps", 20, "--disp-batches", 2,
                "--run-dir", tmp_path / "a")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: step 2: ")
    assert re.search("warning: and then: .*No space left.*ended.json", done.stderr)
    done = call("train", *SMALL, "--max-steps", 1, "--run-dir", tmp_path / "b")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith(
        f"error: {tmp_path / 'b' / 'ended.json'}: No space left on device")


def test_a_full_disk(script, one_line_error, tmp_path):
    """The limit is above config.json and log.jsonl and below a grid and a checkpoint."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
    done = script("train.py", *SMALL, "--disp-batches", 1, "--max-steps", 3, "--run-dir",
                  tmp_path / "run", preexec_fn=limit)
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if "error" in line]
    assert done.returncode == 2 and len(lines) == 1
    assert "Traceback" not in done.stderr
    assert "checkpoints/step-00000003: File too large" in lines[0]
    told = re.findall(r": File too large: (.*) is not shown there; the training goes", done.stderr)
    assert told == ["step 1"]  # and no more of it: that never works again
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 3
    assert all(not name.startswith(".") for name in os.listdir(tmp_path / "run" / "grids"))


def test_a_finished_run_says_so_and_stays_as_it_is(ended, call):
    before = {path: path.read_bytes() for path in ended.rglob("*") if path.is_file()
              and path.name != "lock"}
    done = call("train", "--resume", "--run-dir", ended)
    assert done.returncode == 0
    assert done.stdout == (
        "finished: step 2 of 2, because of --max-steps 2\n"
        f"to train longer: dcgan-mx train --resume --run-dir {ended} --max-steps 4\n")
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize("flags, parts", [
    (("--max-steps", 1), ("--max-steps 1", "at step 2", "give more")),
    (("--num-epochs", 1, "--max-steps", 1), ("--max-steps 1", "at step 2"))])
def test_a_limit_that_lies_behind_is_refused(flags, parts, ended, call, one_line_error):
    one_line_error(call("train", "--resume", "--run-dir", ended, *flags), *parts)


def test_another_kind_of_limit_takes_the_place_of_the_saved_one(ended, call):
    done = call("train", "--resume", "--run-dir", ended, "--num-epochs", 1)
    assert "warning: --resume: --num-epochs 1 takes the place of --max-steps 2\n" in done.stderr
    assert "finished: 1 epoch, 32 steps, because of --num-epochs 1; saved in" in done.stdout
    assert f"to train longer: dcgan-mx train --resume --run-dir {ended} --num-epochs 2\n" in (
        done.stdout)


def test_switches_of_a_run_can_be_turned_off(call, tmp_path):
    run_dir = tmp_path / "run"
    assert call("train", *SMALL, "--max-steps", 1, "--fixed-noise", "--tensorboard", "--run-dir",
                run_dir).returncode == 0
    config = json.loads((run_dir / "config.json").read_text())
    config["flags"]["show"] = True
    (run_dir / "config.json").write_text(json.dumps(config))
    done = call("train", "--resume", "--run-dir", run_dir, "--max-steps", 2, "--no-fixed-noise",
                env={"MPLBACKEND": "agg"})
    assert done.returncode == 0
    assert "warning: --show: matplotlib can open no window here" in done.stderr
    assert not (run_dir / "grids" / "fixed-00000002.png").exists()
    flags = json.loads((run_dir / "config.json").read_text())["flags"]
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
                "--override", "seed", "--batch-size", 2048 // 4, "--override",
                "seed,batch_size")
    assert "begins anew" not in done.stderr  # at an epoch's end nothing is shown twice


def test_a_kill_before_the_next_checkpoint_keeps_the_epoch_anew(ended, call):
    """Also after two of them, and where only an older checkpoint is left; not for later ones."""
    def go_on(last, *flags, lose=()):
        for step in lose:
            shutil.rmtree(ended / "checkpoints" / f"step-{step:08d}")
        done = call("train", "--resume", "--run-dir", ended, "--max-steps", last, *flags)
        assert done.returncode == 0, done.stderr
        return checkpoint.verify(max(checkpoint.list(ended)))["nbatch"], final(ended)

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
