"""`train --resume`, and how trainings end."""
import errno
import json
import os
import re
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.common import ROOT
from helpers.processes import wait_until
from helpers.small import SMALL, assert_same_arrays, final, start_training, wait_for_log

import dcgan_mx
from dcgan_mx.hooks.base import LambdaHook
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.run import Run
from tools.common import read_numbers


@pytest.fixture
def start():
    """Start scripts/train.py, which ends with the test."""
    started = []

    def run(*args, **kwargs):
        started.append(start_training(*args, **kwargs))
        return started[-1]
    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def _ended(train, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("ended") / "run"
    train(*SMALL, "--max-steps", 2, "--run-dir", run_dir)
    return run_dir


@pytest.fixture
def ended(_ended, tmp_path):
    """A run of two steps."""
    return shutil.copytree(_ended, tmp_path / "run")


@pytest.fixture
def resume(ended, succeed):
    """Resume the run of two steps; return a CompletedProcess."""
    return partial(succeed, "train", "--resume", "--run-dir", ended)


def read_status(process, name):
    text = Path(f"/proc/{process.pid}/status").read_text()
    return re.search(rf"^{name}:\s+(\S+)", text, re.M)[1]


def test_resume_after_signals_is_bit_identical(start, call, succeed, train, one_line_error,
                                               tmp_path):
    """The same command, with --resume, starts the run and resumes it.

    It is suspended as by Ctrl-Z, stopped by SIGINT, and killed before the next checkpoint. While
    it trains, no other process can resume it.
    """
    run_dir, flags = tmp_path / "run", (*SMALL, "--disp-batches", 1)
    command = (*flags, "--max-steps", 10**6, "--resume", "--run-dir", run_dir)
    process = start(*command)
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: read_status(process, "State") == "T")
    lines = len(Run(run_dir).read_log())
    process.send_signal(signal.SIGCONT)
    one_line_error(call("train", "--resume", "--run-dir", run_dir), run_dir,
                   f"process {process.pid}:")
    wait_for_log(run_dir, lines + 2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in errors and "warning" not in errors
    folder = Run(run_dir).list_checkpoints()[-1]  # an epoch may have ended before
    steps = int(folder.name[5:])
    assert f"stopped by SIGINT after step {steps}; saved in {folder}\n" in output
    assert re.search(fr"\nto resume: \S*python {ROOT}/scripts/train.py --resume --run-dir "
                     fr"{run_dir}\n", output)
    process = start(*command)
    wait_for_log(run_dir, steps + 2)
    process.kill()
    process.communicate()
    steps = max(int(path.name[5:]) for path in Run(run_dir).list_checkpoints()) + 3
    done = succeed("train", "--resume", "--run-dir", run_dir, "--max-steps", steps)
    assert f"resuming from {run_dir / 'checkpoints'}" in done.stdout
    assert sorted(os.listdir(run_dir)) == ["checkpoints", "config.json", "grids", "lock",
                                           "log.jsonl", "report.html", "result.json"]
    whole = tmp_path / "whole"
    train(*flags, "--max-steps", steps, "--run-dir", whole)
    assert_same_arrays(final(run_dir), final(whole))
    assert read_numbers(run_dir) == read_numbers(whole)


def test_a_second_signal_ends_the_process_at_once(start, tmp_path):
    """In the middle of a step of many seconds, without saving."""
    run_dir = tmp_path / "run"
    process = start("--dataset", "synthetic", "--batch-size", 256, "--ngf", 128, "--ndf", 128,
                    "--run-dir", run_dir, env={**os.environ, "OMP_NUM_THREADS": "1"})
    wait_until(lambda: int(read_status(process, "SigCgt"), 16) & 1 << signal.SIGTERM - 1)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # `timeout` sends it twice: not a second one
    time.sleep(3)  # a signal within a second of the first is taken for a repetition
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143 and not (run_dir / "checkpoints").exists()


def test_default_run_directories_differ_and_resume_takes_the_newest(succeed, tmp_path):
    for steps in (1, 2):
        succeed("train", *SMALL, "--max-steps", steps, cwd=tmp_path)
    done = succeed("train", *SMALL, "--max-steps", 3, "--resume", cwd=tmp_path)
    assert "step-00000002" in done.stdout
    assert len(os.listdir(tmp_path / "runs")) == 2


def test_rejected_flags_leave_the_run_unchanged(ended, resume, call, one_line_error):
    def read():
        return {path: path.read_bytes() for path in ended.rglob("*") if path.is_file()
                and path.name != "lock"}

    before = read()
    for flags, *parts in (
            (("--lr", 0.1), "0.1", "0.0002", "--override lr"),
            (("--override", "lr,speed"), "--override", "'speed'"),
            (("--ngf", 8, "--override", "ngf"), "--override", "'ngf'", "start a new run"),
            (("--max-steps", 1), "1 is already exceeded", "at step 2", "give a higher limit"),
            (("--num-epochs", 1, "--max-steps", 1), "1 is already exceeded", "at step 2")):
        one_line_error(call("train", "--resume", "--run-dir", ended, *flags), *parts)
    finished, longer = resume().stdout.splitlines()
    assert finished.startswith("finished: step 2 of 2")
    assert longer.endswith(f"train --resume --run-dir {ended} --max-steps 4")
    assert read() == before


def test_resume_accepts_other_limits_switches_and_overrides(ended, resume):
    config = json.loads((ended / "config.json").read_text())
    config["flags"].update(show=True, fixed_noise=True, tensorboard=True)
    (ended / "config.json").write_text(json.dumps(config))
    done = resume("--max-steps", 6, "--disp-batches", 2, "--lr", 0.001, "--batch-size", 32,
                  "--override", "lr,batch-size", "--no-fixed-noise", env={"MPLBACKEND": "agg"})
    assert "warning: --show: matplotlib cannot open a window here" in done.stderr
    assert [line["step"] for line in read_numbers(ended)] == [4, 6]
    assert not Run(ended).list_grids("fixed")
    flags = json.loads((ended / "config.json").read_text())["flags"]
    assert {"lr": 0.001, "max_steps": 6, "ngf": 4, "fixed_noise": False, "tensorboard": True,
            "show": False}.items() <= flags.items()


def test_divergence_ends_the_training_and_keeps_the_last_finite_checkpoint(ended, call):
    done = call("train", "--resume", "--run-dir", ended, "--lr", "1e38", "--override", "lr",
                "--max-steps", 100, "--disp-batches", 5)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    step = int(re.search("error: step (5|10): .*$", done.stderr)[1])
    assert [line["step"] for line in read_numbers(ended)] == [*range(5, step, 5)]
    assert f"saved in {ended / 'checkpoints' / 'step-00000002'}\n" in done.stdout
    assert [p.name for p in (ended / "checkpoints").iterdir()] == ["step-00000002"]
    assert all(np.isfinite(value).all() for value in final(ended).values())


def test_a_run_whose_checkpoints_are_gone_is_not_started_again(call, one_line_error, tmp_path):
    run = Run(tmp_path / "run")
    call("train", *SMALL, "--max-steps", 2, "--disp-batches", 1, "--run-dir", run.path)
    shutil.rmtree(run.path / "checkpoints")
    log, grids = run.read_log(), run.list_grids("gout")
    one_line_error(call("train", "--resume", "--run-dir", run.path, "--max-steps", 4),
                   f"--run-dir: {run.path} was trained up to step 2, but has no checkpoint")
    assert (run.read_log(), run.list_grids("gout")) == (log, grids) and len(log) == len(grids) == 2


def test_an_unwritable_result_does_not_hide_the_first_error(call, monkeypatch, tmp_path):
    def refuse(run, ending):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run.path / "result.json"))

    monkeypatch.setattr(Run, "write_result", refuse)
    done = call("train", *SMALL, "--lr", "1e38", "--max-steps", 20, "--disp-batches", 2,
                "--run-dir", tmp_path / "a")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: step 2: ")
    assert re.search("warning: another error followed: .*No space left.*result.json", done.stderr)
    done = call("train", *SMALL, "--max-steps", 1, "--run-dir", tmp_path / "b")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith(
        f"error: {tmp_path / 'b' / 'result.json'}: No space left on device")
    monkeypatch.undo()
    assert call("train", "--resume", "--run-dir", tmp_path / "b").returncode == 0
    assert Run(tmp_path / "b").read_result().reason == "max_steps"


