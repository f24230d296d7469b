import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.networks import run_mxnet
from helpers.small import rewrite_state

from dcgan_mx import Trainer, make_dcgan_sym
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint_files import list_checkpoints
from dcgan_mx.runs.params import dump_params, parse_params
from dcgan_mx.sampling.generator import load_generator, load_network
from dcgan_mx.sampling.latent import make_latents
from dcgan_mx.system.runtime import mx


@pytest.mark.parametrize("bn_stats", ["moving", "batch"])
def test_images_are_those_of_the_saved_network(bn_stats, run_dir):
    generator, step = load_generator(run_dir, bn_stats=bn_stats, batch_size=6)
    symbol, params, _ = checkpoint.load_network(list_checkpoints(run_dir)[0], "G")
    z = make_latents(6, 10, seed=2)
    assert step == 5 and generator.nz == 10
    expected = run_mxnet(mx.sym.load_json(symbol), params, z[..., None, None], bn_stats == "batch")
    np.testing.assert_allclose(generator.generate(z), expected, atol=1e-6)


def test_images_depend_on_their_batch_only_with_batch_statistics(run_dir):
    z = make_latents(70, 10, seed=3)
    generator, _ = load_generator(run_dir)
    together = generator.generate(z)
    assert together.shape == (70, 3, 16, 16) and together.std() > 0.01
    one_by_one = np.concatenate([generator.generate(z[i:i + 1]) for i in range(70)])
    np.testing.assert_allclose(one_by_one, together, atol=1e-5)
    generator, _ = load_generator(run_dir, bn_stats="batch", batch_size=4)
    assert abs(generator.generate(z[:8])[:1] - generator.generate(z[:1])).max() > 1e-3


def test_threads_share_a_generator(run_dir):
    generator, _ = load_generator(run_dir, batch_size=4)
    vectors = [make_latents(4, 10, seed) for seed in range(40)]
    expected = [generator.generate(z) for z in vectors]
    with ThreadPoolExecutor(4) as pool:
        for found, images in zip(pool.map(generator.generate, vectors), expected):
            np.testing.assert_array_equal(found, images)


def test_loads_checkpoint_without_d(run_dir, tmp_path):
    folder = tmp_path / "step-00000005"
    shutil.copytree(list_checkpoints(run_dir)[0], folder)
    for name in ("D-symbol.json", "D-0000.params", "D-optimizer.params", "G-optimizer.params"):
        (folder / name).unlink()
    z = make_latents(3, 10)
    np.testing.assert_array_equal(load_generator(folder)[0].generate(z),
                                  load_generator(run_dir)[0].generate(z))
    (folder / "G-0000.params").unlink()
    with pytest.raises(ValueError, match="G-0000.params: No such file"):
        load_generator(folder)


def test_rejects_unknown_weights(run_dir):
    with pytest.raises(ValueError, match="^weights: invalid value 'averaged': expected 'ema' or "):
        load_generator(run_dir, weights="averaged")


def test_rejects_other_latent_distribution(run_dir, tmp_path):
    folder = shutil.copytree(list_checkpoints(run_dir)[0], tmp_path / "step-00000005")
    rewrite_state(folder, latent="uniform")
    with pytest.raises(ValueError, match="distribution 'uniform'; this version supports 'normal'"):
        load_generator(folder)


@pytest.mark.parametrize("size, nc, options", [
    (16, 3, {}), (32, 1, {"no_bias": False}), (64, 3, {"fix_gamma": False, "eps": 1e-3})])
def test_loaded_networks_equal_saved_ones(size, nc, options, tmp_path):
    symbols = make_dcgan_sym(2, 3, nc, size=size, **options)
    checkpoint.save(tmp_path, Trainer(*symbols, 2, (nc, size, size), nz=4))
    for network, symbol in zip("GD", symbols):
        assert load_network(tmp_path, network)[0].tojson() == symbol.tojson()


