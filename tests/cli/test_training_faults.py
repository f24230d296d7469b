"""Faults of disk, folder and clock during a training do not change its results."""
import os
import time
from functools import partial

import pytest
from helpers.small import assert_same_state, small_trainer

from dcgan_mx import MnistIter, RandIter
from dcgan_mx.data.datasets import make_discs
from dcgan_mx.hooks import checkpoints
from dcgan_mx.hooks.base import LambdaHook
from dcgan_mx.hooks.checkpoints import Saver
from dcgan_mx.hooks.grids import GridLogger
from dcgan_mx.hooks.loggers import JsonlLogger, MetricLogger
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.run import Run
from tools.common import read_numbers


def resume(path, tamper=None, max_steps=12):
    """Start or resume a run, as `dcgan-mx train --resume` does; return its state."""
    run, trainer = Run(path), small_trainer(channels=2)
    with run.lock():
        checkpoint.load_latest(path, trainer)
        seconds = run.rewind(trainer.global_step)
        saver = Saver(path, 2, step=trainer.global_step)

        def act(trainer):
            saver.flush()  # so that the result does not depend on chance
            if tamper:
                tamper(trainer)

        hooks = [MetricLogger(1, JsonlLogger(run), GridLogger(run), seconds=seconds), saver,
                 LambdaHook(act)]
        trainer.fit(MnistIter(make_discs(20), 4, (3, 16, 16)), RandIter(4, 5), 100, hooks,
                    max_steps)
    return trainer.get_state()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The state, log and file names of an undisturbed run."""
    path = tmp_path_factory.mktemp("whole")
    return resume(path), read_numbers(path), list_files(path)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Retry failed writes at once, and do not sync: there is no power cut here."""
    monkeypatch.setattr(checkpoints, "_PAUSE", 0.0)
    monkeypatch.setattr(os, "fsync", lambda _: None)


def list_files(path):
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def assert_as_whole(state, path, whole, lost=()):
    """Bit-identical, except that grids and checkpoints of the steps in `lost` may be missing."""
    expected, log, files = whole
    assert_same_state(state, expected)
    assert read_numbers(path) == log
    missing = files - list_files(path)
    assert all(any(f"{step:08d}" in name for step in lost) for name in missing), missing
    assert list_files(path) <= files  # nothing incomplete is left
    for folder in Run(path).list_checkpoints():
        checkpoint.verify(folder)


def at(acts):
    """Return a function of the trainer that acts at some steps."""
    return lambda trainer: acts.get(trainer.global_step, lambda: None)()


def test_a_disk_that_is_full_for_some_steps(whole, limit_files, tmp_path):
    """The log's lines are kept and written later; so is the checkpoint."""
    with pytest.warns(RuntimeWarning, match="File too large") as caught:
        state = resume(tmp_path, at({3: partial(limit_files, 0), 8: limit_files}))
    assert any("checkpoints" in str(warning.message) for warning in caught)
    # The checkpoint of step 8 is begun on the full disk, and retried after step 9.
    assert_as_whole(state, tmp_path, whole, lost=range(4, 9))
    assert "checkpoints/step-00000010/state.json" in list_files(tmp_path)


def test_a_disk_that_stays_full_loses_nothing_written_before(whole, limit_files, tmp_path):
    with pytest.warns(RuntimeWarning, match="File too large"), pytest.raises(
            OSError, match="File too large"):
        resume(tmp_path, at({7: partial(limit_files, 0)}))
    with pytest.raises(OSError, match="File too large: .*lock"):
        resume(tmp_path)
    limit_files()
    assert [int(path.name[5:]) for path in Run(tmp_path).list_checkpoints()] == [2, 4, 6]
    assert_as_whole(resume(tmp_path), tmp_path, whole)


def test_a_moved_folder_ends_the_training_and_can_be_resumed(whole, tmp_path):
    """Nothing is created in the old place."""
    path, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    path.mkdir()

    def move():
        path.rename(elsewhere)
        with pytest.raises(ValueError, match="process"), Run(elsewhere).lock():
            pass

    with pytest.warns(RuntimeWarning, match="No such file"), pytest.raises(
            FileNotFoundError, match="No such file") as caught:
        resume(path, at({7: move}))
    assert str(path) in str(caught.value.filename)
    assert os.listdir(tmp_path) == ["elsewhere"]
    assert_as_whole(resume(elsewhere), elsewhere, whole)


def test_a_clock_that_is_set_back_does_not_matter(whole, tmp_path, monkeypatch):
    """By an hour at each step, before and after a resume."""
    real, back = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() - back[0])

    def set_back(trainer):
        back[0] += 3600.0
        for file in tmp_path.rglob("*"):
            os.utime(file, (real() - back[0],) * 2)

    resume(tmp_path, set_back, max_steps=6)
    assert_as_whole(resume(tmp_path, set_back), tmp_path, whole)
    seconds = [line["seconds"] for line in Run(tmp_path).read_log()]
    assert seconds == sorted(seconds) and seconds[0] > 0
