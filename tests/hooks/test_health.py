"""Warnings of failing trainings.

`training_curves.json` has real trainings, each with its command and, of every tenth step, the
accuracy of D, both entropies, the variance between the images of a batch, and its share of the
variance of all pixels; the last two relative to real images.
"""
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.small import small_trainer

from dcgan_mx import MnistIter, RandIter, train
from dcgan_mx.data.datasets import make_discs
from dcgan_mx.hooks import health
from dcgan_mx.hooks.base import LambdaHook, Record
from dcgan_mx.hooks.health import TrainingHealth
from dcgan_mx.hooks.loggers import JsonlLogger, MetricLogger, TensorBoardLogger
from dcgan_mx.hooks.progress import Progress
from dcgan_mx.runs.run import Run

SHAPE = (3, 16, 16)
CURVES = json.loads((Path(__file__).parent / "training_curves.json").read_text())
FAILURES = {
    "defaults, seed 1": {"mode_collapse": 340, "discriminator_wins": 390},
    "high rates": {"mode_collapse": 450, "discriminator_wins": 460},
    "high rate of D": {"oscillation": 300},
    "low rate of D": {"no_learning": 300, "mode_collapse": 300}}


def make_images(variance, share):
    """Two images of two pixels with a variance between them, and its share of the whole."""
    between, common = variance**0.5, (variance / share - variance)**0.5 if share else 1.0
    return np.reshape([[between + common, between - common],
                       [common - between, -common - between]], (2, 1, 1, 2))


def make_records(lines):
    for step, (acc, d_entropy, g_entropy, variance, share) in enumerate(lines, 1):
        values = {"epoch": 0, "step": 10 * step, "acc": acc, "d_entropy": d_entropy,
                  "g_entropy": g_entropy, "seconds": 1.0}
        images = {"gout": make_images(0.22 * variance, 0.65 * share),
                  "data": make_images(0.22, 0.65)}
        yield Record("training", 10 * step, values, images)


@pytest.mark.parametrize("name", CURVES)
def test_failing_trainings_are_recognized_and_others_are_not(name):
    """A resumed training warns of the same failures, except that it counts a collapse again."""
    records, found, log = [*make_records(CURVES[name]["lines"])], [], []
    checked, resumed = TrainingHealth(preset="digits"), TrainingHealth()
    for i, record in enumerate(records):
        if i % 7 == 0:
            resumed = TrainingHealth(log, "digits")
        warnings = checked.check(record)
        found += warnings
        again = resumed.check(record)
        ours, theirs = ([warning for warning in each if warning.values["warning"] !=
                         "mode_collapse"] for each in (warnings, again))
        assert ours == theirs
        log += [record.values, *(warning.values for warning in warnings)]
    assert {warning.values["warning"]: warning.step for warning in found} == FAILURES.get(name, {})
    assert all(warning.values["message"].endswith(", or --preset digits") == (
        warning.values["warning"] != "no_learning") for warning in found)


def test_no_failure_is_seen_where_g_is_not_updated():
    """As with --d-steps 1000: only D's numbers are logged."""
    checked = TrainingHealth()
    for record in make_records([(1.0, 0.69, None, 1.0, 1.0)] * 60):
        assert checked.check(record) == []


def test_a_collapse_is_shown_and_logged_once(monkeypatch, tmp_path):
    """A tiny network with a learning rate far too high; it collapses in about 60 steps."""
    monkeypatch.setattr(health, "_STEPS", 60)
    run, trainer = Run(tmp_path), small_trainer(16, lr=0.1, beta1=0.9)
    loggers = Progress(160, quiet=True), JsonlLogger(run), TensorBoardLogger(run)
    hook = MetricLogger(10, *loggers, health=TrainingHealth())
    with pytest.warns(RuntimeWarning) as caught:
        trainer.fit(MnistIter(make_discs(128), 16, SHAPE), RandIter(16, 5), None, [hook], 160)
    warned = [line for line in run.read_log() if "warning" in line]
    kinds = [line["warning"] for line in warned]
    assert {*kinds} >= {"mode_collapse", "discriminator_wins"} and len({*kinds}) == len(kinds)
    assert [f"step {line['step']}: {line['message']}" for line in warned] == [
        str(warning.message) for warning in caught]
    assert not any("--preset" in line["message"] for line in warned)
    assert len(run.read_log()) == 16 + len(warned)


def test_one_batch_of_similar_images_is_no_collapse():
    """With more than 300 steps between the lines of the log."""
    line = {"epoch": 0, "acc": 0.8, "d_entropy": 0.5, "g_entropy": 2.0, "seconds": 1.0}
    images = {"gout": make_images(0.001, 0.01), "data": make_images(0.22, 0.65)}
    checked = TrainingHealth()
    found = [[warning.values["warning"] for warning in checked.check(
        Record("training", step, {**line, "step": step}, images))] for step in (500, 1000)]
    assert found == [[], ["mode_collapse"]]


@pytest.mark.slow
def test_the_failing_seed_of_the_reference_settings_is_recognized(mnist_root, tmp_path):
    """With `--seed 1` D wins, and G generates the same noise for all latent vectors."""
    def stop(trainer):
        if trainer.global_step % 10 == 0 and any("warning" in line for line in run.read_log()):
            trainer.request_stop()

    run = Run(tmp_path / "run")
    with pytest.warns(RuntimeWarning, match="mode collapse|the discriminator has won"):
        train(dataset="mnist", data_path=mnist_root, seed=1, max_steps=700, run_dir=run.path,
              hooks=[LambdaHook(stop)])
    assert "Warning, step " in (run.path / "report.html").read_text()