def edit(change):
    """Return a function that changes the JSON of a network by its nodes or its graph."""
    def edited(text):
        graph = json.loads(text)
        change(graph["nodes"], graph)
        return json.dumps(graph)
    return edited


@pytest.mark.parametrize("change", [
    lambda text: "", lambda text: "[" * 5000, lambda text: "[]", lambda text: '{"nodes": [{}]}',
    lambda text: '{"' + "\u4e2d" * 200 + text[1:],
    edit(lambda nodes, graph: graph["heads"][0].__setitem__(0, len(nodes))),
    # MXNet would read outside its memory, or crash.
    edit(lambda nodes, _: nodes[-1]["inputs"][0].__setitem__(1, 2**31)),
    edit(lambda nodes, _: nodes[-1].update(op="scatter_nd", attrs={"shape": "(1, 1)"})),
    # Other networks
    edit(lambda nodes, _: nodes[-1]["attrs"].update(act_type="relu")),
    edit(lambda nodes, _: nodes[2]["attrs"].update(num_filter="5")),
    edit(lambda nodes, _: [node["attrs"].update(eps=10**400) for node in nodes
                           if node["op"] == "BatchNorm"]),
    edit(lambda nodes, _: [node["attrs"].update(fix_gamma="False") for node in nodes
                           if node["name"] == "gbn1"])])
@pytest.mark.parametrize("ema", [0, 0.9])
def test_rejects_other_graphs_with_valid_checksums(change, ema, tiny, tmp_path):
    """An attacker can compute valid checksums; MXNet must never execute such a graph."""
    folder = shutil.copytree(tiny[ema], tmp_path / "step-00000000")
    symbol = folder / "G-symbol.json"
    symbol.write_text(change(symbol.read_text()), encoding="utf-8")
    rewrite_state(folder)
    with pytest.raises(ValueError, match="G-symbol.json is not a network of make_dcgan_sym with"
                                         " these parameters: give another") as caught:
        load_generator(folder)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Checkpoints of tiny networks by their EMA decay."""
    symbols = make_dcgan_sym(2, 2, 3, size=16)
    return {ema: checkpoint.save(tmp_path_factory.mktemp("tiny"), Trainer(
        *symbols, 2, (3, 16, 16), nz=4, ema_decay=ema)) for ema in (0, 0.9)}


@pytest.mark.parametrize("file, name, shape, words", [
    ("G-0000", "arg:gbn1_beta", (3,), r"arg:gbn1_beta has shape \(3,\), expected \(4,\)"),
    ("G-0000", "aux:gbn2_moving_var", None, r"moving_var has shape None, expected \(2,\)"),
    ("G-0000", "arg:more", (1,), r"arg:more has shape \(1,\), expected None"),
    ("G-0000", "arg:g1_weight", (0, 4, 4, 4), "is not a network"),
    ("G-0000", "arg:g3_weight", (2**28, 3, 0, 4), "is not a network"),
    ("G-0000", "arg:g2_weight", (), "parameters do not fit this network"),
    ("G-0000", "arg:g3_weight", None, "is not a network"),
    ("G-ema", "arg:g1_weight", (), "arg:g1_weight has"),
    ("G-ema", "arg:g1_weight", (4, 4, 4), "arg:g1_weight has"),
    ("G-ema", "arg:other", (1,), "arg:other has")])
def test_rejects_other_parameters_with_valid_checksums(file, name, shape, words, tiny, tmp_path):
    folder = shutil.copytree(tiny[0.9], tmp_path / "step-00000000")
    path = folder / f"{file}.params"
    params = parse_params(path.read_bytes(), path)
    params[name] = np.zeros(shape or (1,), np.float32)
    if shape is None:
        del params[name]
    path.write_bytes(b"".join(map(bytes, dump_params(params))))
    rewrite_state(folder)
    with pytest.raises(ValueError, match=words) as caught:
        load_generator(folder)
    assert "\n" not in str(caught.value)
