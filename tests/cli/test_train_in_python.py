"""`dcgan_mx.train`: the command `dcgan-mx train` as a function."""
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.small import SMALL, assert_same_arrays, final

import dcgan_mx
from dcgan_mx.hooks.base import LambdaHook
from dcgan_mx.runs.run import Run
from tools.common import read_numbers

SETTINGS = {flag[2:].replace("-", "_"): value for flag, value in zip(SMALL[::2], SMALL[1::2])}


def test_a_run_is_that_of_the_command(train, succeed, tmp_path):
    command, function = tmp_path / "command", tmp_path / "function"
    train(*SMALL, "--disp-batches", 2, "--max-steps", 5, "--run-dir", command)
    seen = []
    run = dcgan_mx.train(**SETTINGS, disp_batches=2, max_steps=3, run_dir=function,
                         hooks=[LambdaHook(lambda trainer: seen.append(trainer.global_step))])
    assert run.path == function and seen == [1, 2, 3]
    assert run.read_result().describe() == "finished: step 3 of 3, because of --max-steps 3"
    resumed = dcgan_mx.train(resume=True, run_dir=function, num_epochs=100, max_steps=5)
    assert resumed.path == function
    assert_same_arrays(final(command), final(function))
    assert read_numbers(command) == read_numbers(function)
    ours, theirs = (Run(path).read_settings().to_flags() for path in (function, command))
    assert {**ours, "run_dir": None} == {**theirs, "run_dir": None}
    succeed("train", "--resume", "--run-dir", function, "--max-steps", 6)
    succeed("report", function)


def test_a_hook_ends_the_training(tmp_path):
    """Numbers may be NumPy's."""
    settings = {**SETTINGS, "seed": np.int64(3), "lr_g": np.float32(0.5)}
    run = dcgan_mx.train(preset="digits", **settings, run_dir=tmp_path / "run",
                         hooks=[LambdaHook(lambda trainer: trainer.request_stop())])
    assert run.read_result().reason == "hook"
    settings = run.read_settings().config
    assert (settings.nc, settings.dataset, settings.lr_g) == (1, "synthetic", 0.5)
    assert [folder.name for folder in run.list_checkpoints()] == ["step-00000001"]


def test_none_replaces_no_other_limit_or_device(tmp_path):
    run_dir = tmp_path / "run"
    dcgan_mx.train(**SETTINGS, cpu_devices=2, num_epochs=2, max_steps=3, run_dir=run_dir)
    run = dcgan_mx.train(resume=True, run_dir=run_dir, max_steps=None, gpu=None)
    assert run.read_result().reason == "num_epochs"
    assert run.read_settings().options.cpu_devices == 2


def test_signals_of_the_users_own_handlers_do_not_stop_the_training(tmp_path):
    received = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
    try:
        run = dcgan_mx.train(**SETTINGS, max_steps=4, run_dir=tmp_path / "run", hooks=[
            LambdaHook(lambda trainer: os.kill(os.getpid(), signal.SIGUSR1))])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert run.read_result().reason == "max_steps" and received == [signal.SIGUSR1] * 4


def test_hooks_must_be_a_sequence(tmp_path):
    with pytest.raises(TypeError):
        dcgan_mx.train(**SETTINGS, run_dir=tmp_path / "run", hooks=LambdaHook(print))
    assert not (tmp_path / "run").exists()


def test_training_in_another_thread(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(dcgan_mx.train, **SETTINGS, max_steps=2, run_dir=tmp_path / "run")
    assert started.result().read_result().reason == "max_steps"


@pytest.mark.parametrize("settings, words", [
    ({"epochs": 3}, "^epochs: there is no such setting: expected one of dataset, nz, "),
    ({"lr": "fast"}, "^lr: invalid value 'fast': expected a number > 0"),
    ({"dataset": None}, "^dataset: missing"),
    ({"override": ["ngf"], "resume": True}, "^override: 'ngf' cannot be overridden"),
    ({"preset": "cats"}, "^preset: invalid value 'cats': expected one of digits"),
    ({"override": ["lr"]}, "^override: needs --resume")])
def test_invalid_settings_are_rejected(settings, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        dcgan_mx.train(**{**SETTINGS, "run_dir": tmp_path / "run", **settings})
    assert not (tmp_path / "run").exists()
