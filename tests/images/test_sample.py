import json
import shutil

import cv2
import numpy as np
import pytest

from dcgan_mx import Trainer, make_dcgan_sym
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint_files import encode_state
from dcgan_mx.images.latent import make_latents
from dcgan_mx.training.module_state import get_parameters
from dcgan_mx.machine.runtime import mx
from dcgan_mx.images.sample import Generator, SampleError, load_generator


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of five steps, whose moving statistics are neither 0 nor 1."""
    mx.random.seed(1)
    trainer = Trainer(*make_dcgan_sym(8, 8, 3, size=16), 8, (3, 16, 16), nz=10,
                      initializer=mx.init.Normal(0.3))
    rng = np.random.default_rng(0)
    for _ in range(5):
        trainer.step(mx.io.DataBatch([mx.nd.array(rng.uniform(-1, 1, (8, 3, 16, 16)))], []),
                     mx.io.DataBatch([mx.nd.array(rng.normal(size=(8, 10, 1, 1)))], []))
    folder = tmp_path_factory.mktemp("run")
    checkpoint.save(folder, trainer)
    return folder


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


def test_parameters_of_another_network():
    symG, _ = make_dcgan_sym(8, 8, 3, size=16)
    other = Trainer(*make_dcgan_sym(4, 4, 3, size=16), 4, (3, 16, 16), nz=10)
    for params in (get_parameters(other.modG), {}, get_parameters(other.modD)):
        with pytest.raises(SampleError, match="not the parameters of this generator") as caught:
            Generator(symG, params)
        assert "\n" not in str(caught.value)


SAMPLE = ("sample.py",)


def grid(path):
    return cv2.imread(str(path))[..., ::-1]


@pytest.mark.parametrize("flags, shape", [
    ((), (8 * 16, 8 * 16)), (("--num", 5), (3 * 16, 3 * 16)), (("--num", 1), (16, 16)),
    (("--interpolate", 1, 2, "--steps", 5), (16, 5 * 16)),
    (("--sweep", 3, "--num", 2, "--steps", 4), (2 * 16, 4 * 16)),
    (("--arithmetic", "1,2,3 - 4 + 5,6"), (4 * 16, 4 * 16)),
    (("--bn", "batch", "--num", 3), (2 * 16, 2 * 16))])
def test_sample_script(flags, shape, run_dir, script, tmp_path):
    out = tmp_path / "o.png"
    done = script("sample.py", run_dir, "--out", out, *flags)
    assert done.returncode == 0, done.stderr
    assert grid(out).shape == (*shape, 3)
    before = out.read_bytes()
    assert script("sample.py", checkpoint.list(run_dir)[0], "--out", out, *flags).returncode == 0
    assert out.read_bytes() == before


def test_ends_of_a_walk_and_results_of_sums_are_the_seeds_images(run_dir, script, tmp_path):
    for name, flags in (("a", ("--seed", 7, "--num", 1)), ("b", ("--seed", 8, "--num", 1)),
                        ("walk", ("--interpolate", 7, 8)), ("sum", ("--arithmetic", "7 - 7 + 8"))):
        script("sample.py", run_dir, "--out", tmp_path / f"{name}.png", *flags)
    a, b, walk, result = (grid(tmp_path / f"{name}.png").astype(int)
                          for name in ("a", "b", "walk", "sum"))
    assert abs(walk[:, :16] - a).max() <= 1 and abs(walk[:, -16:] - b).max() <= 1
    assert abs(result[-16:, -16:] - b).max() <= 1 and abs(a - b).max() > 1


def test_each_image_in_a_file(run_dir, script, tmp_path):
    done = script("sample.py", run_dir, "--num", 3, "--each", tmp_path / "e", cwd=tmp_path)
    assert done.returncode == 0
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == [
        f"00000{i}.png" for i in range(3)]
    assert [path.name for path in tmp_path.iterdir()] == ["e"]
    script("sample.py", run_dir, "--num", 3, "--out", tmp_path / "g.png")
    np.testing.assert_array_equal(grid(tmp_path / "e" / "000002.png"),
                                  grid(tmp_path / "g.png")[16:, :16])


@pytest.mark.parametrize("flags, parts", [
    (("--num", 0), ("--num", "0 is out of range")),
    (("--seed", "x"), ("--seed", "'x'")),
    (("--interpolate", 1, "b"), ("--interpolate", "'b'")),
    (("--steps", 1, "--interpolate", 1, 2), ("--steps", "1 is out of range")),
    (("--sweep", 10), ("dimension 10", "0 to 9")),
    (("--arithmetic", "1 +"), ("--arithmetic", "'1 +'", "1,2,3 - 4,5,6")),
    (("--arithmetic", "1", "--sweep", 1), ("--arithmetic: give one",)),
    (("--bn", "none"), ("--bn", "'none'"))])
def test_bad_flags_of_sample(flags, parts, run_dir, script, one_line_error, tmp_path):
    one_line_error(script("sample.py", run_dir, *flags, cwd=tmp_path), *parts)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_checkpoint(run_dir, script, one_line_error, tmp_path):
    one_line_error(script("sample.py", tmp_path / "nothing"), "nothing is no folder")
    one_line_error(script("sample.py", tmp_path), "is no checkpoint, and has none")
    folder = tmp_path / "step-00000005"
    shutil.copytree(checkpoint.list(run_dir)[0], folder)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state))
    one_line_error(script("sample.py", folder), "state.json is damaged: give another checkpoint")
