"""Bundled generators, and trainings that start from them."""
import json
import os
import shutil

import numpy as np
import pytest
from helpers.small import SMALL, assert_same_arrays, final

from dcgan_mx import Trainer, load_pretrained, make_dcgan_sym
from dcgan_mx.cli.resolve import load_init_weights
from dcgan_mx.cli.train import make_trainer
from dcgan_mx.engine.module_state import get_parameters, get_statistics
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.config import DEFAULTS
from dcgan_mx.runs.run import Run
from dcgan_mx.sampling import pretrained
from dcgan_mx.sampling.bn_calibration import measure_statistics
from dcgan_mx.sampling.generator import Generator, load_generator
from dcgan_mx.sampling.latent import make_latents
from dcgan_mx.system.runtime import mx
from dcgan_mx.visual import make_grid, read_png
from tools.quality.make_pretrained import make_pretrained

GRAY = (*SMALL, "--nc", 1, "--batch-size", 16)


@pytest.fixture(scope="module")
def bundled(train, tmp_path_factory):
    """A run, and a folder of bundled generators with one of it, `discs`."""
    run_dir, folder = tmp_path_factory.mktemp("run") / "run", tmp_path_factory.mktemp("bundled")
    train(*GRAY, "--ema-decay", 0.9, "--max-steps", 3, "--run-dir", run_dir)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "FOLDER", folder)
        text = make_pretrained(str(run_dir), "discs")
        assert text.startswith(f"{folder / 'discs.params'}: ") and "of step 3" in text
        yield run_dir, folder


def test_bundled_weights_are_rounded_averages_with_calibrated_statistics(bundled):
    run_dir, folder = bundled
    step = checkpoint.list_checkpoints(run_dir)[0]
    average = {name: array.astype(np.float16).astype(np.float32)
               for name, array in checkpoint.load_average(step).items()}
    symG, _ = make_dcgan_sym(4, 4, 1, size=16)
    of_last = checkpoint.load_network(step, "G")[1]
    expected = {**average, **measure_statistics(symG, {**of_last, **average})}
    generator, z = load_pretrained("discs"), make_latents(70, 100, seed=5)
    assert generator.averaged
    assert_same_arrays(generator.get_params(), expected)
    images = generator.generate(z)
    np.testing.assert_array_equal(images, Generator(symG, expected).generate(z))
    np.testing.assert_array_equal(images, load_pretrained("pretrained:discs").generate(z))
    np.testing.assert_allclose(images, load_generator(run_dir)[0].generate(z), atol=2e-3)
    # MXNet reads the file
    for name, array in mx.nd.load(str(folder / "discs.params")).items():
        np.testing.assert_array_equal(array.asnumpy().astype(np.float32), expected[name])


@pytest.mark.usefixtures("bundled", "quick_evaluation")
def test_sample_and_evaluate_accept_it_and_write_no_other_files(succeed, tmp_path):
    grid = make_grid(load_pretrained("discs").generate(make_latents(64, 100)))
    for source in (("--pretrained", "discs"), ("pretrained:discs",)):
        assert "64 images of step 3" in succeed("sample", *source, cwd=tmp_path).stdout
        np.testing.assert_array_equal(read_png(tmp_path / "samples.png"), grid)
    done = succeed("evaluate", "pretrained:discs", "--num-images", 64, "--json", cwd=tmp_path)
    result = json.loads(done.stdout)
    assert (result["step"], result["dataset"], result["weights"]) == (3, "synthetic", "ema")
    assert result["swd"] > result["baseline"]["swd"] > 0
    assert os.listdir(tmp_path) == ["samples.png"]


@pytest.mark.parametrize("command, parts", [
    (("sample",), ("CHECKPOINT --pretrained is required",)),
    (("sample", "RUN", "--pretrained", "discs"), ("CHECKPOINT", "--pretrained")),
    (("sample", "--pretrained", "cats"), ("pretrained:cats", "choose from pretrained:discs")),
    (("sample", "pretrained:discs", "--weights", "raw"),
     ("weights: pretrained:discs has only ema weights", "omit")),
    (("sample", "pretrained:discs", "--traverse", 100), ("dimension 100", "0 to 99")),
    (("animate", "pretrained:discs"), ("pretrained:discs", "run directory")),
    (("report", "pretrained:discs"), ("pretrained:discs", "run directory")),
    (("train", *GRAY, "--init-from", "pretrained:cats"), ("pretrained:cats", "pretrained:discs")),
    (("train", *GRAY, "--init-from", ""), ("'' has an empty part",)),
    (("train", *GRAY, "--init-from", "pretrained:discs", "--nc", 3),
     ("--init-from: pretrained:discs is another network: use --nc 1 (not 3)",)),
    (("train", *GRAY, "--init-from", "pretrained:discs", "--size", 32, "--ngf", 8, "--nz", 7),
     ("use --size 16 (not 32), --nz 100 (not 7), --ngf 4 (not 8)",))])
