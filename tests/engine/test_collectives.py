"""Several contexts and several workers; jobs of several processes are in test_jobs.py."""
import numpy as np
import pytest

from dcgan_mx import MnistIter, RandIter, Trainer, make_dcgan_sym
from dcgan_mx.engine.collectives import Workers
from dcgan_mx.engine.step_metrics import Metrics
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint import CheckpointError
from dcgan_mx.runs.checkpoint_files import REPLICAS
from dcgan_mx.system.runtime import mx

LR, BETA1, BETA2, EPSILON = 2e-4, 0.5, 0.999, 1e-8
SHAPE = (3, 16, 16)


def small(contexts, batch_size=8, seed=0, **options):
    mx.random.seed(seed)
    return Trainer(*make_dcgan_sym(4, 4, 3, size=16), batch_size, SHAPE, nz=5,
                   ctx=[mx.cpu(i) for i in contexts], **options)


def passes(symbol, params, inputs, head_gradient=None):
    """Outputs, gradients and new moving statistics of one pass, from MXNet's plain executor."""
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


def test_a_step_on_two_contexts_is_that_of_its_halves(make_batches, parameters):
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
    # BatchNorm of each half by itself: the statistics of G's first layer after one pass
    for half, (_, rand) in enumerate(halves):
        statistics = passes(symG, before, {"rand": rand}, np.zeros((4, *SHAPE)))[2]
        np.testing.assert_allclose(ours["replicas"]["G:aux:gbn1_moving_var"][half],
                                   statistics["gbn1_moving_var"], rtol=1e-6)


def fit(contexts, stops, folder=None, then=None, **options):
    """Train up to each of some numbers of steps, each time in a new trainer with the last state."""
    images = np.random.default_rng(0).integers(0, 256, (42, 8, 8), np.uint8)
    trainer = small(contexts, **options)
    for i, stop in enumerate(stops):
        if i:
            trainer = small(then or contexts, seed=9, **options)
            assert checkpoint.load_latest(folder, trainer)
        trainer.fit(MnistIter(images, 8, SHAPE), RandIter(8, 5), 100, max_steps=stop)
        if folder:
            checkpoint.save(folder, trainer)
    return trainer


def assert_same(first, second):
    assert first["counters"] == second["counters"]
    for part in ("G", "D", "G-optimizer", "D-optimizer", "replicas"):
        assert first[part].keys() == second[part].keys()
        for name, value in first[part].items():
            np.testing.assert_array_equal(value, second[part][name], err_msg=f"{part} {name}")


@pytest.mark.parametrize("contexts", [[0, 1], [1], [0, 1, 2, 3]])
def test_exact_resume_on_other_contexts_than_the_first(contexts, tmp_path):
    whole = fit(contexts, [7]).get_state()
    assert whole["counters"]["updates"] == {"G": 7, "D": 7}
    assert_same(whole, fit(contexts, [3, 6, 7], tmp_path).get_state())


def test_statistics_are_averaged_when_saved_and_a_damaged_file_of_them_is_found(tmp_path):
    trainer = fit([0, 1], [3], tmp_path)
    state = trainer.get_state()
    rows = state["replicas"]["D:aux:dbn2_moving_mean"]
    assert rows.shape == (2, 8) and (rows[0] != rows[1]).any()
    np.testing.assert_array_equal(
        state["D"]["aux:dbn2_moving_mean"], rows.astype(float).mean(0).astype(np.float32))
    folder, = checkpoint.list_checkpoints(tmp_path)
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


def test_a_run_on_two_contexts_goes_on_on_one(tmp_path):
    fit([0, 1], [3], tmp_path)
    one = small([0])
    folder = checkpoint.load_latest(tmp_path, one)
    two = small([0, 1])
    checkpoint.load(folder, two)
    state, other = one.get_state(), two.get_state()
    assert state["replicas"] == {}
    state["replicas"] = other["replicas"]
    assert_same(state, other)
    assert {len(rows) for rows in other["replicas"].values()} == {2}


def test_a_place_in_an_epoch_is_of_so_many_workers_and_so_large_batches(tmp_path):
    trainer = fit([0], [3], tmp_path)
    assert not (checkpoint.list_checkpoints(tmp_path)[0] / REPLICAS).exists()
    state = trainer.get_state()
    for name, value, nbatch in (("workers", 1, 3), ("workers", 2, 0), ("batch_size", 4, 0)):
        trainer.set_state({**state, "counters": {**state["counters"], name: value}})
        assert (trainer.global_step, trainer.nbatch) == (3, nbatch)


def test_replicas_of_other_networks_are_refused():
    trainer = fit([0, 1], [1])
    state = trainer.get_state()
    name = "G:aux:gbn1_moving_var"
    without = {key: rows for key, rows in state["replicas"].items() if key != name}
    for replicas in (without, *({**state["replicas"], key: np.zeros(shape, np.float32)}
                                for key, shape in ((name, (3, 8)), (name, (2, 9)),
                                                   ("D:aux:other", (2, 9))))):
        with pytest.raises(ValueError, match="of other networks"):
            trainer.set_state({**state, "replicas": replicas})


@pytest.mark.parametrize("batch_size", [7, 1])
def test_contexts_have_to_divide_the_batch(batch_size):
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}: give a multiple of 2, the"):
        small([0, 1], batch_size)


def test_networks_that_share_names_are_refused():
    symG, symD = make_dcgan_sym(4, 4, 3, size=16)
    both = mx.sym.FullyConnected(symD, num_hidden=1, name="g1")
    with pytest.raises(ValueError, match="symG and symD both have g1_weight"):
        Trainer(symG, both, 8, SHAPE, nz=5, ctx=[mx.cpu(0), mx.cpu(1)])


def test_a_gradient_is_the_same_whatever_adds_it_up(make_batches):
    """MXNet's stores in the host's memory and on the devices."""
    states = []
    for name in ("local", "device"):
        trainer = small([0, 1], kvstore=mx.kv.create(name))
        for pair in make_batches(3, 8, SHAPE, nz=5):
            trainer.step(*pair)
        states.append(trainer.get_state())
    assert_same(*states)


def test_alone_everything_is_ones_own():
    workers = Workers()
    assert (workers.rank, workers.count) == (0, 1)
    values = np.array([0.0, -0.0, 1e-45, 3.4e38], np.float32)
    assert workers.all_gather(values).tobytes() == workers.broadcast(values).tobytes() == values.tobytes()
    assert workers.all_gather_text("é 1") == ["é 1"]
    workers.check_same("a", "flags")


def test_averages_do_not_depend_on_who_adds_them_up():
    """Thirds and tiny numbers, summed in two orders."""
    values = np.random.default_rng(0).random((1000, 3)).astype(np.float32)
    sums = []
    for order in (range(1000), reversed(range(1000))):
        metrics = Metrics()
        for i in order:
            metrics.update("d", 1, mx.nd.array(values[i]))
        sums.append(metrics.get_state()["sums"])
    assert sums[0] == sums[1]
    assert sums[0]["d_entropy"] == pytest.approx(-np.log(values + 1e-12).mean(1).sum(), abs=1e-4)

