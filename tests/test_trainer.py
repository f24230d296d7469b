import re

import numpy as np
import pytest
from helpers.small import assert_same_arrays as assert_same
from helpers.small import small_trainer as small
from helpers.small import step_and_resume

from dcgan_mx import MnistIter, RandIter, Trainer, make_dcgan_sym
from dcgan_mx.hooks.base import Hook, LambdaHook
from dcgan_mx.hooks.loggers import MetricLogger
from dcgan_mx.system.runtime import mx
from dcgan_mx.trainer import StopRequest
from tools.benchmark.blog_loop import BlogLoop

SHAPE = (3, 16, 16)


@pytest.mark.parametrize("channels, batch_size", [
    pytest.param(64, 64, marks=pytest.mark.slow), (8, 6)])
def test_step_is_bit_identical_to_the_blog_loop(channels, batch_size, make_batches, parameters):
    """Ten iterations at the reference's size: parameters, moving statistics and predictions."""
    syms = make_dcgan_sym(channels, channels, 3)
    theirs = BlogLoop(*syms, batch_size, (3, 64, 64))
    ours = Trainer(*syms, batch_size, (3, 64, 64))
    for mod, source in ((ours.modG, theirs.modG), (ours.modD, theirs.modD)):
        mod.set_params(*source.get_params())
    before = parameters(ours)
    predictions = []
    for batch, rbatch in make_batches(2, batch_size, (3, 64, 64)) * 5:
        predictions.append(theirs.step(batch, rbatch))
        ours.step(batch, rbatch)
    after = parameters(ours)
    assert_same(after, parameters(theirs))
    assert not any((before[name] == after[name]).all() for name in after if "gamma" not in name)

    averages = ours.metrics.get()
    fake, real, again = np.array(predictions).transpose(1, 0, 2, 3)
    assert averages["acc"] == pytest.approx(((fake <= 0.5).mean() + (real > 0.5).mean()) / 2)
    assert averages["d_entropy"] == pytest.approx(
        -(np.log(1 - fake).mean() + np.log(real).mean()) / 2, rel=1e-4)
    assert averages["g_entropy"] == pytest.approx(-np.log(again).mean(), rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"translate": 2, "instance_noise": 0.1}])
@pytest.mark.parametrize("name, data, rand", [
    ("batch", (4, 1, 16, 16), (4, 5, 1, 1)), ("batch", (2, 3, 16, 16), (4, 5, 1, 1)),
    ("rbatch", (4, 3, 16, 16), (4, 6, 1, 1))])
def test_batches_of_other_shapes_change_nothing(name, data, rand, options, parameters):
    trainer = small(**options)
    before = parameters(trainer)
    batches = [mx.io.DataBatch([mx.nd.zeros(shape)], []) for shape in (data, rand)]
    with pytest.raises(ValueError, match=f"^{name}: its array has shape .*, expected "):
        trainer.step(*batches)
    assert_same(parameters(trainer), before)
    assert trainer.global_step == 0 and trainer.metrics.get()["acc"] is None


def test_d_steps_update_g_every_kth_step(make_batches, parameters):
    """For k = 3; D's first step does not depend on k."""
    often, seldom = small(), small(d_steps=3)
    history = [parameters(seldom)]
    batches = make_batches(6, 4, SHAPE, nz=5)
    for i, pair in enumerate(batches, 1):
        seldom.step(*pair)
        before, after = history[-1], parameters(seldom)
        assert (before["d1_weight"] != after["d1_weight"]).any()
        assert (before["g1_weight"] != after["g1_weight"]).any() == (i % 3 == 0)
        assert (seldom.diffD is None) == (i % 3 != 0)
        history.append(after)
    often.step(*batches[0])
    np.testing.assert_array_equal(parameters(often)["d1_weight"], history[1]["d1_weight"])


def pass_through_d(trainer, images, label):
    """D's prediction, and the gradients for images and first weight, from a plain Module."""
    mod = mx.mod.Module(trainer.modD.symbol, data_names=["data"], label_names=["label"])
    mod.bind([("data", images.shape)], [("label", images.shape[:1])], inputs_need_grad=True)
    mod.set_params(*trainer.modD.get_params())
    mod.forward(mx.io.DataBatch([images], [mx.nd.full(images.shape[:1], label)]), is_train=True)
    mod.backward()
    arrays = mod.get_outputs()[0], mod.get_input_grads()[0], mod._exec_group.grad_arrays[0][0]
    return [array.asnumpy() for array in arrays]


