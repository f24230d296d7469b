"""A run whose disk, folder or clock is tampered with while it trains: it ends as if nothing was."""
import os
import resource
import shutil
import time

import numpy as np
import pytest
from helpers.common import read_numbers

from dcgan_mx import MnistIter, RandIter, Trainer, make_dcgan_sym
from dcgan_mx.data.datasets import make_discs
from dcgan_mx.hooks import checkpoints, loggers
from dcgan_mx.hooks.checkpoints import Saver
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.run import Run
from dcgan_mx.system.runtime import mx

STEPS, EVERY = 12, 2


def go_on(path, tamper=None, max_steps=STEPS):
    """Begin a run, or go on with it, as `dcgan-mx train --resume` does; return its state."""
    run = Run(path)
    mx.random.seed(0)
    trainer = Trainer(*make_dcgan_sym(2, 2, 3, size=16), 4, (3, 16, 16), nz=4)
    with run.lock():
        checkpoint.load_latest(path, trainer)
        seconds = run.rewind(trainer.global_step)
        display = loggers.MetricLogger(1, loggers.JsonlLogger(run), loggers.make_grids(run), seconds=seconds)
        keeper = Saver(path, EVERY, step=trainer.global_step)

        def meddle(trainer):
            # what is being written is done when the meddling begins: the rest is up to chance
            if keeper._writing:
                keeper._writing.exception()
            if tamper:
                tamper(trainer)

        trainer.fit(MnistIter(make_discs(20), 4, (3, 16, 16)), RandIter(4, 4), 100,
                    [display, keeper, meddle], max_steps)
    return trainer.get_state()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody tampers with: its state, its log, the names of its files."""
    path = tmp_path_factory.mktemp("whole")
    return go_on(path), read_numbers(path), list_files(path)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Nor for the disk: nobody cuts the power here."""
    monkeypatch.setattr(checkpoints, "_PAUSE", 0.0)
    monkeypatch.setattr(os, "fsync", lambda _: None)


def list_files(path):
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def assert_as_whole(state, path, whole, lost=()):
    """To the bit; but for grids and checkpoints of some steps, which may be missing."""
    expected, log, files = whole
    assert state["counters"] == expected["counters"]
    for part in ("G", "D", "G-optimizer", "D-optimizer"):
        for name, value in expected[part].items():
            np.testing.assert_array_equal(state[part][name], value)
    assert read_numbers(path) == log
    missing = files - list_files(path)
    assert all(any(f"{step:08d}" in name for step in lost) for name in missing), missing
    assert list_files(path) <= files  # and nothing half-written is left
    for folder in checkpoint.list_checkpoints(path):
        checkpoint.verify(folder)


def at(acts):
    """Make what tampers, from acts by their step."""
    return lambda trainer: acts.get(trainer.global_step, lambda: None)()


def limit(size):
    """Let files of this process grow to so many bytes; a full disk, but for the error's number."""
    def act():
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most if size is None else size, most))
    return act


def test_a_disk_that_fills_and_empties_again(whole, tmp_path):
    """The log's lines are kept, and written; so is the checkpoint."""
    try:
        with pytest.warns(RuntimeWarning, match="File too large") as caught:
            state = go_on(tmp_path, at({3: limit(0), 8: limit(None)}))
    finally:
        limit(None)()
    assert any("checkpoints" in str(warning.message) for warning in caught)
    # the checkpoint of step 8 was begun while there was no room, and is tried again after step 9
    assert_as_whole(state, tmp_path, whole, lost=range(4, 9))
    assert "checkpoints/step-00000010/state.json" in list_files(tmp_path)


def test_a_disk_that_stays_full_loses_nothing_of_what_was_there(whole, tmp_path):
    try:
        with pytest.warns(RuntimeWarning, match="File too large"), pytest.raises(
                OSError, match="File too large"):
            go_on(tmp_path, at({7: limit(0)}))
    finally:
        limit(None)()
    assert [int(path.name[5:]) for path in checkpoint.list_checkpoints(tmp_path)] == [2, 4, 6]
    assert_as_whole(go_on(tmp_path), tmp_path, whole)


def test_a_folder_that_is_moved_for_good(whole, tmp_path):
    """The run ends with the reason, makes nothing in the old place, and goes on in the new one."""
    path, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    path.mkdir()

    def move():
        path.rename(elsewhere)
        with pytest.raises(ValueError, match="is at work in it"), Run(elsewhere).lock():
            pass

    with pytest.warns(RuntimeWarning, match="No such file"), pytest.raises(
            FileNotFoundError, match="No such file") as caught:
        go_on(path, at({7: move}))
    assert str(path) in str(caught.value.filename)
    assert os.listdir(tmp_path) == ["elsewhere"]
    assert_as_whole(go_on(elsewhere), elsewhere, whole)


def test_a_copy_goes_on_as_the_run_does(whole, tmp_path):
    """Copied while it trains, half of a checkpoint included; both come to the same end."""
    path, copy = tmp_path / "run", tmp_path / "copy"
    path.mkdir()

    def copy_it():
        shutil.copytree(path, copy)
        shutil.copytree(copy / "checkpoints" / "step-00000006",
                        copy / "checkpoints" / ".step-00000008.7.tmp")
        (copy / "checkpoints" / ".step-00000008.7.tmp" / "state.json").unlink()

    assert_as_whole(go_on(path, at({7: copy_it})), path, whole)
    assert_as_whole(go_on(copy), copy, whole)


def test_a_clock_that_is_set_back(whole, tmp_path, monkeypatch):
    """An hour at each step, before and after a resume: no order depends on it."""
    real, back = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() - back[0])

    def set_back(trainer):
        back[0] += 3600.0
        for file in tmp_path.rglob("*"):
            os.utime(file, (real() - back[0],) * 2)

    go_on(tmp_path, set_back, max_steps=6)
    assert_as_whole(go_on(tmp_path, set_back), tmp_path, whole)
    seconds = [line["seconds"] for line in Run(tmp_path).read_log()]
    assert seconds == sorted(seconds) and seconds[0] > 0
