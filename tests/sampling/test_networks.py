"""Models of MXNet's example, in files that MXNet writes."""
import json

import numpy as np
import pytest
from helpers.networks import BOTH, make_network, run_mxnet, split

from dcgan_mx.sampling.generator import load_generator, load_network
from dcgan_mx.sampling.networks import rebuild
from dcgan_mx.system.runtime import mx

REFERENCE, LEARNT = BOTH


def make_module(sym, params, name="rand", shape=(3, 10, 1, 1)):
    """The example's Module of a network, with these parameters."""
    mod = mx.mod.Module(sym, data_names=(name,), label_names=("label",) * (name == "data"))
    mod.bind([(name, shape)], [("label", shape[:1])] if name == "data" else None)
    mod.init_params(None, *split(params))
    return mod


@pytest.fixture
def z():
    return np.random.default_rng(5).normal(size=(3, 10)).astype(np.float32)


def save_params(mod, prefix):
    mod.save_params(f"{prefix}-0001.params")


def save_module(mod, prefix):
    mod.save_checkpoint(str(prefix), 1)


def save_model(mod, prefix):
    mx.model.save_checkpoint(str(prefix), 1, mod.symbol, *mod.get_params())


@pytest.mark.filterwarnings("ignore:.*without a symbol file, its gammas")
@pytest.mark.parametrize("save, options, size", [
    (save_params, REFERENCE, 64), (save_module, REFERENCE, 64), (save_model, REFERENCE, 32),
    (save_module, LEARNT, 64), (save_model, {"fix_gamma": True, "eps": 0.05}, 16)])
@pytest.mark.parametrize("named", ["", "-0001.params"])
def test_images_are_those_of_the_saved_module(save, options, size, named, z, tmp_path):
    sym, _, params = make_network("G", 4, 3, size, **options)
    assert abs(params["arg:gbn1_gamma"] - 1).max() > 0.1
    assert abs(params["aux:gbn1_moving_var"] - 1).max() > 0.1
    save(make_module(sym, params), tmp_path / "dcgan_G")
    generator, step = load_generator(f"{tmp_path / 'dcgan_G'}{named}", batch_size=3)
    assert step is None and not generator.averaged
    assert generator.find_shape() == {"size": size, "nc": 3, "nz": 10, "ngf": 4}
    images = generator.generate(z)
    np.testing.assert_array_equal(images, run_mxnet(sym, params, z.reshape(3, 10, 1, 1)))
    assert images.std() > 0.05


def test_prefix_stands_for_its_newest_epoch(z, tmp_path):
    prefix, params = str(tmp_path / "dcgan"), {}
    for epoch in (2, 10, 9):
        sym, _, params[epoch] = make_network("G", 2, 3, 16, seed=epoch)
        make_module(sym, params[epoch]).save_checkpoint(prefix, epoch)
    for path, epoch in ((prefix, 10), (f"{prefix}-0002.params", 2)):
        np.testing.assert_array_equal(load_generator(path, batch_size=3)[0].generate(z),
                                      run_mxnet(sym, params[epoch], z.reshape(3, 10, 1, 1)))


def test_gammas_without_a_symbol_are_announced(tmp_path):
    sym, _, params = make_network("G", 2, 3, 16)
    path = tmp_path / "G.params"
    make_module(sym, params).save_params(str(path))
    with pytest.warns(RuntimeWarning, match="G.params: without a symbol file, its gammas are"):
        load_generator(path)
    params.update({name: np.ones_like(array) for name, array in params.items()
                   if name.endswith("_gamma")})
    make_module(sym, params).save_params(str(path))
    load_generator(path)  # warnings are errors


def test_the_examples_gray_generator(z, tmp_path):
    """It has a Deconvolution where `make_dcgan_sym` has other operators."""
    _, _, params = make_network("G", 4, 1, 64, fix_gamma=False)
    rgb, _, _ = make_network("G", 4, 3, 64, fix_gamma=False)
    last = mx.sym.Deconvolution(rgb.get_internals()["gact4_output"], name="g5", num_filter=1,
                                no_bias=True, kernel=(4, 4), stride=(2, 2), pad=(1, 1))
    sym = mx.sym.Activation(last, name="gact5", act_type="tanh")
    mx.model.save_checkpoint(str(tmp_path / "G"), 0, sym, *split(params))
    expected = run_mxnet(sym, params, z.reshape(3, 10, 1, 1))
    np.testing.assert_allclose(load_generator(tmp_path / "G", batch_size=3)[0].generate(z),
                               expected, atol=1e-6)


@pytest.mark.parametrize("save", [save_params, save_model])
def test_discriminators_load(save, tmp_path):
    sym, shape, params = make_network("D", 4, 3, 64)
    params.update({name: np.ones_like(array) for name, array in params.items()
                   if name.endswith("_gamma")})
    save(make_module(sym, params, "data", (2, *shape)), tmp_path / "dcgan_D")
    symD, loaded, state = load_network(tmp_path / "dcgan_D-0001.params", "D")
    assert symD.tojson() == sym.tojson() and state["step"] is None
    assert loaded.keys() == params.keys()
    for name, array in params.items():
        np.testing.assert_array_equal(loaded[name], array)


