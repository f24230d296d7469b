import re

import cv2
import numpy as np
import pytest

from dcgan_mx import MnistIter, RandIter, Trainer, make_dcgan_sym
from dcgan_mx.data.datasets import make_discs
from dcgan_mx.machine.runtime import mx
from dcgan_mx.runs.run import Run
from dcgan_mx.training import hooks
from dcgan_mx.training.progress import Progress
from dcgan_mx.training.trainer_state import DivergenceError
from dcgan_mx.visual import make_grid, standardise


def train(*all_hooks, max_steps=6, **options):
    trainer = Trainer(*make_dcgan_sym(4, 4, 3, size=16), 4, (3, 16, 16), nz=5, **options)
    trainer.fit(MnistIter(make_discs(16), 4, (3, 16, 16)), RandIter(4, 5), 100, all_hooks,
                max_steps)
    return trainer


def make_run(path):
    path.mkdir()
    return Run(path)


def test_log_lines_average_the_steps_since_the_last(tmp_path):
    """A line every second step against two lines of a run that writes one every step."""
    logs = {}
    for n in (1, 2):
        mx.random.seed(0)
        run = make_run(tmp_path / f"{n}")
        train(hooks.DisplayEvery(n, hooks.Log(run)))
        logs[n] = run.read_log()
    assert [line["step"] for line in logs[1]] == [1, 2, 3, 4, 5, 6]
    assert [(line["step"], line["epoch"]) for line in logs[2]] == [(2, 0), (4, 1), (6, 1)]
    for line, first, second in zip(logs[2], logs[1][::2], logs[1][1::2]):
        for name in ("acc", "d_entropy", "g_entropy"):
            assert line[name] == pytest.approx((first[name] + second[name]) / 2, rel=1e-6)
    seconds = [line["seconds"] for line in logs[2]]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    # 2 steps of 4 images each between two lines
    assert logs[2][2]["images_per_s"] == pytest.approx(8 / (seconds[2] - seconds[1]))


def test_the_last_step_is_displayed_whatever_the_interval(tmp_path):
    """7 steps, a line every 3: the seventh has one by itself, and the averages go on unchanged."""
    ends = []
    for name, steps in (("whole", 9), ("stopped", 7)):
        mx.random.seed(0)
        run = make_run(tmp_path / name)
        trainer = train(hooks.DisplayEvery(3, hooks.Log(run), hooks.make_grids(run)),
                        max_steps=steps)
        ends.append((run, trainer))
    (whole, _), (run, trainer) = ends
    lines = run.read_log()
    assert [(line["step"], line.get("last")) for line in lines] == [(3, None), (6, None), (7, True)]
    assert [*run.list_grids("gout")] == [3, 6, 7]
    assert [line["step"] for line in whole.read_log()] == [3, 6, 9]
    before = trainer.metrics.get_state()["counts"]
    assert before == {"d": 2, "g": 1}
    trainer.fit(MnistIter(make_discs(16), 4, (3, 16, 16)), RandIter(4, 5), 100, max_steps=9,
                hooks=[hooks.DisplayEvery(3, hooks.Log(run))])
    for name in ("acc", "d_entropy", "g_entropy"):
        assert run.read_log()[-1][name] == whole.read_log()[-1][name]


def test_a_display_that_cannot_write_is_told_and_loses_nothing(tmp_path):
    """The log's folder is away for steps 3 and 4; the grids' for good."""
    run = make_run(tmp_path / "run")
    away = tmp_path / "away"

    def move(trainer):
        if trainer.global_step == 2:
            run.path.rename(away)
        elif trainer.global_step == 4:
            away.rename(run.path)

    with pytest.warns(RuntimeWarning) as caught:
        train(hooks.DisplayEvery(1, hooks.Log(run), hooks.make_grids(Run(tmp_path / "no" / "r"))),
              move, max_steps=6)
    assert [line["step"] for line in run.read_log()] == [1, 2, 3, 4, 5, 6]
    said = [str(w.message) for w in caught]
    assert sum("log.jsonl" in line for line in said) == 1  # and no more until it works again
    assert sum(str(tmp_path / "no" / "r") in line for line in said) == 1
    assert all("is not shown there; the training goes on" in line for line in said)


