"""ONNX models against MXNet, and networks that are none of ours."""
import itertools
import json
import sys
import types

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import BOTH, make_network, run_mxnet

from dcgan_mx.images.layers import LayerError, read_network
from dcgan_mx.images.onnx_model import OnnxError, import_onnx, make_model
from dcgan_mx.symbols import SIZES


def open_model(content):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def check_equal(n, network, width, nc, size, **options):
    sym, shape, params = make_network(network, width, nc, size, **options)
    session = open_model(make_model(read_network(sym.tojson(), params), "y", {}, "0"))
    x = np.random.default_rng(1).normal(0, 0.7, (n, *shape)).astype(np.float32)
    expected = run_mxnet(sym, params, x)
    found, = session.run(["y"], {session.get_inputs()[0].name: x})
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert expected.std() > 1e-3  # neither dead nor saturated
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    one, = session.run(["y"], {session.get_inputs()[0].name: x[:1]})  # any batch size
    np.testing.assert_allclose(one, expected[:1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("network, nc, size", [*itertools.product("GD", (1, 3), SIZES)])
def test_every_size_is_equal_to_mxnet(network, nc, size):
    check_equal(3, network, 4, nc, size, **BOTH[nc == 1])


@pytest.mark.parametrize("network, nc, options", [*itertools.product("GD", (1, 3), BOTH)])
def test_a_thousand_vectors_are_equal_to_mxnet(network, nc, options):
    check_equal(1000, network, 4, nc, 16, **options)


@pytest.mark.slow
@pytest.mark.parametrize("network, nc, size", [*itertools.product("GD", (1, 3), SIZES)])
def test_a_thousand_vectors_of_every_size_are_equal_to_mxnet(network, nc, size):
    for seed in range(10):
        check_equal(100, network, 16, nc, size, seed=seed)


def test_gamma_is_1_where_it_is_fixed():
    """Whatever the parameters say, as MXNet has it."""
    for fixed in (True, False):
        sym, _, params = make_network("G", 2, 3, 16, fix_gamma=fixed)
        params["arg:gbn1_gamma"][:] = 7
        model = onnx.load_from_string(make_model(read_network(sym.tojson(), params), "y", {}, "0"))
        gamma, = (onnx.numpy_helper.to_array(array) for array in model.graph.initializer
                  if array.name == "gbn1_gamma")
        assert (gamma == (1 if fixed else 7)).all()


@pytest.mark.parametrize("nc", [1, 3])
def test_what_is_in_the_file(nc):
    sym, _, params = make_network("G", 2, nc, 32)
    model = onnx.load_from_string(make_model(read_network(sym.tojson(), params), "images",
                                             {"step": 5, "latent": "normal"}, "1.2"))
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 11)]
    assert (model.ir_version, model.producer_name, model.producer_version) == (6, "dcgan-mx", "1.2")
    assert {p.key: p.value for p in model.metadata_props} == {"step": "5", "latent": "normal"}
    assert [node.op_type for node in model.graph.node] == [
        *["ConvTranspose", "BatchNormalization", "Relu"] * 3, "ConvTranspose", "Tanh"]
    assert {array.name for array in model.graph.initializer} == {key[4:] for key in params}
    (given,), (made,) = model.graph.input, model.graph.output
    assert [given.name, made.name] == ["rand", "images"]
    assert [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in (given, made)] == [["N", 10, 1, 1], ["N", nc, 32, 32]]


def change(sym, which, **changes):
    """The JSON of a symbol, the nodes of one operator changed."""
    document = json.loads(sym.tojson())
    for node in document["nodes"]:
        if node["op"] == which:
            node.update(changes)
    return json.dumps(document)


@pytest.mark.parametrize("op, changes, parts", [
    ("Activation", {"op": "SoftmaxOutput", "attrs": {}}, "SoftmaxOutput gact4"),
    ("Activation", {"attrs": {"act_type": "softrelu"}}, "act_type=softrelu"),
    ("Deconvolution", {"attrs": {"kernel": "(4,)"}}, r"Deconvolution g4 .kernel=\(4,\)"),
    ("Deconvolution", {"attrs": {"kernel": "(4, 4)", "num_group": "2"}}, "num_group=2"),
    ("Deconvolution", {"attrs": {"kernel": "(3, 3)"}}, "ValueError: g1 has a weight of shape"),
    ("Deconvolution", {"op": "Convolution"}, "Convolution|channels|shape"),
    ("Deconvolution", {"inputs": [[40, 0, 0], [1, 0, 0]]}, "out of order"),
    ("BatchNorm", {"inputs": []}, "no chain of layers"),
    ("BatchNorm", {"attrs": None}, "no chain of layers")])
def test_foreign_networks_are_refused(op, changes, parts):
    sym, _, params = make_network("G", 2, 3, 32)
    with pytest.raises(LayerError, match=parts) as caught:
        read_network(change(sym, op, **changes), params)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"nodes": [], "heads": [[0, 0, 0]]}',
                                  '{"nodes": 1, "heads": []}', "[" * 5000])
def test_what_is_no_network(text):
    with pytest.raises(LayerError, match="no chain of layers"):
        read_network(text, {})


@pytest.mark.parametrize("name, shape", [("g2_weight", (4, 8, 4, 4)), ("gbn1_beta", (3,)),
                                         ("gbn2_gamma", (8, 1)), ("g1_weight", ())])
def test_parameters_of_another_network(name, shape):
    sym, _, params = make_network("G", 2, 3, 32)
    with pytest.raises(LayerError, match="no chain of layers"):
        read_network(sym.tojson(), {**params, f"arg:{name}": np.zeros(shape, np.float32)})
    del params[f"arg:{name}"]
    with pytest.raises(LayerError, match=name):
        read_network(sym.tojson(), params)


def test_a_grey_deconvolution_that_is_spelt_in_another_way():
    sym, _, params = make_network("G", 2, 1, 16)
    with pytest.raises(LayerError, match="col2im g3"):
        read_network(change(sym, "broadcast_like", op="broadcast_mul"), params)


def test_without_onnx(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(OnnxError, match=r"cannot be imported|missing: pip install 'dcgan-mx\[expo"):
        import_onnx()


@pytest.mark.parametrize("fault", ["no helper", "an argument", "the checker"])
def test_another_age_of_onnx(fault, monkeypatch):
    """Not the package, but what this one would meet if it lost a name or refused a model."""
    real, refusal = onnx, onnx.checker.ValidationError("opset 11")
    helper, checker = (types.SimpleNamespace(**vars(module))
                       for module in (real.helper, real.checker))
    if fault == "no helper":
        del helper.make_opsetid
    elif fault == "an argument":
        helper.make_model = lambda graph: None
    else:
        def refuse(*args, **kwargs):
            raise refusal
        checker.check_model = refuse
    monkeypatch.setattr(real, "helper", helper)
    monkeypatch.setattr(real, "checker", checker)
    monkeypatch.setattr(real, "__version__", "9.9")
    sym, _, params = make_network("G", 2, 3, 16)
    with pytest.raises(OnnxError, match=r"onnx 9.9 cannot write a model of opset 11 \(.*\): inst"):
        make_model(read_network(sym.tojson(), params), "y", {}, "0")
