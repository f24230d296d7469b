import numpy as np
import pytest

from dcgan_mx import Trainer, make_dcgan_sym
from dcgan_mx.reports import blog_experiments
from dcgan_mx.system.runtime import mx


def check(symG, symD):
    """Which of the five rules hold."""
    return [holds for holds, _ in blog_experiments.check_rules(symG, symD).values()]


def test_rules_and_shapes_are_those_of_the_paper():
    symG, symD = make_dcgan_sym(64, 64, 3)
    assert check(symG, symD) == check(*make_dcgan_sym(8, 8, 1, size=32)) == [True] * 5
    x = mx.sym.Variable("data")
    pooled = mx.sym.Pooling(x, kernel=(2, 2), pool_type="max")
    dense = mx.sym.Activation(mx.sym.FullyConnected(pooled, num_hidden=1), act_type="sigmoid")
    assert check(symG, dense) == [False, False, False, True, False]
    assert check(dense, symD) == [False, False, False, False, True]
    # Source: Radford et al., arXiv:1511.06434, figure 1, with half the channels.
    shapes = blog_experiments.find_shapes(symG)
    assert [shape for _, shape in shapes] == [(100, 1, 1), (512, 4, 4), (256, 8, 8), (128, 16, 16),
                                              (64, 32, 32), (3, 64, 64)]


def make_trainer(width, size):
    """A trainer with batches of 16."""
    mx.random.seed(3)
    return Trainer(*make_dcgan_sym(width, width, 3, size=size), 16, (3, size, size))


@pytest.fixture(scope="module")
def trained(make_batches):
    """A trainer after one step, its probe, and its batches."""
    trainer = make_trainer(32, 32)
    pair, = make_batches(1, 16, (3, 32, 32))
    probe = blog_experiments.Probe(trainer)
    trainer.step(*pair)
    return trainer, probe, pair


def test_labels_give_the_gradients_of_both_losses(trained):
    trainer, probe, _ = trained
    exact, weak = probe.analytic(trainer.outG), probe.saturating(trainer.outG)
    assert abs(exact).max() > 0
    np.testing.assert_allclose(weak, exact, rtol=0, atol=1e-6 * abs(exact).max())
    symD = trainer.modD.symbol
    logit = symD.get_internals()[blog_experiments.find_layers(symD)[-2][0] + "_output"]
    mod = mx.mod.Module(mx.sym.MakeLoss(-mx.sym.log(mx.sym.sigmoid(logit))), label_names=None)
    mod.bind([("data", trainer.outG.shape)], inputs_need_grad=True)
    mx.nd.waitall()
    mod.set_params(*trainer.modD.get_params())
    mod.forward(mx.io.DataBatch([trainer.outG], []), is_train=True)
    mod.backward()
    exact = mod.get_input_grads()[0].asnumpy()
    strong = probe.nonsaturating(trainer.outG)
    np.testing.assert_allclose(strong, exact, rtol=0, atol=1e-6 * abs(exact).max())
    assert np.linalg.norm(strong) > 2 * np.linalg.norm(weak)


def test_measured_loss_obeys_jensen(trained):
    trainer, _, pair = trained
    loss = blog_experiments.measure_loss(trainer, *pair)
    assert 0 < loss["D(x)"] < 1 and 0 < loss["D(G(z))"] < 1
    # Jensen: the mean of a logarithm is below the logarithm of the mean.
    assert loss["loss"] <= np.log(loss["D(x)"]) + np.log(1 - loss["D(G(z))"])


def test_probe_does_not_change_training(parameters, make_batches):
    ends = []
    for probed in (False, True):
        trainer = make_trainer(8, 16)
        probe = blog_experiments.Probe(trainer, steps=2)
        for pair in make_batches(3, 16, (3, 16, 16)):
            trainer.step(*pair)
            if probed:
                probe.on_step(trainer)
        ends.append({name: array for name, array in parameters(trainer).items()
                     if "moving" not in name})
    for name, array in ends[0].items():
        np.testing.assert_array_equal(array, ends[1][name], err_msg=name)
    assert 0 < probe.error < 1e-6 and [*map(len, probe.norms.values())] == [2, 2]
    first, second = np.array([*probe.norms.values()])
    ratios = sorted(first / second)
    assert probe.compare() == pytest.approx(
        {"median": sum(ratios) / 2, "least": ratios[0], "most": ratios[1]})
