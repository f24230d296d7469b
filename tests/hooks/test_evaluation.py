import numpy as np
import pytest
from helpers.small import small_trainer

from dcgan_mx import MnistIter, RandIter
from dcgan_mx.data.datasets import make_discs
from dcgan_mx.hooks.base import LambdaHook
from dcgan_mx.hooks.checkpoints import Saver
from dcgan_mx.hooks.evaluation import EvaluationHook
from dcgan_mx.hooks.loggers import JsonlLogger, MetricLogger
from dcgan_mx.runs.run import Run
from dcgan_mx.trainer import DivergenceError


class StubEvaluator:
    """Returns the next of some results; raises those that are errors."""

    def __init__(self, *results):
        self.results = [*results]

    def evaluate(self, images):
        assert images.shape == (8, 3, 16, 16)
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def fit(path, *results, hooks=(), logged=()):
    """Train six steps with an evaluation of every second; return how often workers communicated."""
    trainer, calls, metrics = small_trainer(), [], MetricLogger(100, JsonlLogger(Run(path)))
    gather = trainer.workers.all_gather
    trainer.workers.all_gather = lambda values: calls.append(values) or gather(values)
    saver = Saver(path, 100)
    hook = EvaluationHook(2, saver, metrics, StubEvaluator(*results), 8, logged)
    trainer.fit(MnistIter(make_discs(16), 4, (3, 16, 16)), RandIter(4, 5), 100,
                [*hooks, metrics, hook, saver], 6)
    return len(calls)


def test_failed_evaluation_warns_and_training_continues(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    whole = fit(tmp_path / "1", {"swd": 3.0}, {"swd": 5.0}, {"swd": 4.0})
    with pytest.warns(RuntimeWarning, match="step 4 is not evaluated: no memory; the training "):
        failed = fit(tmp_path / "2", {"swd": 3.0}, RuntimeError("no memory"), {"swd": 4.0})
    assert failed == whole  # else other workers would wait forever
    for name, steps in (("1", [2, 4, 6]), ("2", [2, 6])):
        run = Run(tmp_path / name)
        assert [line["step"] for line in run.read_log() if "swd" in line] == steps
        assert [int(folder.name[5:]) for folder in run.list_checkpoints()] == [2, 6]


def test_divergence_ends_the_training_during_an_evaluation(tmp_path):
    def spoil(trainer):
        if trainer.global_step == 4:
            trainer.modG.get_params()  # waits
            trainer.modG._exec_group.execs[0].arg_dict["g1_weight"][:] = np.nan

    with pytest.raises(DivergenceError, match="step 4: arg:g1_weight of G is not finite"):
        fit(tmp_path, {"swd": 3.0}, hooks=[LambdaHook(spoil)])
