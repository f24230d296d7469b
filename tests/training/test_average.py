import numpy as np
import pytest

from dcgan_mx import Trainer, make_dcgan_sym
from dcgan_mx.images.sample import Generator
from dcgan_mx.images.statistics import measure_statistics
from dcgan_mx.machine.runtime import mx
from dcgan_mx.training.average import find_gamma
from dcgan_mx.training.module_state import get_parameters, get_statistics


def small(**options):
    mx.random.seed(0)
    return Trainer(*make_dcgan_sym(4, 4, 3, size=16), 4, (3, 16, 16), nz=5, **options)


def test_it_is_the_weighted_mean_of_all_weights_so_far(make_batches):
    trainer, history = small(ema=0.8, d_steps=2), []
    before = get_parameters(trainer.modG)
    for name, array in trainer.average.get().items():  # not zeros, until G is updated
        np.testing.assert_array_equal(array, before[name])
    for i, pair in enumerate(make_batches(8, 4, (3, 16, 16), nz=5)):
        trainer.step(*pair)
        if i % 2:  # G was updated
            history.append(get_parameters(trainer.modG))
    weights = 0.8 ** np.arange(len(history))[::-1]
    average = trainer.average.get()
    assert sorted(average) == sorted(name for name in history[0] if name.startswith("arg:"))
    for name, array in average.items():
        expected = np.average([params[name] for params in history], 0, weights)
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-8)
    assert (average["arg:g1_weight"] != history[-1]["arg:g1_weight"]).any()


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_a_width_is_the_deviation_of_a_power(width):
    gamma = find_gamma(width)
    x = (np.arange(200_000) + 0.5) / 200_000
    weights = x**gamma
    mean = np.average(x, weights=weights)
    assert np.sqrt(np.average((x - mean)**2, weights=weights)) == pytest.approx(width, rel=1e-4)


def test_an_average_over_a_share_gives_weight_by_a_power(make_batches):
    """After t updates, w_i has the weight b_i (1 - b_(i+1)) ... (1 - b_t), b_i the share of i."""
    trainer, history = small(ema_width=0.2), []
    for pair in make_batches(8, 4, (3, 16, 16), nz=5):
        trainer.step(*pair)
        history.append(get_parameters(trainer.modG)["arg:g2_weight"])
    kept = (1 - 1 / np.arange(1, 9))**(find_gamma(0.2) + 1)
    weights = [(1 - kept[i]) * np.prod(kept[i + 1:]) for i in range(8)]
    assert sum(weights) == pytest.approx(1) and weights[0] < weights[3] < weights[7]
    np.testing.assert_allclose(trainer.average.get()["arg:g2_weight"],
                               np.average(history, 0, weights), rtol=1e-4, atol=1e-8)
    other = small(ema_width=0.2)
    other.set_state(trainer.get_state())
    for pair in make_batches(2, 4, (3, 16, 16), nz=5):
        trainer.step(*pair)
        other.step(*pair)
    np.testing.assert_array_equal(other.average.get()["arg:g2_weight"],
                                  trainer.average.get()["arg:g2_weight"])
    with pytest.raises(ValueError, match="^ema is 0.9, and ema_width 0.2: give one"):
        small(ema=0.9, ema_width=0.2)


def test_without_it_nothing_is_kept_and_no_number_changes(make_batches, parameters):
    plain, averaging = small(), small(ema=0.9)
    for pair in make_batches(3, 4, (3, 16, 16), nz=5):
        plain.step(*pair)
        averaging.step(*pair)
    assert plain.average.get() == {} and plain.get_state()["G-ema"] == {}
    for name, array in parameters(plain).items():
        np.testing.assert_array_equal(parameters(averaging)[name], array, err_msg=name)


def test_a_state_carries_it(make_batches):
    trainer, other = small(ema=0.9), small(ema=0.9)
    batches = make_batches(6, 4, (3, 16, 16), nz=5)
    for pair in batches[:3]:
        trainer.step(*pair)
    other.set_state(trainer.get_state())
    for pair in batches[3:]:
        trainer.step(*pair)
        other.step(*pair)
    for name, array in trainer.average.get().items():
        np.testing.assert_array_equal(other.average.get()[name], array, err_msg=name)
    with pytest.raises(ValueError, match="of G-ema has shape"):
        small(ema=0.9).set_state({**trainer.get_state(), "G-ema": {}})


def test_measured_statistics_are_what_training_would_average(make_batches):
    """Where the weights rest, MXNet's moving statistics come to the same means."""
    trainer = small()
    for pair in make_batches(3, 4, (3, 16, 16), nz=5):
        trainer.step(*pair)
    params = {**trainer.get_state()["G"]}
    found = measure_statistics(trainer.modG.symbol, params, batches=64)
    mod = mx.mod.Module(trainer.modG.symbol, data_names=("rand",), label_names=None)
    mod.bind([("rand", (512, 5, 1, 1))])
    mod.init_params(arg_params={name[4:]: mx.nd.array(array) for name, array in params.items()
                                if name.startswith("arg:")},
                    aux_params={name[4:]: mx.nd.array(array) for name, array in params.items()
                                if name.startswith("aux:")})
    rng = np.random.default_rng(0)
    for _ in range(60):
        mod.forward(mx.io.DataBatch([mx.nd.array(rng.standard_normal((512, 5, 1, 1)))], []),
                    is_train=True)
        mod.backward([mx.nd.zeros((512, 3, 16, 16))])
        mx.nd.waitall()
    moving = {name: rows[0] for name, rows in get_statistics(mod).items()}
    assert found.keys() == moving.keys()
    for name, array in moving.items():
        scale = np.sqrt(moving[name.replace("_mean", "_var")])
        np.testing.assert_allclose(found[name] / scale, array / scale, rtol=0.1, atol=0.05,
                                   err_msg=name)


def test_a_generator_of_averages_makes_finite_images(make_batches):
    trainer = small(ema=0.5)
    trainer.step(*make_batches(1, 4, (3, 16, 16), nz=5)[0])
    params = {**trainer.get_state()["G"], **trainer.average.get()}
    generator = Generator(trainer.modG.symbol, {**params, **measure_statistics(
        trainer.modG.symbol, params)})
    images = generator.generate(np.ones((3, 5), np.float32))
    assert images.shape == (3, 3, 16, 16) and np.abs(images).max() <= 1
