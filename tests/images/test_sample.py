import hashlib
import json
import shutil

import numpy as np
import pytest

from dcgan_mx import Trainer, make_dcgan_sym
from dcgan_mx.images.latent import make_latents
from dcgan_mx.images.sample import Generator, SampleError, load_generator
from dcgan_mx.machine.runtime import mx
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint_files import encode_state
from dcgan_mx.training.module_state import get_parameters


def by_hand(z, params, batch_statistics):
    """The generator's definition in NumPy: deconvolution, BatchNorm, ReLU; tanh."""
    x = z.reshape(len(z), -1, 1, 1).astype(np.float64)
    for i, name in enumerate(("g1", "g2", "g3"), 1):
        w = params[f"arg:{name}_weight"]
        stride, pad = (1, 0) if i == 1 else (2, 1)
        n, _, height, width = x.shape
        out = np.zeros((n, w.shape[1], (height - 1) * stride + 4, (width - 1) * stride + 4))
        for r in range(height):
            for c in range(width):
                out[:, :, r * stride:r * stride + 4, c * stride:c * stride + 4] += np.einsum(
                    "ni,iokl->nokl", x[:, :, r, c], w)
        x = out[:, :, pad:out.shape[2] - pad, pad:out.shape[3] - pad]
        if i == 3:
            return np.tanh(x)
        mean, var = ((x.mean((0, 2, 3)), x.var((0, 2, 3))) if batch_statistics else
                     (params[f"aux:gbn{i}_moving_mean"], params[f"aux:gbn{i}_moving_var"]))
        mean, var, beta = (a.reshape(-1, 1, 1) for a in (mean, var, params[f"arg:gbn{i}_beta"]))
        x = np.maximum((x - mean) / np.sqrt(var + 1e-5 + 1e-12) + beta, 0)
    return None


@pytest.mark.parametrize("bn", ["moving", "batch"])
def test_images_are_the_definitions(bn, run_dir):
    generator, step = load_generator(run_dir, bn=bn, batch_size=6)
    _, params, _ = checkpoint.load_network(checkpoint.list(run_dir)[0], "G")
    z = make_latents(6, 10, seed=2)
    assert step == 5 and generator.nz == 10
    np.testing.assert_allclose(generator.generate(z), by_hand(z, params, bn == "batch"), atol=1e-5)


def test_moving_statistics_give_the_same_one_by_one(run_dir):
    generator, _ = load_generator(run_dir)
    z = make_latents(70, 10)
    together = generator.generate(z)
    assert together.shape == (70, 3, 16, 16) and together.std() > 0.01
    one_by_one = np.concatenate([generator.generate(z[i:i + 1]) for i in range(70)])
    np.testing.assert_allclose(one_by_one, together, atol=1e-5)


def test_batch_statistics_depend_on_the_batch(run_dir):
    generator, _ = load_generator(run_dir, bn="batch", batch_size=4)
    z = make_latents(8, 10, seed=3)
    assert abs(generator.generate(z)[:1] - generator.generate(z[:1])).max() > 1e-3


def test_same_seed_and_checkpoint_same_pixels(run_dir):
    first, second = (load_generator(run_dir)[0].generate(make_latents(9, 10, 4)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_parameters_can_be_changed(run_dir):
    symbol, params, _ = checkpoint.load_network(checkpoint.list(run_dir)[0], "G")
    symG = mx.sym.load_json(symbol)
    changed = {name: array * 2 for name, array in params.items()}
    generator = Generator(symG, params)
    generator.set_params(changed)
    z = make_latents(3, 10)
    np.testing.assert_array_equal(generator.generate(z), Generator(symG, changed).generate(z))


def test_a_checkpoint_without_d_is_enough(run_dir, tmp_path):
    folder = tmp_path / "step-00000005"
    shutil.copytree(checkpoint.list(run_dir)[0], folder)
    for name in ("D-symbol.json", "D-0000.params", "D-optimizer.params", "G-optimizer.params"):
        (folder / name).unlink()
    z = make_latents(3, 10)
    np.testing.assert_array_equal(load_generator(folder)[0].generate(z),
                                  load_generator(run_dir)[0].generate(z))
    (folder / "G-0000.params").unlink()
    with pytest.raises(ValueError, match="G-0000.params: No such file"):
        load_generator(folder)


def test_another_latent_distribution_is_refused(run_dir, tmp_path):
    folder = tmp_path / "step-00000005"
    shutil.copytree(checkpoint.list(run_dir)[0], folder)
    state = json.loads((folder / "state.json").read_bytes())
    assert state["latent"] == "normal"
    del state["sha256"]
    (folder / "state.json").write_bytes(encode_state({**state, "latent": "uniform"}))
    with pytest.raises(SampleError, match="latent vectors are 'uniform'.* give one of 'normal'"):
        load_generator(folder)


def edit(change):
    """Change the JSON of a network as the function of its nodes and its whole graph says."""
    def edited(text):
        graph = json.loads(text)
        change(graph["nodes"], graph)
        return json.dumps(graph)
    return edited


@pytest.mark.parametrize("change, words", [
    # MXNet quotes it, cut in the middle of a letter
    (lambda text: '{"' + "\u4e2d" * 200 + text[1:], "G-symbol.json is no network"),
    (lambda text: "{" + text[text.index("]"):], "G-symbol.json is no network"),
    (edit(lambda nodes, graph: graph["heads"][0].__setitem__(0, len(nodes))), "is no network"),
    (edit(lambda nodes, _: nodes[-1].update(inputs=[[len(nodes) - 1, 0, 0]])), "is no network"),
    # these two ended the process
    (edit(lambda nodes, _: nodes[-1]["inputs"][0].__setitem__(1, 2**31)), "is no network"),
    (edit(lambda nodes, _: nodes[-1]["inputs"][0].__setitem__(1, 8)), "is no network"),
    (edit(lambda nodes, _: nodes[2]["attrs"].update(num_filter="5")),
     "not the parameters of this network")])
@pytest.mark.parametrize("ema", [0, 0.9])
def test_another_network_in_a_sealed_checkpoint(change, words, ema, tmp_path):
    """Whoever knows the format can seal what MXNet then reads: it is refused in one line."""
    trainer = Trainer(*make_dcgan_sym(2, 2, 3, size=16), 2, (3, 16, 16), nz=4, ema=ema)
    folder = checkpoint.save(tmp_path, trainer)
    symbol = folder / "G-symbol.json"
    symbol.write_text(change(symbol.read_text()), encoding="utf-8")
    document = json.loads((folder / "state.json").read_bytes())
    del document["sha256"]
    document["files"][symbol.name] = hashlib.sha256(symbol.read_bytes()).hexdigest()
    (folder / "state.json").write_bytes(encode_state(document))
    with pytest.raises(SampleError, match=words) as caught:
        load_generator(folder)
    assert "\n" not in str(caught.value)


def test_parameters_of_another_network():
    symG, _ = make_dcgan_sym(8, 8, 3, size=16)
    other = Trainer(*make_dcgan_sym(4, 4, 3, size=16), 4, (3, 16, 16), nz=10)
    for params in (get_parameters(other.modG), {}, get_parameters(other.modD)):
        with pytest.raises(SampleError, match="not the parameters of this network") as caught:
            Generator(symG, params)
        assert "\n" not in str(caught.value)
