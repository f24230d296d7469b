import numpy as np
import pytest

from dcgan_mx import make_dcgan_sym
from dcgan_mx.machine.runtime import mx
from dcgan_mx.pages import claims


def test_the_rules_hold_for_ours_and_are_broken_by_others():
    symG, symD = make_dcgan_sym(64, 64, 3)
    assert [holds for _, _, holds in claims.check_rules(symG, symD)] == [True] * 5
    x = mx.sym.Variable("data")
    pooled = mx.sym.Pooling(x, kernel=(2, 2), pool_type="max")
    dense = mx.sym.Activation(mx.sym.FullyConnected(pooled, num_hidden=1), act_type="sigmoid")
    assert [holds for _, _, holds in claims.check_rules(symG, dense)] == [
        False, False, False, True, False]
    assert [holds for _, _, holds in claims.check_rules(dense, symD)] == [
        False, False, False, False, True]


def test_shapes_are_the_papers():
    """Source: Radford et al., arXiv:1511.06434, figure 1, with half the channels."""
    shapes = claims.find_shapes(make_dcgan_sym(64, 64, 3)[0])
    assert [shape for _, shape in shapes] == [(100, 1, 1), (512, 4, 4), (256, 8, 8), (128, 16, 16),
                                              (64, 32, 32), (3, 64, 64)]


@pytest.fixture(scope="module")
def trained():
    """A trainer after one step, its probe, and its images."""
    mx.random.seed(3)
    trainer = claims.make_trainer()
    rng = np.random.default_rng(0)
    batch = mx.io.DataBatch([mx.nd.array(rng.uniform(-1, 1, (64, 3, 64, 64)))], [])
    rbatch = mx.io.DataBatch([mx.nd.array(rng.normal(size=(64, 100, 1, 1)))], [])
    probe = claims.Probe(trainer)
    trainer.step(batch, rbatch)
    return trainer, probe, (batch, rbatch)


def test_question_1_the_negated_gradient_is_the_minimax_losses(trained):
    trainer, probe, _ = trained
    exact = probe.analytic(trainer.outG)
    assert abs(exact).max() > 0
    np.testing.assert_allclose(probe.saturating(trainer.outG), exact, rtol=0,
                               atol=1e-6 * abs(exact).max())


def test_question_2_label_1_gives_the_gradient_of_minus_log_d(trained):
    """And it is the stronger one, in the beginning."""
    trainer, probe, _ = trained
    symD = trainer.modD.symbol
    logit = symD.get_internals()[claims.find_layers(symD)[-2][0] + "_output"]
    mod = mx.mod.Module(mx.sym.MakeLoss(-mx.sym.log(mx.sym.sigmoid(logit))), label_names=None)
    mod.bind([("data", (64, 3, 64, 64))], inputs_need_grad=True)
    mx.nd.waitall()
    mod.set_params(*trainer.modD.get_params())
    mod.forward(mx.io.DataBatch([trainer.outG], []), is_train=True)
    mod.backward()
    exact = mod.get_input_grads()[0].asnumpy()
    strong = probe.nonsaturating(trainer.outG)
    np.testing.assert_allclose(strong, exact, rtol=0, atol=1e-6 * abs(exact).max())
    assert np.linalg.norm(strong) > 3 * np.linalg.norm(probe.saturating(trainer.outG))


@pytest.mark.slow
def test_the_probe_leaves_the_training_alone(parameters):
    rng = np.random.default_rng(0)
    ends = []
    for probed in (False, True):
        mx.random.seed(3)
        trainer = claims.make_trainer()
        probe = claims.Probe(trainer)
        for seed in range(2):
            rng = np.random.default_rng(seed)
            trainer.step(mx.io.DataBatch([mx.nd.array(rng.uniform(-1, 1, (64, 3, 64, 64)))], []),
                         mx.io.DataBatch([mx.nd.array(rng.normal(size=(64, 100, 1, 1)))], []))
            if probed:
                probe.saturating(trainer.outG)
                probe.nonsaturating(trainer.outG)
                probe.analytic(trainer.outG)
        ends.append({name: array for name, array in parameters(trainer).items()
                     if "moving" not in name})
    for name, array in ends[0].items():
        np.testing.assert_array_equal(array, ends[1][name], err_msg=name)


def test_the_loss_is_the_formulas(trained):
    trainer, _, pair = trained
    loss = claims.measure_loss(trainer, *pair)
    assert 0 < loss["D(x)"] < 1 and 0 < loss["D(G(z))"] < 1
    # Jensen: the mean of a logarithm is below the logarithm of the mean.
    assert loss["loss"] <= np.log(loss["D(x)"]) + np.log(1 - loss["D(G(z))"])