def test_what_fails_again_is_told_again(tmp_path):
    """Away after steps 2 to 3 and 5 to 6: steps 3, 4 and 6, 7 fail."""
    run = make_run(tmp_path / "run")
    away = tmp_path / "away"

    def move(trainer):
        if trainer.global_step in (2, 5):
            run.path.rename(away)
        elif trainer.global_step in (4, 7):
            away.rename(run.path)

    with pytest.warns(RuntimeWarning) as caught:
        train(hooks.DisplayEvery(1, hooks.make_grids(run)), move, max_steps=8)
    assert [re.search(r"step \d", str(w.message))[0] for w in caught] == ["step 3", "step 6"]
    assert [*run.list_grids("data")] == [1, 2, 5, 8]


def test_a_log_that_can_never_be_written_fails_at_the_end(tmp_path):
    with pytest.warns(RuntimeWarning), pytest.raises(OSError, match="nowhere"):
        train(hooks.DisplayEvery(1, hooks.Log(Run(tmp_path / "nowhere"))), max_steps=2)


def test_grids_are_the_steps_own_images(tmp_path):
    expected = {}

    def keep(trainer):
        if trainer.global_step % 3 == 0:
            for name, images in (("gout", trainer.outG.asnumpy()),
                                 ("diff", standardise(trainer.diffD.asnumpy())),
                                 ("data", trainer.batch.data[0].asnumpy())):
                expected[f"{name}-{trainer.global_step:08d}.png"] = make_grid(images)

    train(keep, hooks.DisplayEvery(3, hooks.make_grids(Run(tmp_path))))
    written = {path.name: cv2.imread(str(path))[..., ::-1]
               for path in (tmp_path / "grids").iterdir()}
    assert written.keys() == expected.keys() and len(written) == 6
    for name, grid in expected.items():
        np.testing.assert_array_equal(written[name], grid)


def test_no_gradient_grid_before_g_was_trained(tmp_path):
    train(hooks.DisplayEvery(1, hooks.make_grids(Run(tmp_path))), max_steps=1, d_steps=2)
    assert sorted(p.name for p in (tmp_path / "grids").iterdir()) == ["data-00000001.png",
                                                                       "gout-00000001.png"]


def test_numbers_that_are_not_finite_are_not_shown():
    shown = []

    def poison(trainer):
        if trainer.global_step == 2:
            trainer.modG._exec_group.aux_arrays[0][0][:] = np.nan

    with pytest.raises(DivergenceError, match="step 3: aux:gbn1_moving_mean of G"):
        train(poison, hooks.DisplayEvery(3, lambda trainer, record: shown.append(record["step"])))
    assert shown == []


def test_progress_shows_the_numbers(capsys):
    progress = Progress(6, quiet=False)
    train(progress, hooks.DisplayEvery(2, progress.show))
    shown = capsys.readouterr().err
    assert "6/6" in shown
    for word in ("training: ", "images/s", "acc of D 0.", "of G ", "entropy of D ", "step/s"):
        assert word in shown


def test_fit_shows_its_progress_by_itself_where_somebody_reads(capsys, monkeypatch):
    """A bar of its own on a terminal, none elsewhere, none where there are hooks."""
    for terminal, hooks_given, shows in ((True, None, True), (False, None, False),
                                         (True, (), False)):
        monkeypatch.setattr("sys.stderr.isatty", lambda terminal=terminal: terminal, raising=False)
        trainer = Trainer(*make_dcgan_sym(4, 4, 3, size=16), 4, (3, 16, 16), nz=5)
        trainer.fit(MnistIter(make_discs(40), 4, (3, 16, 16)), RandIter(4, 5), 2, hooks_given, 15)
        shown = capsys.readouterr().err
        assert ("15/15" in shown and "images/s, acc of D 0." in shown) == shows
        assert bool(shown) == shows
        assert trainer.metrics.get_state()["counts"] == {"d": 30, "g": 15}  # nothing is reset