@pytest.mark.parametrize("g_loss", ["nonsaturating", "saturating"])
def test_gradient_of_g_matches_a_plain_module(g_loss, make_batches):
    """For both losses, against a second Module and the chain rule of their logarithms."""
    trainer = small(g_loss=g_loss, d_steps=2)
    for pair in make_batches(2, 4, SHAPE, nz=5):
        trainer.metrics.reset()
        trainer.step(*pair)
    pred, expected, _ = pass_through_d(trainer, trainer.outG, 1)
    if g_loss == "saturating":
        # With logits s: d log(1 - D)/ds = -D and d(-log D)/ds = -(1 - D); the rest of the chain
        # is the same linear map, which label 0 shows: d(-log(1 - D))/ds = D.
        expected = -pass_through_d(trainer, trainer.outG, 0)[1]
    np.testing.assert_allclose(trainer.diffD.asnumpy(), expected, rtol=1e-5, atol=1e-9)
    entropy = -np.log(1 - pred if g_loss == "saturating" else pred).mean()
    assert trainer.metrics.get()["g_entropy"] == pytest.approx(entropy, rel=1e-5)


IMAGES = np.random.default_rng(0).integers(0, 256, (18, 8, 8), np.uint8)


def fit(num_epochs=100, max_steps=None, **options):
    trainer, seen = small(), []
    trainer.fit(MnistIter(IMAGES, 4, SHAPE, **options), RandIter(4, 5), num_epochs,
                max_steps=max_steps,
                hooks=[LambdaHook(lambda t: seen.append((t.global_step, t.epoch, t.nbatch)))])
    return trainer, seen


def test_fit_counts_epochs_and_steps():
    _, seen = fit(num_epochs=2)
    assert seen == [(1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 1, 0),
                    (5, 1, 1), (6, 1, 2), (7, 1, 3), (8, 2, 0)]
    assert fit(max_steps=6)[1] == seen[:6]
    assert fit(num_epochs=1, max_steps=4)[1] == seen[:4]


def test_fit_is_reproducible_with_other_threads_and_in_pieces(parameters):
    """The pieces end within an epoch, at its end and after it."""
    one, two, other = (parameters(fit(max_steps=5, **options)[0])
                       for options in ({"threads": 1}, {"threads": 2}, {"seed": 1}))
    assert_same(one, two)
    assert (one["g1_weight"] != other["g1_weight"]).any()
    pieces, train_iter, rand_iter = small(), MnistIter(IMAGES, 4, SHAPE), RandIter(4, 5)
    for max_steps in (3, 4, 5):
        pieces.fit(train_iter, rand_iter, 100, (), max_steps)
    assert_same(one, parameters(pieces))


def test_fit_continues_an_iterator_that_cannot_seek():
    """NDArrayIter: after two early ends no batch is lost or repeated."""
    images = np.arange(20, dtype=np.float32).reshape(20, 1, 1, 1) * np.ones((1, 3, 16, 16))
    train_iter = mx.io.NDArrayIter(mx.nd.array(images / 20), batch_size=2)
    trainer, seen = small(batch_size=2), []
    for max_steps in (3, 7, 14):
        trainer.fit(train_iter, RandIter(2, 5), 2, max_steps=max_steps, hooks=[LambdaHook(
            lambda t: seen.append(round(20 * float(t.batch.data[0][0, 0, 0, 0].asscalar()) / 2)))])
    assert seen == [*range(10), *range(4)]
    assert (trainer.epoch, trainer.nbatch) == (1, 4)


class Reader(mx.io.DataIter):
    """Batches of 0, 0.1, ..., written into one array as MXNet's readers do; then an error."""

    def __init__(self, count, error=StopIteration):
        super().__init__(4)
        self.values, self.error, self.array = iter(range(count)), error, mx.nd.zeros((4, *SHAPE))

    def next(self):
        for value in self.values:
            self.array[:] = value / 10
            return mx.io.DataBatch([self.array], [])
        raise self.error


