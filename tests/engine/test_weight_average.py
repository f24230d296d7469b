import numpy as np
import pytest
from helpers.networks import split
from helpers.small import assert_same_arrays, step_and_resume
from helpers.small import small_trainer as small

from dcgan_mx.engine.module_state import get_parameters, get_statistics
from dcgan_mx.engine.weight_average import find_gamma
from dcgan_mx.sampling.bn_calibration import measure_statistics
from dcgan_mx.system.runtime import mx

SHAPE = (3, 16, 16)
SHARES = 1 - (1 - 1 / np.arange(1, 9))**(find_gamma(0.2) + 1)  # of each update at its time


@pytest.mark.parametrize("options, weights", [
    ({"ema_decay": 0.8, "d_steps": 2}, 0.8 ** np.arange(4)[::-1]),
    ({"ema_rel_std": 0.2}, [share * np.prod(1 - SHARES[i:]) for i, share in enumerate(SHARES, 1)])])
def test_average_is_the_weighted_mean_of_all_weights(options, weights, make_batches, parameters):
    """It continues from a restored state, and does not change the training."""
    trainer, resumed = small(**options), small(**options)
    plain, history = small(d_steps=trainer.d_steps), []
    for name, array in trainer.average.get().items():  # not zeros, until G is updated
        np.testing.assert_array_equal(array, get_parameters(trainer.modG)[name])
    for i, pair in step_and_resume(trainer, resumed, make_batches(8, 4, SHAPE, nz=5), 5):
        plain.step(*pair)
        if i % trainer.d_steps == 0:
            history.append(get_parameters(trainer.modG))
    average, expected = trainer.average.get(), parameters(plain)
    assert sorted(average) == sorted(name for name in history[0] if name.startswith("arg:"))
    for name, array in average.items():
        mean = np.average([params[name] for params in history], 0, weights)
        np.testing.assert_allclose(array, mean, rtol=1e-4, atol=1e-8)
    assert (average["arg:g1_weight"] != history[-1]["arg:g1_weight"]).any()
    assert_same_arrays(resumed.average.get(), average)
    assert_same_arrays(parameters(trainer), expected)
    assert plain.average.get() == {} and plain.get_state()["G-ema"] == {}
    with pytest.raises(ValueError, match="of G-ema has shape"):
        resumed.set_state({**trainer.get_state(), "G-ema": {}})


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_gamma_gives_a_density_of_this_deviation(width):
    x = (np.arange(200_000) + 0.5) / 200_000
    weights = x**find_gamma(width)
    mean = np.average(x, weights=weights)
    assert np.sqrt(np.average((x - mean)**2, weights=weights)) == pytest.approx(width, rel=1e-4)


def test_measured_statistics_match_a_large_batch(make_batches):
    """MXNet's moving statistics take a tenth of each batch's: here, of 4,096 images."""
    trainer = small()
    for pair in make_batches(3, 4, SHAPE, nz=5):
        trainer.step(*pair)
    params = trainer.get_state()["G"]
    found = measure_statistics(trainer.modG.symbol, params, batches=64)
    mod = mx.mod.Module(trainer.modG.symbol, data_names=("rand",), label_names=None)
    mod.bind([("rand", (4096, 5, 1, 1))])
    mod.init_params(None, *split(params))
    noise = np.random.default_rng(0).standard_normal((4096, 5, 1, 1))
    mod.forward(mx.io.DataBatch([mx.nd.array(noise)], []), is_train=True)
    mod.backward([mx.nd.zeros((4096, *SHAPE))])
    mx.nd.waitall()
    batch = {name: (rows[0] - 0.9 * params[name]) / 0.1
             for name, rows in get_statistics(mod).items()}
    assert found.keys() == batch.keys()
    for name, array in batch.items():
        scale = np.sqrt(batch[name.replace("_mean", "_var")])
        np.testing.assert_allclose(found[name] / scale, array / scale, rtol=0.1, atol=0.05,
                                   err_msg=name)
