"""Several contexts, and one worker; jobs are in tests/distributed/test_workers.py."""
import numpy as np
import pytest
from helpers.small import assert_same_state as assert_same
from helpers.small import small_trainer

from dcgan_mx import MnistIter, RandIter, Trainer, make_dcgan_sym
from dcgan_mx.engine.collectives import StopRequest, Workers, sync_stop
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint import CheckpointError
from dcgan_mx.runs.checkpoint_files import REPLICAS
from dcgan_mx.runs.run import Run
from dcgan_mx.system.runtime import mx

LR, BETA1, BETA2, EPSILON = 2e-4, 0.5, 0.999, 1e-8
SHAPE = (3, 16, 16)


def small(contexts, batch_size=8, **options):
    return small_trainer(batch_size, ctx=[mx.cpu(i) for i in contexts], **options)


def passes(symbol, params, inputs, head_gradient=None):
    """Outputs, gradients and moving statistics of one pass of MXNet's plain executor."""
    shapes = {name: array.shape for name, array in inputs.items()}
    executor = symbol.simple_bind(mx.cpu(), **shapes)
    for name, array in inputs.items():
        executor.arg_dict[name][:] = array
    executor.copy_params_from({name: mx.nd.array(array) for name, array in params.items()
                               if name in executor.arg_dict},
                              {name: mx.nd.array(array) for name, array in params.items()
                               if name in executor.aux_dict})
    output = executor.forward(is_train=True)[0].asnumpy()
    executor.backward(None if head_gradient is None else mx.nd.array(head_gradient))
    mx.nd.waitall()
    return (output, {name: array.asnumpy() for name, array in executor.grad_dict.items()},
            {name: array.asnumpy() for name, array in executor.aux_dict.items()})


def adam(weights, gradient):
    """Adam's first update (Kingma and Ba, 2015, Algorithm 1, with MXNet's place of epsilon)."""
    mean, var = (1 - BETA1) * gradient, (1 - BETA2) * gradient**2
    rate = LR * np.sqrt(1 - BETA2) / (1 - BETA1)
    return weights - rate * mean / (np.sqrt(var) + EPSILON)


def test_a_step_on_two_contexts_matches_its_halves(make_batches, parameters):
    trainer = small([0, 1])
    before = parameters(trainer)
    (batch, rbatch), = make_batches(1, 8, SHAPE, nz=5)
    trainer.step(batch, rbatch)

    symG, symD = make_dcgan_sym(4, 4, 3, size=16)
    halves = [(batch.data[0].asnumpy()[half], rbatch.data[0].asnumpy()[half])
              for half in (slice(0, 4), slice(4, 8))]
    images = [passes(symG, before, {"rand": rand}, np.zeros((4, *SHAPE)))[0] for _, rand in halves]
    after = dict(before)
    gradients = []
    for (real, _), fake in zip(halves, images):
        for data, label in ((fake, 0), (real, 1)):
            gradients.append(passes(symD, before, {"data": data, "label": np.full(4, label)})[1])
    for name in gradients[0].keys() & before.keys():
        after[name] = adam(before[name], sum(gradient[name] for gradient in gradients) / 8)
    gradients = []
    for (_, rand), fake in zip(halves, images):
        towards_real = passes(symD, after, {"data": fake, "label": np.ones(4)})[1]["data"]
        gradients.append(passes(symG, before, {"rand": rand}, towards_real)[1])
    for name in gradients[0].keys() & before.keys():
        after[name] = adam(before[name], sum(gradient[name] for gradient in gradients) / 8)

    ours = trainer.get_state()
    moved = 0
    for part in "GD":
        for name, array in ours[part].items():
            if name.startswith("arg:"):
                np.testing.assert_allclose(array, after[name[4:]], rtol=0, atol=1e-6)
                moved += (array != before[name[4:]]).any()
    assert moved == 12 - 3  # all but the gammas, which are fixed
    # BatchNorm of each half alone: the statistics of G's first layer after one pass
    for half, (_, rand) in enumerate(halves):
        statistics = passes(symG, before, {"rand": rand}, np.zeros((4, *SHAPE)))[2]
        np.testing.assert_allclose(ours["replicas"]["G:aux:gbn1_moving_var"][half],
                                   statistics["gbn1_moving_var"], rtol=1e-6)


def fit(contexts, stops, folder=None):
    """Train up to each of some numbers of steps, each time in a new trainer with the last state."""
    images = np.random.default_rng(0).integers(0, 256, (42, 8, 8), np.uint8)
    for i, stop in enumerate(stops):
        trainer = small(contexts, seed=i)
        if i:
            assert checkpoint.load_latest(folder, trainer)
        trainer.fit(MnistIter(images, 8, SHAPE), RandIter(8, 5), 100, max_steps=stop)
        if folder:
            checkpoint.save(folder, trainer)
    return trainer


