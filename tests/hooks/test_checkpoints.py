import errno
import os
import threading
from concurrent.futures import Future

import numpy as np
import pytest
from helpers.small import small_trainer as small

from dcgan_mx import MnistIter, RandIter
from dcgan_mx.data.datasets import make_discs
from dcgan_mx.hooks import checkpoints
from dcgan_mx.hooks.base import LambdaHook
from dcgan_mx.hooks.checkpoints import Saver
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.run import Run
from dcgan_mx.trainer import DivergenceError


def fit(trainer, *hooks, max_steps=6):
    trainer.fit(MnistIter(make_discs(16), 4, (3, 16, 16)), RandIter(4, 5), 100, hooks, max_steps)


def list_steps(run_dir):
    return [int(path.name[5:]) for path in Run(run_dir).list_checkpoints()]


@pytest.mark.parametrize("every, steps", [(None, [4, 8, 9]), (3, [3, 6, 9]), (100, [9])])
def test_saver_saves_on_schedule_and_at_the_end(every, steps, tmp_path):
    """It writes the same bytes as `save`, and no step twice."""
    trainer, hook = small(), Saver(tmp_path, every, seed=7)
    fit(trainer, hook, max_steps=9)
    assert list_steps(tmp_path) == steps and hook.step == 9
    written = {p.name: p.read_bytes() for p in Run(tmp_path).list_checkpoints()[-1].iterdir()}
    (tmp_path / "by-hand").mkdir()
    by_hand = checkpoint.save(tmp_path / "by-hand", trainer, seed=7)
    assert written == {p.name: p.read_bytes() for p in by_hand.iterdir()}
    (tmp_path / "again").mkdir()
    fit(trainer, Saver(tmp_path / "again", step=9), max_steps=9)
    assert list_steps(tmp_path / "again") == []


def test_a_saver_saves_in_a_second_training_too(tmp_path):
    """Also NumPy's integers are written."""
    trainer, hook = small(np.int64(4)), Saver(tmp_path, 3, seed=np.int64(7))
    for max_steps in (4, 8):
        fit(trainer, hook, max_steps=max_steps)
    assert list_steps(tmp_path) == [3, 4, 6, 8]


def test_a_hook_may_save_the_same_steps(tmp_path):
    fit(small(), Saver(tmp_path, 1), LambdaHook(lambda t: checkpoint.save(tmp_path, t)))
    assert list_steps(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_a_saver_replaces_the_steps_of_a_training_that_was_rewound(tmp_path):
    trainer, hook = small(), Saver(tmp_path, 3)
    start = trainer.get_state()
    fit(trainer, hook, max_steps=3)
    first = Run(tmp_path).list_checkpoints()[0]
    before = (first / "G-0000.params").read_bytes()
    trainer.set_state(start)
    trainer.modG._optimizer.set_learning_rate(0.1)
    fit(trainer, hook, max_steps=3)
    assert (first / "G-0000.params").read_bytes() != before and list_steps(tmp_path) == [3]


@pytest.fixture
def full_disk(monkeypatch):
    """`checkpoint.write` fails once per element of `failures`; `asked` lists its steps."""
    asked, failures = [], []
    write = checkpoint.write

    def refuse(run_dir, state, *args):
        asked.append(state["counters"]["step"])
        if failures:
            failures.pop()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run_dir))
        return write(run_dir, state, *args)

    monkeypatch.setattr(checkpoint, "write", refuse)
    monkeypatch.setattr(checkpoints, "_PAUSE", 0.0)
    return asked, failures


def wait_for_writing(hook):
    """A hook that waits for the writing thread, as a step of a large network does."""
    return LambdaHook(lambda trainer: hook.flush())


def test_a_failed_write_warns_once_and_is_retried(full_disk, tmp_path):
    asked, failures = full_disk
    failures.append(1)
    hook = Saver(tmp_path, 2)
    with pytest.warns(RuntimeWarning, match="No space left.*continues and tries again") as caught:
        fit(small(), hook, wait_for_writing(hook), max_steps=5)
    assert len(caught) == 1
    assert asked == [2, 2, 4, 5] and list_steps(tmp_path) == [2, 4, 5]


def test_a_failed_best_step_is_written_with_the_next_checkpoint(full_disk, tmp_path, monkeypatch):
    """Steps 1 and 3 are the best; 4 is due before 3 is retried."""
    asked, failures = full_disk
    monkeypatch.setattr(checkpoints, "_PAUSE", 1e9)
    hook = Saver(tmp_path, 2, keep=1)

    def evaluate(trainer):
        wait_for_writing(hook).on_step(trainer)
        failures.extend([1] * (trainer.global_step == 3))
        if trainer.global_step in (1, 3):
            hook.save(trainer, best=True)
            wait_for_writing(hook).on_step(trainer)

    with pytest.warns(RuntimeWarning, match="No space left"):
        fit(small(), LambdaHook(evaluate), hook)
    assert asked == [1, 2, 3, 4, 3, 6]
    assert list_steps(tmp_path) == [3, 6]
    assert hook.best_step == 3


def test_a_failed_best_step_is_retried_at_the_end_even_after_divergence(full_disk, tmp_path):
    _, failures = full_disk
    failures.append(1)
    hook = Saver(tmp_path, 100)

    def end(trainer):
        hook.save(trainer, best=True)
        hook.flush()
        raise DivergenceError("too far")

    with pytest.warns(RuntimeWarning, match="No space left"), pytest.raises(DivergenceError):
        fit(small(), LambdaHook(end), hook)
    assert list_steps(tmp_path) == [1]


@pytest.mark.parametrize("error", [OSError("no paper"), KeyboardInterrupt()])
def test_the_last_step_is_saved_after_any_error(error, tmp_path):
    def fail(trainer):
        if trainer.global_step == 5:
            raise error

    with pytest.raises(type(error), match=f"^{error}$"):
        fit(small(), LambdaHook(fail), Saver(tmp_path, 3))
    assert list_steps(tmp_path) == [3, 5]


def test_the_last_step_is_saved_after_ctrl_c_during_the_wait_for_a_checkpoint(
        tmp_path, monkeypatch):
    write, interrupted, waited = checkpoint.write, threading.Event(), Future.result

    def write_slowly(*args):
        assert interrupted.wait(60)
        write(*args)

    def interrupt(self, timeout=None):
        if self is not saver._writing or interrupted.is_set():
            return waited(self, timeout)
        interrupted.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write", write_slowly)
    monkeypatch.setattr(Future, "result", interrupt)
    saver = Saver(tmp_path, 2)
    with pytest.raises(KeyboardInterrupt):
        fit(small(), saver)
    assert list_steps(tmp_path) == [2, 4]


def test_an_incomplete_or_diverged_step_is_not_saved(tmp_path, monkeypatch):
    def poison(trainer):
        if trainer.global_step == 2:
            trainer.modG._exec_group.aux_arrays[0][0][:] = float("nan")

    trainer = small()
    with pytest.raises(DivergenceError, match="step 3: aux:gbn1_moving_mean of G"):
        fit(trainer, Saver(tmp_path), LambdaHook(poison), max_steps=3)

    def fail(*_):  # between the updates of D and G
        raise ValueError("no memory")

    monkeypatch.setattr(trainer.modG, "backward", fail)
    with pytest.raises(ValueError, match="no memory"):
        fit(trainer, Saver(tmp_path))
    assert list_steps(tmp_path) == []