def rewrite(text, version):
    """Rewrite a symbol as MXNet 0.8 and older, 0.9 or 1.1 wrote it."""
    graph, nodes, numbers = json.loads(text), [], {}
    for i, node in enumerate(graph["nodes"]):
        attrs = node.pop("attrs", {}) if node["op"] != "null" else {}
        if version == "0.8":
            if "_moving_" in node["name"]:
                continue
            if "kernel" in attrs:
                attrs = {"dilate": "(1,1)", "num_group": "1", "pad": "(0,0)", "stride": "(1,1)",
                         "workspace": "512", **attrs}
            if "eps" in attrs:
                attrs.update(eps="1e-05", momentum="0.9", use_global_stats="False")
            attrs = {name: value.replace(", ", ",") for name, value in attrs.items()}
            node.update(param=attrs, backward_source_id=-1, attr={"ctx_group": "one"})
        else:
            attrs = {name: value.replace("4, 4", "4L, 4L") for name, value in attrs.items()}
            node["attr" if version == "0.9" else "attrs"] = attrs
        if node["op"] == "Flatten":
            node["name"] = "flatten7"
        numbers[i] = len(nodes)
        node["inputs"] = [[numbers[source], *rest][:2 if version == "0.8" else 3]
                          for source, *rest in node["inputs"] if source in numbers]
        nodes.append(node)
    heads = [[numbers[source], *rest][:2 if version == "0.8" else 3]
             for source, *rest in graph["heads"]]
    return json.dumps({"nodes": nodes, "heads": heads, "arg_nodes": [
        i for i, node in enumerate(nodes) if node["op"] == "null"],
        **({} if version == "0.8" else {"attrs": {"mxnet_version": ["int", 903]}})})


@pytest.mark.parametrize("network", "GD")
@pytest.mark.parametrize("version", ["0.8", "0.9", "1.1"])
def test_symbols_of_old_versions_are_read_as_mxnet_reads_them(network, version):
    sym, shape, params = make_network(network, 4, 3, 64, **REFERENCE)
    text = rewrite(sym.tojson(), version)
    assert text != sym.tojson()
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    theirs = run_mxnet(mx.sym.load_json(text), params, x)
    symbol = rebuild(text, params, network, "")
    assert symbol.tojson() == sym.tojson()
    np.testing.assert_allclose(run_mxnet(symbol, params, x), theirs, atol=1e-6)


@pytest.mark.parametrize("change", [
    lambda nodes: nodes[2]["param"].update(pad="(1,1)"),
    lambda nodes: nodes[2]["param"].update(num_group="2"),
    lambda nodes: nodes[2]["param"].update(layout="NHWC"),
    lambda nodes: nodes[2].update(op="Convolution"),
    lambda nodes: nodes[5]["param"].update(use_global_stats="True"),
    lambda nodes: nodes[5]["param"].update(eps="nan"),
    lambda nodes: nodes[5]["inputs"].reverse(),
    lambda nodes: nodes[6].update(inputs=[[5, 1]]),
    lambda nodes: nodes[6].update(inputs=[[2, 0]]),
    lambda nodes: nodes[6].update(inputs=[]),
    lambda nodes: nodes[6].update(name="gact9"),
    lambda nodes: nodes[1].update(name="weight"),
    lambda nodes: nodes.append({**nodes[-1], "inputs": [[len(nodes) - 1, 0]]})])
def test_other_networks_of_old_versions_are_rejected(change):
    sym, _, params = make_network("G", 4, 3, 16)
    graph = json.loads(rewrite(sym.tojson(), "0.8"))
    rebuild(json.dumps(graph), params, "G", "")
    change(graph["nodes"])
    with pytest.raises(ValueError, match="another network"):
        rebuild(json.dumps(graph), params, "G", "another network")


def test_models_with_other_layers_are_rejected(tmp_path):
    prefix = tmp_path / "other"
    data = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=2, name="fc1")
    mx.model.save_checkpoint(str(prefix), 3, data, {"fc1_weight": mx.nd.ones((2, 3)),
                                                    "fc1_bias": mx.nd.ones(2)}, {})
    for network in "GD":
        with pytest.raises(ValueError, match=rf"other-0003.params is not {network} .* found "
                                             r"\['arg:fc1_weight', 'arg:fc1_bias'\]"):
            load_network(prefix, network)
    sym, _, params = make_network("G", 2, 3, 16)
    make_module(sym, params).save_params(f"{prefix}-0004.params")
    with pytest.raises(ValueError, match="other-symbol.json is not G .*/other-0004.params"):
        load_generator(prefix)
    with pytest.raises(ValueError, match="other-0004.params contains G, not D: "):
        load_network(prefix, "D")
    (tmp_path / "other-0005.params").write_bytes(b"text")
    with pytest.raises(ValueError, match="other-0005.params is "):
        load_generator(prefix)