def test_invalid_uses_are_one_line(command, parts, bundled, call, one_line_error, tmp_path):
    command = [bundled[0] if part == "RUN" else part for part in command]
    one_line_error(call(*command, cwd=tmp_path), *parts)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("devices", [1, 2])
def test_training_starts_with_these_weights_and_a_random_d(devices, bundled):
    run_dir, _ = bundled
    config = Run(run_dir).read_settings().replace({"init_from": "pretrained:discs"}).config
    contexts = [mx.cpu(i) for i in range(devices)]
    initializer, found = load_init_weights(config, contexts[0])
    trainer = make_trainer(config, contexts, initializer=initializer)
    expected = load_pretrained("discs").get_params()
    for name, array in get_parameters(trainer.modG).items():
        np.testing.assert_array_equal(array, expected[name])
    for name, rows in get_statistics(trainer.modG).items():
        for row in rows:
            np.testing.assert_array_equal(row, expected[name])
    assert found["step"] == 3 and len(found["sha256"]) == 64
    ours, theirs = get_parameters(trainer.modD), checkpoint.load_network(
        checkpoint.list_checkpoints(run_dir)[0], "D")[1]
    assert abs(ours["arg:d2_weight"].std() - 0.02) < 0.002
    assert (ours["arg:d2_weight"] != theirs["arg:d2_weight"]).all()


@pytest.mark.parametrize("options, reasons", [
    ({"fix_gamma": False}, "fix_gamma=False"), ({"eps": 1e-3}, "another eps"),
    ({"no_bias": False, "fix_gamma": False}, "biases and fix_gamma=False")])
def test_init_from_rejects_other_layers(options, reasons, tmp_path):
    """The error comes before that of other shapes, which the user would change in vain."""
    checkpoint.save(tmp_path, Trainer(*make_dcgan_sym(4, 4, 3, size=16, **options), 4, (3, 16, 16)))
    config = DEFAULTS.replace({"init_from": str(tmp_path)}).config
    with pytest.raises(ValueError, match=f"^init_from: {tmp_path} has {reasons}: it can be"):
        load_init_weights(config, mx.cpu())


@pytest.mark.parametrize("kind", ["pretrained:discs", "run", "checkpoint"])
def test_init_from_is_stored_with_the_run(kind, bundled, succeed, tmp_path):
    source = {"run": bundled[0],
              "checkpoint": checkpoint.list_checkpoints(bundled[0])[0]}.get(kind, kind)
    # a learning rate too low to change a float32 weight
    done = succeed("train", *GRAY, "--init-from", source, "--lr", 1e-30, "--max-steps", 1,
                   "--run-dir", tmp_path / "run")
    found = source if kind == "pretrained:discs" else checkpoint.list_checkpoints(bundled[0])[-1]
    assert f"\nG starts from {found}, D from random weights\n" in done.stdout
    expected = load_generator(source)[0].get_params()
    for name, array in final(tmp_path / "run").items():
        if name.startswith("arg:g"):
            np.testing.assert_array_equal(array, expected[name])
    config = Run(tmp_path / "run").read_config()
    assert config["flags"]["init_from"] == str(source) and config["init"]["step"] == 3


def test_resume_uses_init_from_only_without_a_checkpoint(bundled, call, succeed, one_line_error,
                                                         tmp_path, monkeypatch):
    whole, early = tmp_path / "whole", tmp_path / "early"
    flags = (*GRAY, "--init-from", "pretrained:discs", "--checkpoint-steps", 1, "--max-steps", 2)
    succeed("train", *flags, "--run-dir", whole)
    begun = Run(whole).read_config()["init"]
    # killed before its first checkpoint
    shutil.copytree(whole, early)
    shutil.rmtree(early / "checkpoints")
    (early / "result.json").unlink()
    done = succeed("train", *flags, "--run-dir", early, "--resume")
    assert "no checkpoint yet" in done.stdout
    assert_same_arrays(final(whole), final(early))
    one_line_error(call("train", *GRAY, "--init-from", bundled[0], "--run-dir", whole, "--resume"),
                   f"--init-from: {bundled[0]} differs from pretrained:discs", "start a new run")
    # another generator under the same name
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    make_pretrained(str(early), "discs")
    shutil.rmtree(early / "checkpoints")
    (early / "result.json").unlink()
    one_line_error(call("train", "--run-dir", early, "--resume"), "--init-from", "pretrained:discs")
    # without the generator: a checkpoint does not need it
    (tmp_path / "discs.json").unlink()
    done = succeed("train", "--run-dir", whole, "--resume", "--max-steps", 3)
    assert "step-00000002" in done.stdout
    assert Run(whole).read_config()["init"] == begun