def test_fit_copies_batches_that_an_iterator_overwrites():
    seen = []
    small().fit(Reader(5), RandIter(4, 5), 1, hooks=[LambdaHook(
        lambda t: seen.append(round(10 * float(t.batch.data[0][0, 0, 0, 0].asscalar()))))])
    assert seen == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="train_iter has no batch"):
        small().fit(Reader(0), RandIter(4, 5), 1)


@pytest.mark.parametrize("other, message", [
    ({"size": 32}, "data_shape: (3, 16, 16) is not (3, 32, 32), the shape of symG's images"),
    ({"nc": 1}, "data_shape: (3, 16, 16) is not (1, 16, 16), the shape of symG's images"),
    ({"rand": "z"}, "symG: does not make images of (4, 5, 1, 1), its input `rand`, alone: give "),
    ({}, "symD: does not fit images of shape (3, 16, 16): give another symD")])
def test_networks_that_do_not_fit_are_rejected(other, message):
    name = other.pop("rand", None)
    symG, symD = (make_dcgan_sym(4, 4, **{"nc": 3, "size": 16, **options})[i]
                  for i, options in enumerate((other, {} if other or name else {"size": 32})))
    if name:
        symG = symG(rand=mx.sym.Variable(name))
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Trainer(symG, symD, 4, SHAPE, nz=5)


@pytest.mark.parametrize("options", [
    {"batch_size": 0}, {"lr": float("nan")}, {"beta1": 1.0}, {"wd": -1e-9}, {"g_loss": "hinge"},
    {"ema_decay": 0.9, "ema_rel_std": 0.2}])
def test_invalid_arguments_are_named(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"^{name}: .*{value}"):
        small(**options)


def test_each_network_has_its_own_learning_rate(make_batches, parameters):
    """Adam's first update is as large as the learning rate wherever there is a gradient."""
    trainer = small(lr=0.5, lr_g=1e-2, lr_d=1e-3)
    before = parameters(trainer)
    trainer.step(*make_batches(1, 4, SHAPE, nz=5)[0])
    after = parameters(trainer)
    for name, rate in (("g1_weight", 1e-2), ("d1_weight", 1e-3)):
        assert np.abs(after[name] - before[name]).max() == pytest.approx(rate, rel=0.01)


