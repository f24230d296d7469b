"""ONNX models against MXNet."""
import itertools
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.networks import BOTH, make_network, run_mxnet

from dcgan_mx.export.layers import read_network
from dcgan_mx.export.onnx_model import import_onnx, make_model
from dcgan_mx.symbols import SIZES


@pytest.mark.parametrize("network, nc, options, size", [
    *itertools.product("GD", (1, 3), BOTH[:1], SIZES),
    *itertools.product("GD", (1, 3), BOTH[1:], SIZES[:1])])
def test_outputs_match_mxnet(network, nc, options, size):
    sym, shape, params = make_network(network, 4, nc, size, **options)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        make_model(read_network(sym.tojson(), params), "y", {}, "0"), settings,
        providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).normal(0, 0.7, (9, *shape)).astype(np.float32)
    expected = run_mxnet(sym, params, x)
    assert expected.std() > 1e-3  # neither dead nor saturated
    for n in (9, 1):  # any batch size
        found, = session.run(["y"], {session.get_inputs()[0].name: x[:n]})
        assert found.dtype == np.float32 and found.shape == expected[:n].shape
        np.testing.assert_allclose(found, expected[:n], rtol=0, atol=1e-5)


@pytest.mark.parametrize("nc", [1, 3])
def test_content_of_model(nc):
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


def test_missing_or_incompatible_onnx(monkeypatch):
    """Simulates a version of onnx without one of the functions, and no onnx."""
    sym, _, params = make_network("G", 2, 3, 16)
    monkeypatch.delattr(onnx.helper, "make_opsetid")
    with pytest.raises(ValueError, match=r"cannot write a model of opset 11 \(.*\): install"):
        make_model(read_network(sym.tojson(), params), "y", {}, "0")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"cannot be imported .*: pip install 'dcgan-mx\[export"):
        import_onnx()
