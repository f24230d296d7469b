import re

import cv2
import numpy as np
import pytest

from dcgan_mx import MnistIter, RandIter, Trainer, make_dcgan_sym
from dcgan_mx.data.datasets import make_discs
from dcgan_mx.engine.trainer_state import DivergenceError
from dcgan_mx.hooks import loggers
from dcgan_mx.hooks.progress import Progress
from dcgan_mx.runs.run import Run
from dcgan_mx.system.runtime import mx
from dcgan_mx.visual import make_grid, standardise


def fit(all_hooks, max_steps=6, trainer=None, **options):
    if trainer is None:
        mx.random.seed(0)
        trainer = Trainer(*make_dcgan_sym(4, 4, 3, size=16), 4, (3, 16, 16), nz=5, **options)
    trainer.fit(MnistIter(make_discs(16), 4, (3, 16, 16)), RandIter(4, 5), 100, all_hooks,
                max_steps)
    return trainer


def make_run(path):
    path.mkdir()
    return Run(path)


def test_log_lines_average_the_steps_since_the_last(tmp_path):
    """A line every third step against lines of the same run for every one.

    Stopped at the seventh, that has a line by itself, and the averages go on unchanged.
    """
    every = make_run(tmp_path / "1")
    fit([loggers.MetricLogger(1, loggers.JsonlLogger(every))], 9)
    steps = every.read_log()
    assert [(line["step"], line["epoch"]) for line in steps] == [(i, i // 4) for i in range(1, 10)]
    run = make_run(tmp_path / "3")
    trainer = fit([loggers.MetricLogger(3, loggers.JsonlLogger(run), loggers.make_grids(run))], 7)
    assert trainer.metrics.get_state()["counts"] == {"d": 2, "g": 1}
    fit([loggers.MetricLogger(3, loggers.JsonlLogger(run))], 9, trainer)
    lines = run.read_log()
    assert [(line["step"], line.get("last")) for line in lines] == [
        (3, None), (6, None), (7, True), (9, None)]
    assert [*run.list_grids("gout")] == [3, 6, 7]
    for line, parts in zip((*lines[:3], lines[3]), (steps[:3], steps[3:6], steps[6:7], steps[6:])):
        for name in ("acc", "d_entropy", "g_entropy"):
            assert line[name] == pytest.approx(np.mean([part[name] for part in parts]), rel=1e-6)
    seconds = [line["seconds"] for line in lines[:2]]
    assert 0 < seconds[0] < seconds[1]
    # 3 steps of 4 images each between two lines
    assert lines[1]["images_per_s"] == pytest.approx(12 / (seconds[1] - seconds[0]))


def test_a_display_that_cannot_write_is_told_each_time_and_loses_nothing_of_the_log(tmp_path):
    """Away after steps 2 to 3 and 5 to 6: steps 3, 4 and 6, 7 fail; other grids, for good."""
    run, away = make_run(tmp_path / "run"), tmp_path / "away"

    def move(trainer):
        if trainer.global_step in (2, 5):
            run.path.rename(away)
        elif trainer.global_step in (4, 7):
            away.rename(run.path)

    with pytest.warns(RuntimeWarning) as caught:
        fit([loggers.MetricLogger(1, loggers.JsonlLogger(run), loggers.make_grids(run),
                                loggers.make_grids(Run(tmp_path / "no" / "r"))), move], 8)
    assert [line["step"] for line in run.read_log()] == [*range(1, 9)]
    assert [*run.list_grids("data")] == [1, 2, 5, 8]
    said = [str(w.message) for w in caught]
    assert all("is not shown there; the training goes on" in line for line in said)
    for name, steps in (("log.jsonl", [3, 6]), ("run/grids", [3, 6]), ("no/r", [1])):
        assert [int(re.search(r"step (\d)", line)[1]) for line in said if name in line] == steps


def test_a_log_that_can_never_be_written_fails_at_the_end(tmp_path):
    with pytest.warns(RuntimeWarning), pytest.raises(OSError, match="nowhere"):
        fit([loggers.MetricLogger(1, loggers.JsonlLogger(Run(tmp_path / "nowhere")))], max_steps=2)


def test_grids_are_the_steps_own_images(tmp_path):
    """Where G was not trained, there is no gradient."""
    expected = {}

    def keep(trainer):
        assert (trainer.diffD is None) == (trainer.global_step == 3)
        images = {"gout": trainer.outG.asnumpy(), "data": trainer.batch.data[0].asnumpy()}
        if trainer.diffD is not None:
            images["diff"] = standardise(trainer.diffD.asnumpy())
        expected.update({f"{name}-{trainer.global_step:08d}.png": make_grid(array)
                         for name, array in images.items()})

    fit([lambda trainer: trainer.global_step % 3 or keep(trainer),
         loggers.MetricLogger(3, loggers.make_grids(Run(tmp_path)))], d_steps=2)
    written = {path.name: cv2.imread(str(path))[..., ::-1]
               for path in (tmp_path / "grids").iterdir()}
    assert written.keys() == expected.keys() and len(written) == 5
    for name, grid in expected.items():
        np.testing.assert_array_equal(written[name], grid)


def test_numbers_that_are_not_finite_are_not_shown():
    shown = []

    def poison(trainer):
        if trainer.global_step == 2:
            trainer.modG._exec_group.aux_arrays[0][0][:] = np.nan

    with pytest.raises(DivergenceError, match="step 3: aux:gbn1_moving_mean of G"):
        fit([poison, loggers.MetricLogger(3, lambda trainer, record: shown.append(record["step"]))])
    assert shown == []


def test_progress_shows_the_numbers(capsys):
    progress = Progress(6, quiet=False)
    fit([progress, loggers.MetricLogger(2, progress.show)])
    shown = capsys.readouterr().err
    assert "6/6" in shown
    for word in ("training: ", "images/s", "acc of D 0.", "of G ", "entropy of D ", "step/s"):
        assert word in shown


@pytest.mark.parametrize("terminal, hooks_given, shows", [
    (True, None, True), (False, None, False), (True, (), False)])
def test_fit_shows_its_progress_by_itself_where_somebody_reads(terminal, hooks_given, shows,
                                                               capsys, monkeypatch):
    """A bar of its own on a terminal, none elsewhere, none where there are hooks."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    trainer = fit(hooks_given, 15)
    shown = capsys.readouterr().err
    assert ("15/15" in shown and "images/s, acc of D 0." in shown) == bool(shown) == shows
    assert trainer.metrics.get_state()["counts"] == {"d": 30, "g": 15}  # nothing is reset
