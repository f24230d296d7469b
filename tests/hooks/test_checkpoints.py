import errno
import os
import resource
from pathlib import Path

import pytest

from dcgan_mx import MnistIter, RandIter, Trainer, make_dcgan_sym
from dcgan_mx.data.datasets import make_discs
from dcgan_mx.engine.trainer_state import DivergenceError
from dcgan_mx.hooks import checkpoints, loggers
from dcgan_mx.hooks.checkpoints import Saver
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.run import Run
from dcgan_mx.system.runtime import mx


def small():
    mx.random.seed(0)
    return Trainer(*make_dcgan_sym(4, 4, 3, size=16), 4, (3, 16, 16), nz=5)


def fit(trainer, *all_hooks, max_steps=6):
    trainer.fit(MnistIter(make_discs(16), 4, (3, 16, 16)), RandIter(4, 5), 100, all_hooks,
                max_steps)


def list_steps(run_dir):
    return [int(path.name[5:]) for path in checkpoint.list_checkpoints(run_dir)]


@pytest.mark.parametrize("every, steps", [(None, [4, 8, 9]), (3, [3, 6, 9]), (100, [9])])
def test_saved_at_every_epochs_end_or_every_n_steps_and_at_the_end(every, steps, tmp_path):
    """In the background, it writes what `save` writes; what is saved is not saved again."""
    trainer, hook = small(), Saver(tmp_path, every, seed=7)
    fit(trainer, hook, max_steps=9)
    assert list_steps(tmp_path) == steps and hook.step == 9
    written = {p.name: p.read_bytes() for p in checkpoint.list_checkpoints(tmp_path)[-1].iterdir()}
    (tmp_path / "by-hand").mkdir()
    by_hand = checkpoint.save(tmp_path / "by-hand", trainer, seed=7)
    assert written == {p.name: p.read_bytes() for p in by_hand.iterdir()}
    (tmp_path / "again").mkdir()
    fit(trainer, Saver(tmp_path / "again", step=9), max_steps=9)
    assert list_steps(tmp_path / "again") == []


@pytest.fixture
def full_disk(monkeypatch):
    """Let `checkpoint.write` find no room so many times; returns the steps that it was given."""
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
    """A hook that gives the background its time: a step of a large network has it."""
    return lambda trainer: hook._writing and hook._writing.exception()


def test_one_failure_is_told_at_once_and_tried_again(full_disk, tmp_path):
    asked, failures = full_disk
    failures.append(1)
    hook = Saver(tmp_path, 2)
    with pytest.warns(RuntimeWarning, match="No space left.*goes on, and tries again") as caught:
        fit(small(), hook, wait_for_writing(hook), max_steps=5)
    assert len(caught) == 1
    assert asked == [2, 2, 4, 5] and list_steps(tmp_path) == [2, 4, 5]


def test_a_best_step_that_failed_is_not_lost_to_the_next_checkpoint(full_disk, tmp_path,
                                                                    monkeypatch):
    """Steps 1 and 3 are the best ones; 4 is to be saved before 3 would be tried again."""
    asked, failures = full_disk
    monkeypatch.setattr(checkpoints, "_PAUSE", 1e9)
    hook = Saver(tmp_path, 2, keep=1)

    def evaluate(trainer):
        wait_for_writing(hook)(trainer)
        failures.extend([1] * (trainer.global_step == 3))
        if trainer.global_step in (1, 3):
            hook.save(trainer, best=True)
            wait_for_writing(hook)(trainer)

    with pytest.warns(RuntimeWarning, match="No space left"):
        fit(small(), evaluate, hook)
    assert asked == [1, 2, 3, 4, 3, 6]
    assert list_steps(tmp_path) == [3, 6]
    assert hook.best_step == 3


def test_a_best_step_that_failed_is_tried_once_more_whatever_ends_it(full_disk, tmp_path):
    _, failures = full_disk
    failures.append(1)
    hook = Saver(tmp_path, 100)

    def end(trainer):
        hook.save(trainer, best=True)
        hook._writing.exception()
        raise DivergenceError("too far")

    with pytest.warns(RuntimeWarning, match="No space left"), pytest.raises(DivergenceError):
        fit(small(), end, hook)
    assert list_steps(tmp_path) == [1]


@pytest.mark.parametrize("error", [OSError("no paper"), KeyboardInterrupt()])
def test_whatever_ends_the_training_the_last_step_is_saved(error, tmp_path):
    def fail(trainer):
        if trainer.global_step == 5:
            raise error

    with pytest.raises(type(error), match=f"^{error}$"):
        fit(small(), fail, Saver(tmp_path, 3))
    assert list_steps(tmp_path) == [3, 5]


def test_half_a_step_and_numbers_that_are_not_finite_are_not_saved(tmp_path, monkeypatch):
    def poison(trainer):
        if trainer.global_step == 2:
            trainer.modG._exec_group.aux_arrays[0][0][:] = float("nan")

    trainer = small()
    with pytest.raises(DivergenceError, match="step 3: aux:gbn1_moving_mean of G"):
        fit(trainer, Saver(tmp_path), poison, max_steps=3)

    def fail(*_):  # between D's update and G's
        raise ValueError("no memory")

    monkeypatch.setattr(trainer.modG, "backward", fail)
    with pytest.raises(ValueError, match="no memory"):
        fit(trainer, Saver(tmp_path))
    assert list_steps(tmp_path) == []


@pytest.mark.slow
def test_memory_stays_flat(tmp_path):
    """2,000 steps with log, grids and checkpoints: after the first 200, within 5 %."""
    sizes = []

    def measure(trainer):
        if trainer.global_step in (200, 2000):
            mx.nd.waitall()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            sizes.append(pages * resource.getpagesize())

    run = Run(tmp_path)
    small().fit(MnistIter(make_discs(64), 4, (3, 16, 16)), RandIter(4, 5), 1000, max_steps=2000,
                hooks=[loggers.MetricLogger(50, loggers.JsonlLogger(run), loggers.make_grids(run)),
                       Saver(tmp_path, 50, keep=2), measure])
    assert sizes[1] < 1.05 * sizes[0]
