"""Commands with models that MXNet's example wrote: a .params file, or a checkpoint's prefix."""
import json
import os

import numpy as np
import pytest
from helpers.networks import make_network, run_mxnet, split
from helpers.small import SMALL, final

from dcgan_mx.cli.evaluate import format_table
from dcgan_mx.runs.run import Run
from dcgan_mx.sampling.latent import make_latents
from dcgan_mx.system.runtime import mx
from dcgan_mx.visual import make_grid, read_png


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Symbols and parameters of G and D, and their folder: dcgan_G has a symbol, dcgan_D none."""
    folder, networks = tmp_path_factory.mktemp("models"), {}
    for network in "GD":
        sym, _, params = make_network(network, 4, 3, 16)
        params.update({name: np.ones_like(array) for name, array in params.items()
                       if name.endswith("_gamma")})
        networks[network] = sym, params
        mx.model.save_checkpoint(str(folder / f"dcgan_{network}"), 7, sym, *split(params))
    (folder / "dcgan_D-symbol.json").unlink()
    mx.nd.save(str(folder / "large_D-0007.params"), {
        name: mx.nd.array(array) for name, array in make_network("D", 4, 3, 32)[2].items()})
    return networks, folder


@pytest.mark.parametrize("source", ["dcgan_G", "dcgan_G-0007.params"])
def test_sample_draws_the_images_of_the_model(source, models, succeed, tmp_path):
    (sym, params), folder = models[0]["G"], models[1]
    done = succeed("sample", folder / source, cwd=tmp_path)
    assert done.stdout == f"samples.png: 64 images of {folder / 'dcgan_G-0007.params'}\n"
    images = run_mxnet(sym, params, make_latents(64, 10, 0).reshape(64, 10, 1, 1))
    np.testing.assert_array_equal(read_png(tmp_path / "samples.png"), make_grid(images))


def test_export_writes_both_networks(models, succeed, tmp_path):
    folder = models[1]
    succeed("export", folder / "dcgan_G", "G.html", cwd=tmp_path)
    assert "Model of MXNet's example, last weights, 16 x 16" in (tmp_path / "G.html").read_text()
    done = succeed("export", folder / "dcgan_D", "D.onnx", "--network", "D", cwd=tmp_path)
    assert done.stdout.startswith(f"D.onnx: D of {folder / 'dcgan_D-0007.params'}, ")
    assert sorted(os.listdir(tmp_path)) == ["D.onnx", "G.html"]


@pytest.mark.usefixtures("quick_evaluation")
def test_evaluate_needs_the_data_set(models, call, succeed, one_line_error, tmp_path):
    source = models[1] / "dcgan_G"
    done = succeed("evaluate", source, "--dataset", "synthetic", "--num-images", 64, "--json",
                   cwd=tmp_path)
    result = json.loads(done.stdout)
    assert (result["step"], result["dataset"], result["weights"]) == (None, "synthetic", "raw")
    assert result["swd"] > result["baseline"]["swd"] > 0
    assert os.listdir(tmp_path) == []
    assert format_table(result, source).startswith(f"64 images of {source}-0007.params (raw ")
    one_line_error(call("evaluate", source), "--dataset: missing", "give one of mnist")
    one_line_error(call("evaluate", "pretrained:mnist", "--dataset", "mnist"), "--dataset: ",
                   "remove")
    one_line_error(call("evaluate", "nothing", "--dataset", "mnist"), "nothing does not exist: ")


def test_weights_that_are_not_finite_are_rejected(models, call, one_line_error, tmp_path):
    arrays = mx.nd.load(str(models[1] / "dcgan_G-0007.params"))
    arrays["arg:g1_weight"][:] = np.nan
    mx.nd.save(str(tmp_path / "nan-0001.params"), arrays)
    one_line_error(call("sample", "nan", cwd=tmp_path),
                   "nan-0001.params: arg:g1_weight is not finite")


FLAGS = (*SMALL, "--nz", 10, "--lr", 1e-30, "--max-steps", 1)  # a rate that changes no weight


@pytest.mark.parametrize("with_d", [False, True])
def test_training_starts_with_the_models(with_d, models, succeed, tmp_path):
    networks, folder = models
    sources = [str(folder / "dcgan_G"), *[str(folder / "dcgan_D-0007.params")] * with_d]
    done = succeed("train", *FLAGS, "--init-from", ",".join(sources), "--run-dir", tmp_path / "run")
    of_d = sources[1] if with_d else "random weights"
    assert f"\nG starts from {sources[0]}-0007.params, D from {of_d}\n" in done.stdout
    trained = final(tmp_path / "run")
    for network, (_, params) in networks.items():
        for name, array in params.items():
            if name.endswith("_weight"):
                same = (trained[name] == array).all()
                assert same == (network == "G" or with_d), name
    config = Run(tmp_path / "run").read_config()
    assert config["flags"]["init_from"] == ",".join(sources) and config["init"]["step"] is None
    done = succeed("train", "--resume", "--run-dir", tmp_path / "run", "--max-steps", 2)
    assert "G starts" not in done.stdout


@pytest.mark.parametrize("flags, sources, parts", [
    (("--ndf", 8), "dcgan_G,dcgan_D", ("dcgan_D is another network", "--ndf 4 (not 8)")),
    (("--ngf", 8, "--ndf", 8), "dcgan_G,dcgan_D",
     ("dcgan_G is another network: use --ngf 4 (not 8)",)),
    (("--size", 32), "dcgan_G,large_D",
     ("dcgan_G is another network: use --size 16 (not 32)",)),
    ((), "dcgan_D", ("dcgan_D-0007.params contains D, not G",)),
    ((), "dcgan_G,dcgan_G", ("dcgan_G-0007.params contains G, not D",)),
    ((), "dcgan_G,pretrained:mnist", ("pretrained:mnist is only a generator",)),
    ((), "dcgan_G,", ("--init-from: 'dcgan_G,' has an empty part",)),
    ((), "dcgan_G,nothing", ("nothing does not exist: give ",))])
def test_other_initial_networks_are_rejected(flags, sources, parts, models, call, one_line_error):
    one_line_error(call("train", *FLAGS, *flags, "--init-from", sources, cwd=models[1]), *parts)
