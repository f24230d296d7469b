import json

import numpy as np
import pytest

from dcgan_mx import make_dcgan_sym
from dcgan_mx.symbols import _deconv_one_channel
from dcgan_mx.system.runtime import mx


def reference(ngf, ndf, nc, no_bias=True, fix_gamma=True, eps=1e-5 + 1e-12):
    """The example's graph, layer by layer."""
    S, up = mx.sym, {"kernel": (4, 4), "stride": (2, 2), "pad": (1, 1), "no_bias": no_bias}
    bn = {"fix_gamma": fix_gamma, "eps": eps}
    g = S.Deconvolution(S.Variable("rand"), name="g1", kernel=(4, 4), num_filter=ngf * 8,
                        no_bias=no_bias)
    g = S.Activation(S.BatchNorm(g, name="gbn1", **bn), name="gact1", act_type="relu")
    for i, width in ((2, 4), (3, 2), (4, 1)):
        g = S.Deconvolution(g, name=f"g{i}", num_filter=ngf * width, **up)
        g = S.Activation(S.BatchNorm(g, name=f"gbn{i}", **bn), name=f"gact{i}", act_type="relu")
    g = S.Deconvolution(g, name="g5", num_filter=nc, **up)
    gout = S.Activation(g, name="gact5", act_type="tanh")

    leaky = {"act_type": "leaky", "slope": 0.2}
    d = S.Convolution(S.Variable("data"), name="d1", num_filter=ndf, **up)
    d = S.LeakyReLU(d, name="dact1", **leaky)
    for i, width in ((2, 2), (3, 4), (4, 8)):
        d = S.Convolution(d, name=f"d{i}", num_filter=ndf * width, **up)
        d = S.LeakyReLU(S.BatchNorm(d, name=f"dbn{i}", **bn), name=f"dact{i}", **leaky)
    d = S.Convolution(d, name="d5", kernel=(4, 4), num_filter=1, no_bias=no_bias)
    d = S.Flatten(d, name="flatten0")
    return gout, S.LogisticRegressionOutput(data=d, label=S.Variable("label"), name="dloss")


@pytest.mark.parametrize("options", [{}, {"no_bias": False, "fix_gamma": False, "eps": 1e-3}])
def test_graph_at_64_is_the_references(options):
    for ours, theirs in zip(make_dcgan_sym(8, 4, 3, **options), reference(8, 4, 3, **options)):
        assert json.loads(ours.tojson()) == json.loads(theirs.tojson())


@pytest.mark.parametrize("no_bias", [True, False])
def test_gray_networks_have_the_references_parameters(no_bias):
    ours, theirs = make_dcgan_sym(8, 8, 1, no_bias=no_bias), reference(8, 8, 1, no_bias=no_bias)
    for pair, shapes in zip(zip(ours, theirs), ({"rand": (2, 10, 1, 1)},
                                                {"data": (2, 1, 64, 64)})):
        first, second = (dict(zip(symbol.list_arguments(), symbol.infer_shape(**shapes)[0]))
                         for symbol in pair)
        assert first == second


@pytest.mark.parametrize("size, stages", [(16, 2), (32, 3), (64, 4), (128, 5), (256, 6)])
@pytest.mark.parametrize("nc", [1, 3])
def test_each_stage_doubles_the_size(size, stages, nc):
    symG, symD = make_dcgan_sym(4, 4, nc, size=size)
    again = make_dcgan_sym(4, 4, nc, size=size)
    assert [sym.tojson() for sym in (symG, symD)] == [sym.tojson() for sym in again]
    assert symG.infer_shape(rand=(2, 10, 1, 1))[1] == [(2, nc, size, size)]
    assert symD.infer_shape(data=(2, nc, size, size))[1] == [(2, 1)]
    # every stage doubles or halves the image: 4 x 4 is reached in size / 4 = 2 ** stages
    internals = symG.get_internals()
    for i in range(1, stages + 1):
        shape = internals[f"gact{i}_output"].infer_shape(rand=(2, 10, 1, 1))[1][0]
        assert shape[2:] == (2 ** (i + 1),) * 2
        assert shape[1] <= 8 * 4
    assert shape[1] == 4


def deconvolve(x, weight):
    """Kernel 4, stride 2, pad 1, straight from the definition, in float64."""
    n, channels, h, w = x.shape
    out = np.zeros((n, weight.shape[1], 2 * h + 2, 2 * w + 2))
    for i in range(h):
        for j in range(w):
            out[:, :, 2 * i:2 * i + 4, 2 * j:2 * j + 4] += np.einsum(
                "nc,cokl->nokl", x[:, :, i, j].astype(float), weight.astype(float))
    return out[:, :, 1:-1, 1:-1]


@pytest.mark.parametrize("no_bias", [True, False])
def test_one_channel_deconvolution_matches_its_definition(no_bias):
    """Output by the definition; both gradients from the layer's linearity."""
    rng = np.random.default_rng(0)
    layer = _deconv_one_channel(mx.sym.Variable("x"), "g", 5, no_bias, 16)
    executor = layer.simple_bind(mx.cpu(), x=(2, 5, 8, 8))
    values = {name: rng.normal(size=array.shape).astype(np.float32)
              for name, array in executor.arg_dict.items()}
    out = executor.forward(is_train=True, **{k: mx.nd.array(v) for k, v in values.items()})[0]
    bias = values.get("g_bias", 0)
    np.testing.assert_allclose(out.asnumpy(), deconvolve(values["x"], values["g_weight"]) + bias,
                               atol=1e-4)
    head = rng.normal(size=out.shape).astype(np.float32)
    executor.backward([mx.nd.array(head)])
    step = {name: rng.normal(size=value.shape) for name, value in values.items()}
    for name, moved in (("x", deconvolve(step["x"], values["g_weight"])),
                        ("g_weight", deconvolve(values["x"], step["g_weight"])),
                        ("g_bias", step.get("g_bias", 0) * np.ones(out.shape))):
        if name in values:
            gradient = executor.grad_dict[name].asnumpy()
            assert (gradient * step[name]).sum() == pytest.approx((moved * head).sum(), rel=1e-4)


@pytest.mark.parametrize("name, args, kwargs", [
    ("ngf", (0, 8, 3), {}), ("ndf", (8, -1, 3), {}), ("nc", (8, 8, 2), {}),
    ("size", (8, 8, 3), {"size": 48}), ("size", (8, 8, 3), {"size": 512})])
def test_invalid_arguments_are_rejected(name, args, kwargs):
    with pytest.raises(ValueError, match=f"^{name}: invalid value .*: expected"):
        make_dcgan_sym(*args, **kwargs)


def test_sizes_may_be_numpys():
    for ours, theirs in zip(make_dcgan_sym(*map(np.int64, (8, 4, 1)), size=np.int64(16)),
                            make_dcgan_sym(8, 4, 1, size=16)):
        assert ours.tojson() == theirs.tojson()
    with pytest.raises(ValueError, match="^ngf: invalid value '8': expected 1 or more channels"):
        make_dcgan_sym("8", 4, 1)
