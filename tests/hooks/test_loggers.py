import re

import cv2
import numpy as np
import pytest
from helpers.small import small_trainer

from dcgan_mx import MnistIter, RandIter
from dcgan_mx.data.datasets import make_discs
from dcgan_mx.hooks.base import LambdaHook, Logger, Record
from dcgan_mx.hooks.grids import GridLogger
from dcgan_mx.hooks.loggers import JsonlLogger, MetricLogger
from dcgan_mx.hooks.progress import Progress
from dcgan_mx.runs.run import Run
from dcgan_mx.visual import make_grid, standardize


def fit(hooks, max_steps=6, trainer=None, **options):
    trainer = trainer or small_trainer(**options)
    trainer.fit(MnistIter(make_discs(16), 4, (3, 16, 16)), RandIter(4, 5), 100, hooks, max_steps)
    return trainer


def make_run(path):
    path.mkdir()
    return Run(path)


def test_records_average_the_steps_since_the_last(tmp_path):
    """A record every third step against the records of every step.

    An end at the seventh step adds a record, and the averages continue unchanged.
    """
    each = make_run(tmp_path / "1")
    fit([MetricLogger(1, JsonlLogger(each))], 9)
    steps = each.read_log()
    assert [(line["step"], line["epoch"]) for line in steps] == [(i, i // 4) for i in range(1, 10)]
    run = make_run(tmp_path / "3")
    trainer = fit([MetricLogger(3, JsonlLogger(run), GridLogger(run))], 7)
    assert trainer.metrics.get_state()["counts"] == {"d": 2, "g": 1}
    fit([MetricLogger(3, JsonlLogger(run))], 9, trainer)
    lines = run.read_log()
    assert [(line["step"], line.get("last")) for line in lines] == [
        (3, None), (6, None), (7, True), (9, None)]
    assert [*run.list_grids("gout")] == [3, 6, 7]
    for line, parts in zip(lines, (steps[:3], steps[3:6], steps[6:7], steps[6:])):
        for name in ("acc", "d_entropy", "g_entropy"):
            assert line[name] == pytest.approx(np.mean([part[name] for part in parts]), rel=1e-6)
    seconds = [line["seconds"] for line in lines[:2]]
    assert 0 < seconds[0] < seconds[1]
    assert lines[1]["images_per_s"] == pytest.approx(3 * 4 / (seconds[1] - seconds[0]))


def test_hooks_after_a_record_get_its_averages_also_in_a_second_training(tmp_path):
    run, seen = make_run(tmp_path / "run"), []
    hooks = [MetricLogger(2, JsonlLogger(run)),
             LambdaHook(lambda trainer: seen.append(trainer.metrics.get()["acc"]))]
    for _ in range(2):
        fit(hooks, 4)
    lines = run.read_log()
    assert seen[1::2] == [line["acc"] for line in lines]
    assert all(line["images_per_s"] > 0 for line in lines)


def test_a_record_that_is_not_json_is_left_out(tmp_path):
    logger = JsonlLogger(make_run(tmp_path / "run"))
    metrics = MetricLogger(1, logger)
    wrong = LambdaHook(lambda trainer: trainer.global_step == 2 and metrics.log(
        Record("evaluation", 2, {"swd": np.float32(1)}, {})))
    with pytest.warns(RuntimeWarning, match="JsonlLogger: .*: step 2 is not written there"):
        fit([metrics, wrong], 4)
    assert [line["step"] for line in Run(tmp_path / "run").read_log()] == [1, 2, 3, 4]


def test_a_logger_that_fails_warns_once_and_loses_no_log_line(tmp_path):
    """The run is away for steps 3, 4 and 6, 7; the third and fourth logger always fail.

    It is an error if a log cannot be written at the end.
    """
    run, away = make_run(tmp_path / "run"), tmp_path / "away"

    class Window(Logger):
        def log(self, record):
            raise RuntimeError("no display")

    def move(trainer):
        if trainer.global_step in (2, 5):
            run.path.rename(away)
        elif trainer.global_step in (4, 7):
            away.rename(run.path)

    loggers = (JsonlLogger(run), GridLogger(run), GridLogger(Run(tmp_path / "no" / "r")),
               Window())
    with pytest.warns(RuntimeWarning) as caught:
        fit([MetricLogger(1, *loggers), LambdaHook(move)], 8)
    assert [line["step"] for line in run.read_log()] == [*range(1, 9)]
    assert [*run.list_grids("data")] == [1, 2, 5, 8]
    messages = [str(warning.message) for warning in caught]
    assert all("is not written there; the training continues" in text for text in messages)
    for name, steps in (("log.jsonl", [3, 6]), ("run/grids", [3, 6]), ("no/r", [1]),
                        ("Window: no display", [1])):
        assert [int(re.search(r"step (\d)", text)[1]) for text in messages if name in text] == steps
    with pytest.warns(RuntimeWarning), pytest.raises(OSError, match="nowhere"):
        fit([MetricLogger(1, JsonlLogger(Run(tmp_path / "nowhere")))], max_steps=2)


def test_grids_show_the_images_of_the_step(tmp_path):
    """If the step did not update G, there is no grid of its gradient."""
    expected = {}

    def keep(trainer):
        if trainer.global_step % 3:
            return
        images = {"gout": trainer.outG.asnumpy(), "data": trainer.batch.data[0].asnumpy()}
        if trainer.global_step == 6:
            images["diff"] = standardize(trainer.diffD.asnumpy())
        expected.update({f"{name}-{trainer.global_step:08d}.png": make_grid(array)
                         for name, array in images.items()})

    fit([LambdaHook(keep), MetricLogger(3, GridLogger(Run(tmp_path)))], d_steps=2)
    written = {path.name: cv2.imread(str(path))[..., ::-1]
               for path in (tmp_path / "grids").iterdir()}
    assert written.keys() == expected.keys() and len(written) == 5
    for name, grid in expected.items():
        np.testing.assert_array_equal(written[name], grid)
    # Without loggers, as on workers other than rank 0, no images are copied.
    fit([LambdaHook(lambda trainer: setattr(trainer, "outG", None)), MetricLogger(1)])


def test_progress_shows_steps_and_metrics(capsys):
    progress = Progress(6, quiet=False)
    fit([progress, MetricLogger(2, progress)])
    shown = capsys.readouterr().err
    assert "6/6" in shown
    for word in ("training: ", "images/s", "acc of D 0.", "of G ", "entropy of D "):
        assert word in shown
    assert "step/s" in shown or "s/step" in shown  # the latter if a step takes longer than 1 s


def test_bar_follows_the_device_where_it_is_redrawn(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("dcgan_mx.engine.progress._PAUSE", 0)
    ahead = []
    fit([Progress(6, quiet=False), LambdaHook(lambda trainer: ahead.append(
        len(trainer.metrics._pending)))], 6)
    assert ahead == [3] * 6  # the predictions of the step in progress


@pytest.mark.parametrize("terminal, hooks, shows", [
    (True, None, True), (False, None, False), (True, (), False)])
def test_fit_shows_progress_by_default_on_a_terminal(terminal, hooks, shows, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    trainer = fit(hooks, 12)
    shown = capsys.readouterr().err
    assert ("12/12" in shown and "images/s, acc of D 0." in shown) == bool(shown) == shows
    assert trainer.metrics.get_state()["counts"] == {"d": 24, "g": 12}  # nothing is reset
