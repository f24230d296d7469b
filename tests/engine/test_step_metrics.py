import numpy as np
import pytest

from dcgan_mx.engine.step_metrics import Metrics, facc, fentropy
from dcgan_mx.system.runtime import mx


def column(*values):
    return np.array(values, np.float32).reshape(-1, 1)


def test_accuracy_and_entropy_of_single_predictions():
    assert facc(np.array([1, 1, 0, 0.0]), column(0.6, 0.5, 0.5, 0.9)) == 0.5
    assert facc(np.ones(3), column(0.51, 1, 0.7)) == 1.0
    for label in (0.0, 1.0):
        assert fentropy(np.full(2, label), column(0.5, 0.5)) == pytest.approx(np.log(2))
        # finite where D is certain and wrong
        assert fentropy(np.full(1, label), column(1 - label)) == pytest.approx(-np.log(1e-12))


def test_averages_do_not_depend_on_waiting():
    """A prediction is copied when it is counted; an average of none is None."""
    predictions = np.random.default_rng(0).uniform(0.01, 0.99, (6, 4, 1)).astype(np.float32)
    results = []
    for ahead in (0, 3, 100):
        metrics = Metrics()
        nothing = metrics.get_state()
        assert metrics.get() == {"acc": None, "d_entropy": None, "g_entropy": None}
        metrics.update("d", 1, mx.nd.array(column(0.9)))
        metrics.reset()  # hooks that follow still get the averages
        assert metrics.get()["acc"] == 1 and metrics.get_state() == nothing
        for fake, real in zip(predictions[::2], predictions[1::2]):
            given = mx.nd.array(fake)
            metrics.update("d", 0, given)
            metrics.update("d", 1, mx.nd.array(real))
            metrics.update("g", 1, given)
            given[:] = 0.5
            metrics.wait(ahead)
        results.append(metrics.get())
    assert results[0] == results[1] == results[2]
    fakes, reals = predictions[::2].astype(float), predictions[1::2].astype(float)
    assert results[0] == pytest.approx({
        "acc": ((fakes <= 0.5).mean() + (reals > 0.5).mean()) / 2,
        "d_entropy": -(np.log(1 - fakes).mean() + np.log(reals).mean()) / 2,
        "g_entropy": -np.log(fakes).mean()}, rel=1e-5)


def test_sums_do_not_depend_on_their_order():
    values = np.random.default_rng(0).random((200, 3)).astype(np.float32)
    sums = []
    for order in (values, values[::-1]):
        metrics = Metrics()
        for pred in order:
            metrics.update("d", 1, mx.nd.array(pred))
        sums.append(metrics.get_state()["sums"])
    assert sums[0] == sums[1]
    assert sums[0]["d_entropy"] == pytest.approx(-np.log(values + 1e-12).mean(1).sum(), abs=1e-4)