def test_smoothed_labels_reach_d_only(make_batches):
    """D's gradient is that of the label 0.9 for reals; G still descends towards the label 1."""
    trainer = small(real_label=0.9)
    batch, rbatch = make_batches(1, 4, SHAPE, nz=5)[0]
    trainer.modG.forward(rbatch, is_train=True)
    fake, real = (pass_through_d(trainer, images, label)[2] for images, label in
                  ((trainer.modG.get_outputs()[0], 0), (batch.data[0], 0.9)))
    trainer.step(batch, rbatch)
    np.testing.assert_allclose(trainer.modD._exec_group.grad_arrays[0][0].asnumpy(), fake + real,
                               rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(trainer.diffD.asnumpy(),
                               pass_through_d(trainer, trainer.outG, 1)[1], rtol=1e-4, atol=1e-9)


def test_lr_decay_matches_rates_set_by_hand(make_batches, parameters, capfd):
    """Constant for N updates of a network, then N / t; also from a restored state."""
    options = {"lr_g": 1e-2, "lr_d": 1e-3, "d_steps": 2}
    trainer, by_hand = small(lr_decay_start=2, **options), small(**options)
    other = small(lr_decay_start=2, **options)
    for t, pair in step_and_resume(trainer, other, make_batches(6, 4, SHAPE, nz=5), 4):
        for mod, lr, updates in ((by_hand.modG, 1e-2, t // 2), (by_hand.modD, 1e-3, t)):
            mod._updater.optimizer.lr = lr * min(1, 2 / max(updates, 1))
        by_hand.step(*pair)
    assert by_hand.modD._updater.optimizer.lr == 1e-3 / 3
    assert_same(parameters(by_hand), parameters(trainer))
    assert_same(parameters(by_hand), parameters(other))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("requests, agreed, reason", [
    ([("hook",)], StopRequest("hook"), "hook"),
    ([("signal", 15), ("hook",)], StopRequest("signal", 15), "signal")])
def test_a_requested_stop_ends_fit_after_the_step(requests, agreed, reason):
    """A signal takes precedence; the next `fit` starts without a request."""
    trainer, steps = small(), []

    def stop(trainer):
        steps.append(trainer.global_step)
        if trainer.global_step == 2:
            for request in requests:
                trainer.request_stop(*request)

    train_iter, rand_iter = MnistIter(IMAGES, 4, SHAPE), RandIter(4, 5)
    trainer.fit(train_iter, rand_iter, 100, [LambdaHook(stop)])
    assert steps == [1, 2] and trainer.result.reason == reason
    assert trainer.stop_request == agreed and trainer.can_save
    assert trainer.result.detail == ("SIGTERM" if reason == "signal" else None)
    trainer.fit(train_iter, rand_iter, 100, (), max_steps=4)
    assert (trainer.global_step, trainer.stop_request, trainer.result.reason) == (
        4, None, "max_steps")


def test_a_batch_that_fails_ends_fit_after_the_step_before_it():
    trainer = small()
    with pytest.raises(RuntimeError, match="unreadable"):
        trainer.fit(Reader(2, RuntimeError("unreadable")), RandIter(4, 5), 100, ())
    assert trainer.stop_request == StopRequest("data")
    assert trainer.global_step == 2 and trainer.can_save
    trainer = small()
    trainer.fit(Reader(2, RuntimeError("unreadable")), RandIter(4, 5), 100, (), max_steps=2)
    assert trainer.result.reason == "max_steps"  # the third batch is not needed


def test_an_interrupted_wait_for_the_device_leaves_consistent_counters(monkeypatch):
    """Ctrl-C raises KeyboardInterrupt where the host waits, here after the fourth step."""
    trainer = small()

    def wait(_):
        if trainer.global_step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer.metrics, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(MnistIter(IMAGES, 4, SHAPE), RandIter(4, 5), 100, ())
    assert (trainer.global_step, trainer.epoch, trainer.nbatch) == (4, 1, 0) and trainer.can_save


def test_a_batch_of_another_shape_leaves_the_last_step_to_be_saved():
    class Short(Reader):
        def next(self):
            batch = super().next()
            self.array = mx.nd.zeros((2, *SHAPE))
            return batch

    trainer = small()
    with pytest.raises(ValueError, match=r"^batch: its array has shape \(2, 3, 16, 16\)"):
        trainer.fit(Short(2), RandIter(4, 5), 1, ())
    assert trainer.global_step == 1 and trainer.can_save


def test_a_hook_moves_the_training_to_another_state(parameters):
    """Back from the sixth step to the third, then to the end: as if that was never left."""
    trainer, states, seen = small(), {}, []

    def go_back(trainer):
        seen.append((trainer.global_step, trainer.epoch, trainer.nbatch))
        if trainer.global_step == 3:
            states[3] = trainer.get_state()
        elif trainer.global_step == 6 and len(seen) == 6:
            trainer.set_state(states[3])

    logger = MetricLogger(1)
    trainer.fit(MnistIter(IMAGES, 4, SHAPE), RandIter(4, 5), 2, [LambdaHook(go_back), logger])
    whole, expected = fit(num_epochs=2)
    assert seen == [*expected[:6], *expected[3:]]
    assert_same(parameters(trainer), parameters(whole))
    trainer.set_state(states[3])
    logger.on_end(trainer)  # without images to log


def test_an_interrupted_end_leaves_no_request(monkeypatch):
    trainer = small()

    class Interrupted(Hook):
        def on_end(self, trainer):
            raise KeyboardInterrupt

    stop = LambdaHook(lambda trainer: trainer.request_stop())
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(MnistIter(IMAGES, 4, SHAPE), RandIter(4, 5), 1, [stop, Interrupted()])
    trainer.fit(MnistIter(IMAGES, 4, SHAPE), RandIter(4, 5), 1, ())
    assert trainer.result.reason == "num_epochs"


def test_all_hooks_end_although_a_warning_is_an_error():
    ended = []

    class Failing(Hook):
        def on_step(self, trainer):
            raise OSError("no paper")

        def on_end(self, trainer):
            ended.append(self)
            raise OSError("no ink")

    with pytest.raises(RuntimeWarning, match="another error followed: no ink"):
        small().fit(MnistIter(IMAGES, 4, SHAPE), RandIter(4, 5), 1, [Failing(), Failing()])
    assert len(ended) == 2
