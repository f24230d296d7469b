"""bfloat16 keeps 8 significant bits: rounding changes a number by at most one part in 256."""
import json
from itertools import product

import numpy as np
import pytest
from helpers.common import needs_bfloat16, run_code
from helpers.small import assert_same_arrays, assert_same_state, small_trainer

from dcgan_mx import make_dcgan_sym
from dcgan_mx.engine.bfloat16 import Bfloat16Module, to_bfloat16
from dcgan_mx.engine.module_state import get_parameters
from dcgan_mx.symbols import DOUBLE, SIZES
from dcgan_mx.system.amx import BFLOAT16
from dcgan_mx.system.runtime import mx

# Some processors are slower in bfloat16, or AMX is requested too late: the package warns.
pytestmark = [needs_bfloat16, pytest.mark.filterwarnings("ignore::RuntimeWarning")]
SHAPE = (3, 16, 16)


def small(precision="bfloat16", **options):
    return small_trainer(precision=precision, **options)


def distance(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def gradients(*mods):
    """All gradients of Modules, by the names of their parameters."""
    mx.nd.waitall()
    return {name: sum(array.asnumpy() for array in arrays) for mod in mods for name, arrays
            in zip(mod._exec_group.param_names, mod._exec_group.grad_arrays)}


LAYERS = {
    "convolution": ((8, 12, 12), lambda x: mx.sym.Convolution(x, num_filter=6, name="c", **DOUBLE)),
    "convolution of gray": ((1, 12, 12), lambda x: mx.sym.Convolution(
        x, num_filter=6, no_bias=True, name="c", **DOUBLE)),
    "the last convolution": ((8, 4, 4), lambda x: mx.sym.Convolution(
        x, num_filter=1, kernel=(4, 4), name="c")),
    "deconvolution": ((8, 6, 6), lambda x: mx.sym.Deconvolution(
        x, num_filter=3, no_bias=False, name="g", **DOUBLE)),
    "the first deconvolution": ((8, 1, 1), lambda x: mx.sym.Deconvolution(
        x, num_filter=6, kernel=(4, 4), no_bias=False, name="g")),
    "batch norm": ((8, 6, 6), lambda x: mx.sym.BatchNorm(x, fix_gamma=False, name="b")),
    "relu": ((8, 6, 6), lambda x: mx.sym.Activation(x, act_type="relu")),
    "leaky": ((8, 6, 6), lambda x: mx.sym.LeakyReLU(x, act_type="leaky", slope=0.2)),
    "leaky of defaults": ((8, 6, 6), mx.sym.LeakyReLU),
    "tanh": ((8, 6, 6), lambda x: mx.sym.Activation(x, act_type="tanh")),
}

FLOAT32 = ("the first deconvolution", "the last convolution", "tanh")  # these stay float32


def run(module, symbol, inputs, scale):
    """Output and gradients of a network, for random weights and output gradient."""
    mod = module(symbol, data_names=[name for name in inputs if name != "label"],
                 label_names=[name for name in inputs if name == "label"])
    shapes = [(name, array.shape) for name, array in inputs.items()]
    mod.bind(shapes[:1], shapes[1:] or None, inputs_need_grad=True)
    mx.random.seed(0)
    mod.init_params(mx.init.Normal(scale))
    arrays = [mx.nd.array(array) for array in inputs.values()]
    mod.forward(mx.io.DataBatch(arrays[:1], arrays[1:]), is_train=True)
    output = mod.get_outputs()[0]
    mod.backward([mx.nd.array(np.random.default_rng(1).normal(size=output.shape))])
    return {"output": output.asnumpy(), "input": mod.get_input_grads()[0].asnumpy(),
            **gradients(mod)}


def find_errors(symbol, inputs, scale):
    """Relative errors of the output and of all gradients, against float32."""
    expected, found = (run(module, symbol, inputs, scale)
                       for module in (mx.mod.Module, Bfloat16Module))
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    return {name: distance(found[name], array) for name, array in expected.items()
            if "gamma" not in name or array.any()}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_and_its_gradients_match_float32(layer):
    """Input, weight, output and gradient are each rounded by at most 2^-9: below 1 %."""
    shape, make = LAYERS[layer]
    inputs = {"data": np.random.default_rng(0).normal(size=(16, *shape))}
    errors = find_errors(make(mx.sym.Variable("data")), inputs, 0.5)
    assert max(errors.values()) < (1e-6 if layer in FLOAT32 else 0.01), errors
    assert (errors["input"] > 1e-4) != (layer in FLOAT32)


@pytest.mark.parametrize("nc", [1, 3])
@pytest.mark.parametrize("no_bias", [True, False])
def test_a_network_keeps_its_names_in_order(nc, no_bias):
    for symbol, shapes in zip(make_dcgan_sym(2, 2, nc, no_bias),
                              ({"rand": (2, 5, 1, 1)}, {"data": (2, nc, 64, 64)})):
        rounded = to_bfloat16(symbol, shapes)
        assert rounded.list_arguments() == symbol.list_arguments()
        assert rounded.list_auxiliary_states() == symbol.list_auxiliary_states()
        assert rounded.infer_shape(**shapes) == symbol.infer_shape(**shapes)
        dtypes = dict(zip(rounded.list_arguments(), rounded.infer_type()[0]))
        half = {name for name, dtype in dtypes.items() if dtype == BFLOAT16}
        layers = {name for name in dtypes if name[0] in "gd" and name[1].isdigit()}
        products = {"g1_weight", "g1_bias", "d5_weight", "d5_bias"}
        assert half == layers - products - ({"g5_weight", "g5_bias"} if nc == 1 else set())


def test_fake_and_real_gradients_are_added_in_float32(make_batches):
    """Bit-identical to the sum of the gradients of two Modules."""
    trainer = small()
    (fake, _), (real, _) = make_batches(2, 4, SHAPE, nz=5)
    parts = []
    for mod, batch, label in ((trainer.modD, fake, 0), (trainer._modD_accum, real, 1)):
        alone = Bfloat16Module(trainer.modD.symbol, data_names=["data"], label_names=["label"])
        alone.bind([("data", (4, *SHAPE))], [("label", (4,))])
        alone.init_params(arg_params=trainer.modD.get_params()[0],
                          aux_params=trainer.modD.get_params()[1])
        for each in (mod, alone):
            each.forward(mx.io.DataBatch(batch.data, [mx.nd.full((4,), label)]), is_train=True)
            each.backward()
        parts.append(gradients(alone))
    for name, found in gradients(trainer.modD).items():
        np.testing.assert_array_equal(found, parts[0][name] + parts[1][name], err_msg=name)
        assert "gamma" in name or parts[1][name].any()


def straighten(symbol):
    """A network whose (leaky) ReLUs have slope 1."""
    graph = json.loads(symbol.tojson())
    for node in graph["nodes"]:
        if node["op"] == "LeakyReLU" or node.get("attrs", {}).get("act_type") == "relu":
            node.update(op="LeakyReLU", attrs={"act_type": "leaky", "slope": "1.0"})
    return mx.sym.load_json(json.dumps(graph))


@pytest.mark.parametrize("straight", [True, False])
@pytest.mark.parametrize("network", ["G", "D"])
def test_network_errors_above_2_percent_come_from_slopes(network, straight):
    """With slopes of 1, each gradient is within 2 %.

    If rounding changes the sign of the input of a (leaky) ReLU, its slope differs.
    """
    rng = np.random.default_rng(0)
    symbol = dict(zip("GD", make_dcgan_sym(8, 8, 3, size=32)))[network]
    inputs = ({"rand": rng.normal(size=(32, 20, 1, 1))} if network == "G" else
              {"data": rng.uniform(-1, 1, (32, 3, 32, 32)), "label": np.ones(32)})
    errors = find_errors(straighten(symbol) if straight else symbol, inputs, 0.1)
    assert (max(errors.values()) < 0.02) == straight, errors
    assert max(errors.values()) < 0.2 and errors["output"] < 0.02


@pytest.mark.parametrize("options", [
    {}, {"g_loss": "saturating"}, {"nc": 1}, {"ctx": [mx.cpu(0), mx.cpu(1)]}])
def test_a_step_is_close_to_float32(options, make_batches):
    """Sums over few images are off by a third at most."""
    whole, ours = small("float32", **options), small(**options)
    assert all((get_parameters(whole.modG)[name] == array).all()
               for name, array in get_parameters(ours.modG).items())
    pair, = make_batches(1, 4, (options.get("nc", 3), 16, 16), nz=5)
    for trainer in (whole, ours):
        trainer.step(*pair)
    expected, found = (gradients(trainer.modG, trainer.modD) for trainer in (whole, ours))
    for name in expected:
        if "gamma" not in name:
            assert 0 < distance(found[name], expected[name]) < 1 / 3, name
    for name, value in whole.metrics.get().items():
        assert ours.metrics.get()[name] == pytest.approx(value, rel=0.01)
    assert {ours.outG.dtype, ours.diffD.dtype} == {np.float32}


def test_updates_below_the_resolution_of_bfloat16_are_kept(make_batches, parameters):
    """Adam's first update is 1e-7, far below the last bit of 0.02."""
    trainer = small(lr=1e-7)
    before = parameters(trainer)
    trainer.step(*make_batches(1, 4, SHAPE, nz=5)[0])
    after = parameters(trainer)
    for name in ("g1_weight", "g2_weight", "d1_weight", "d2_weight"):
        moved = np.abs(after[name] - before[name])
        assert moved.max() == pytest.approx(1e-7, rel=0.05) and (moved > 5e-8).mean() > 0.9


STEPS = """
import sys
from dcgan_mx import Trainer, make_dcgan_sym
from dcgan_mx.system.runtime import mx
for text in sys.argv[1:]:
    size, nc, n = map(int, text.split(","))
    print(text, flush=True)
    shape = (n, nc, size, size)
    trainer = Trainer(*make_dcgan_sym(2, 2, nc, size=size), n, shape[1:], nz=5,
                      precision="bfloat16")
    for _ in range(2):
        trainer.step(mx.io.DataBatch([mx.nd.random.uniform(-1, 1, shape)], []),
                     mx.io.DataBatch([mx.nd.random.normal(shape=(n, 5, 1, 1))], []))
    trainer.check_finite()
"""
GRID = [*product(SIZES, (1, 3), (1, 7, 64, 128))]


@pytest.mark.parametrize("cases", [
    [(16, 3, 1), (32, 1, 7), (64, 3, 7), (256, 3, 1), (16, 1, 128)],
    pytest.param(GRID, marks=pytest.mark.slow)])
def test_no_size_and_no_batch_crashes(cases):
    """In a process of its own, whose last line names the case that crashed."""
    texts = [",".join(map(str, case)) for case in cases]
    done = run_code(STEPS, *texts, check=False)
    assert done.returncode == 0, (done.stdout.splitlines()[-1:], done.stderr[-1000:])
    assert done.stdout.splitlines() == texts


@pytest.mark.parametrize("options", [
    {"d_steps": 2, "ema_decay": 0.9, "g_loss": "saturating"}, {"ctx": [mx.cpu(0), mx.cpu(1)]}])
def test_resume_is_bit_identical(options, make_batches):
    """From five steps; the state has float32 arrays only."""
    batches = make_batches(6, 4, SHAPE, nz=5)
    whole, states = small(**options), []
    for pair in batches:
        whole.step(*pair)
        states.append(whole.get_state())
    assert {array.dtype for part in ("G", "D", "G-optimizer", "D-optimizer", "G-ema", "replicas")
            for array in states[-1][part].values()} == {np.dtype(np.float32)}
    other = small(seed=1, **options)
    for k in range(1, 6):
        other.set_state(states[k - 1])
        for pair in batches[k:]:
            other.step(*pair)
        assert_same_state(other.get_state(), states[-1])


def test_a_state_restores_a_trainer_of_the_other_precision(make_batches):
    """Its symbols, names and numbers come back unchanged."""
    first, second = make_batches(2, 4, SHAPE, nz=5)
    whole, ours = small("float32", seed=1), small()
    ours.step(*first)
    state = ours.get_state()
    whole.set_state(state)
    found = whole.get_state()
    assert found["symbols"] == state["symbols"]
    assert_same_state(found, state)
    expected = small()
    expected.set_state(state)
    ours.set_state(found)
    for trainer in (ours, expected):
        trainer.step(*second)
    assert_same_arrays(get_parameters(expected.modG), get_parameters(ours.modG))


def test_another_batch_size_is_rejected(make_batches):
    (batch, rbatch), = make_batches(1, 2, SHAPE, nz=5)
    with pytest.raises(ValueError, match=r"^data_shapes: .*2, 5, 1, 1.*4, 5, 1, 1"):
        small().modG.forward(rbatch, is_train=True)


def test_a_gpu_is_rejected():
    with pytest.raises(ValueError, match="bfloat16"):
        small(ctx=mx.gpu(0))