def test_a_full_disk(call, limit_files, tmp_path):
    """The limit is above config.json and log.jsonl and below a grid and a checkpoint."""
    limit_files(5000)
    done = call("train", *SMALL, "--disp-batches", 1, "--max-steps", 3, "--tensorboard",
                "--run-dir", tmp_path / "run")
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if "error" in line]
    assert done.returncode == 2 and len(lines) == 1
    assert "checkpoints/step-00000003: File too large" in lines[0]
    warned = re.findall(r"/(\w+)[^/]*: File too large: (.*) is not written there", done.stderr)
    assert warned == [("gout", "step 1"), ("events", "step 1")]  # and not again
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 3
    assert all(not name.startswith(".") for name in os.listdir(tmp_path / "run" / "grids"))


def test_an_override_of_the_order_restarts_the_epoch(ended, resume):
    """With a warning; another limit replaces the saved one, and the progress bar follows."""
    done = resume("--num-epochs", 1, "--batch-size", 512, "--override", "batch-size")
    assert re.search("warning: --resume: --num-epochs 1 .* --max-steps 2\n", done.stderr)
    assert re.search(f"--resume --run-dir {ended} --num-epochs 2\n", done.stdout)
    assert "--override batch_size: the epoch restarts, after 2 of its" in done.stderr
    assert "finished: 1 epoch, 6 steps" in done.stdout and "6/6 " in done.stderr
    done = resume("--num-epochs", 2, "--seed", 6, "--batch-size", 1024, "--override",
                  "seed,batch_size")
    assert "the epoch restarts" not in done.stderr  # it has just ended