@pytest.mark.parametrize("contexts", [[0, 1], [1], [0, 1, 2, 3]])
def test_resume_on_several_contexts_is_bit_identical(contexts, tmp_path):
    whole = fit(contexts, [6]).get_state()
    assert whole["counters"]["updates"] == {"G": 6, "D": 6}
    assert_same(whole, fit(contexts, [3, 6], tmp_path).get_state())


def test_saved_statistics_are_averages_and_replicas_are_verified(tmp_path):
    trainer = fit([0, 1], [3], tmp_path)
    state = trainer.get_state()
    rows = state["replicas"]["D:aux:dbn2_moving_mean"]
    assert rows.shape == (2, 8) and (rows[0] != rows[1]).any()
    np.testing.assert_array_equal(
        state["D"]["aux:dbn2_moving_mean"], rows.astype(float).mean(0).astype(np.float32))
    folder, = Run(tmp_path).list_checkpoints()
    _, aux = mx.model.load_checkpoint(str(folder / "D"), 0)[1:]
    np.testing.assert_array_equal(aux["dbn2_moving_mean"].asnumpy(),
                                  state["D"]["aux:dbn2_moving_mean"])
    path = folder / REPLICAS
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=f"{REPLICAS} is damaged"):
        checkpoint.verify(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=f"{REPLICAS}: No such file"):
        checkpoint.load(folder, small([0]))


def test_a_run_on_two_contexts_resumes_on_one(tmp_path):
    fit([0, 1], [3], tmp_path)
    one, two = small([0]), small([0, 1])
    for trainer in (one, two):
        assert checkpoint.load_latest(tmp_path, trainer)
    state, other = one.get_state(), two.get_state()
    assert state["replicas"] == {}
    state["replicas"] = other["replicas"]
    assert_same(state, other)
    assert {len(rows) for rows in other["replicas"].values()} == {2}


def test_other_batches_or_workers_restart_the_epoch(tmp_path):
    trainer = fit([0], [3], tmp_path)
    assert not (Run(tmp_path).list_checkpoints()[0] / REPLICAS).exists()
    state = trainer.get_state()
    for name, value, nbatch in (("workers", 1, 3), ("workers", 2, 0), ("batch_size", 4, 0)):
        trainer.set_state({**state, "counters": {**state["counters"], name: value}})
        assert (trainer.global_step, trainer.nbatch) == (3, nbatch)


def test_replicas_of_other_networks_are_rejected():
    trainer = fit([0, 1], [1])
    state = trainer.get_state()
    name = "G:aux:gbn1_moving_var"
    without = {key: rows for key, rows in state["replicas"].items() if key != name}
    for replicas in (without, *({**state["replicas"], key: np.zeros(shape, np.float32)}
                                for key, shape in ((name, (3, 8)), (name, (2, 9)),
                                                   ("D:aux:other", (2, 9))))):
        with pytest.raises(ValueError, match="to different networks"):
            trainer.set_state({**state, "replicas": replicas})


def test_uneven_batches_and_networks_that_share_names_are_rejected():
    for batch_size in (7, 1):
        with pytest.raises(ValueError, match=f"^batch_size: {batch_size} is not a multiple of 2, "):
            small([0, 1], batch_size)
    symG, symD = make_dcgan_sym(4, 4, 3, size=16)
    both = mx.sym.FullyConnected(symD, num_hidden=1, name="g1")
    with pytest.raises(ValueError, match="^symD: its parameter g1_weight is also one of symG"):
        Trainer(symG, both, 8, SHAPE, nz=5, ctx=[mx.cpu(0), mx.cpu(1)])


class FakeWorkers(Workers):
    """One of several workers; the others have the rows of `others`."""

    def __init__(self, others):
        super().__init__()
        self.others = others

    def all_gather(self, values):
        return np.array([values, *self.others], np.float32)


@pytest.mark.parametrize("own, others, agreed", [
    (None, [[-1, 0]], None), (None, [[0, 0]], StopRequest("hook")),
    (StopRequest("hook"), [[1, 0], [-1, 0]], StopRequest("data")),
    (StopRequest("signal", 2), [[1, 0], [2, 15]], StopRequest("signal", 15))])
def test_workers_agree_on_the_stop_request_of_highest_precedence(own, others, agreed):
    assert sync_stop(FakeWorkers(others), own) == agreed