def test_a_restarted_epoch_survives_a_kill_before_the_next_checkpoint(ended, resume):
    """Also if only an older checkpoint is left; but not for later checkpoints."""
    def train_to(last, *flags, lose=()):
        for step in lose:
            shutil.rmtree(ended / "checkpoints" / f"step-{step:08d}")
        resume("--max-steps", last, *flags)
        return checkpoint.verify(Run(ended).list_checkpoints()[-1])["nbatch"]

    assert train_to(3) == 3
    assert train_to(5, "--seed", 5, "--override", "seed") == 2
    arrays = final(ended)
    assert train_to(5, lose=[5]) == 2
    assert_same_arrays(arrays, final(ended))
    assert train_to(6) == 3
    assert train_to(4, lose=[3, 5, 6]) == 2
    assert train_to(5) == 3


def test_the_end_is_reported_on_the_screen_and_in_the_report(
        succeed, tmp_path, monkeypatch, capfd):
    run_dir = tmp_path / "run"
    done = succeed("train", *SMALL, "--max-steps", 1, "--disp-batches", 1, "--run-dir", run_dir)
    images, _, see, finished, longer = done.stdout.splitlines()
    assert images == "2048 images: 32 steps per epoch"
    assert see == f"see {run_dir / 'report.html'}" and "warning" not in done.stderr
    assert finished.startswith("finished: step 1 of 1")
    assert finished.endswith(f"; saved in {run_dir / 'checkpoints' / 'step-00000001'}")
    command = f"train --resume --run-dir {run_dir} --max-steps 2"
    assert longer.startswith("to train longer: ") and longer.endswith(command)
    assert f"{command}<" in (run_dir / "report.html").read_text()
    assert len(os.listdir(run_dir / "grids")) == 3 and len(read_numbers(run_dir)) == 1
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as where memory is too small for it
    done = succeed("train", "--resume", "--run-dir", run_dir, "--max-steps", 2)
    assert "warning: there is no report" in done.stderr and "to train longer: " in done.stdout
    remove = LambdaHook(lambda _: (run_dir / "config.json").unlink(missing_ok=True))
    with pytest.warns(RuntimeWarning) as caught:
        dcgan_mx.train(resume=True, run_dir=run_dir, max_steps=4, hooks=[remove])
    assert re.search("resumes this run is unknown: .*config.json", str(caught[-1].message))
    assert "finished: step 4 of 4" in capfd.readouterr().out
