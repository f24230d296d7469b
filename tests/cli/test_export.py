import os
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.networks import run_mxnet
from helpers.small import SMALL

from dcgan_mx import __version__, load_pretrained
from dcgan_mx.runs import checkpoint
from dcgan_mx.sampling.generator import load_generator
from dcgan_mx.sampling.latent import make_latents
from dcgan_mx.system.runtime import mx

FORMATS = Path(__file__).parent.parent / "formats"


def run_model(path, **inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    output, = session.run(None, inputs)
    return output, {p.key: p.value for p in onnx.load(path).metadata_props}


@pytest.fixture(scope="module")
def averaged(train, tmp_path_factory):
    """A run that keeps averaged weights."""
    folder = tmp_path_factory.mktemp("export") / "run"
    train(*SMALL, "--nc", 1, "--max-steps", 3, "--ema-decay", 0.5, "--run-dir", folder)
    return folder


@pytest.mark.parametrize("weights", [None, "ema", "raw"])
def test_onnx_generator_matches_mxnet(weights, averaged, succeed, tmp_path):
    flags = ("--weights", weights) if weights else ()
    done = succeed("export", averaged, tmp_path / "G.onnx", *flags)
    assert done.stdout == f"{tmp_path / 'G.onnx'}: G of step 3, 0.1 MB\n"
    z = make_latents(5, 100, 1)
    images, metadata = run_model(tmp_path / "G.onnx", rand=z[..., None, None])
    expected = load_generator(averaged, weights=weights)[0].generate(z)
    np.testing.assert_allclose(images, expected, rtol=0, atol=1e-5)
    other = load_generator(averaged, weights="ema" if weights == "raw" else "raw")[0].generate(z)
    assert abs(images - other).max() > 1e-3
    assert metadata == {"network": "G", "size": "16", "nc": "1", "nz": "100", "latent": "normal",
                        "weights": weights or "ema", "step": "3", "version": __version__}


def test_export_of_a_bundled_generator(call, succeed, one_line_error, tmp_path):
    for name in ("G.onnx", "G.html"):
        succeed("export", "pretrained:mnist", tmp_path / name)
    generator = load_pretrained("mnist")
    z = make_latents(3, generator.nz, 1)
    images, metadata = run_model(tmp_path / "G.onnx", rand=z[..., None, None])
    np.testing.assert_allclose(images, generator.generate(z), rtol=0, atol=1e-5)
    assert metadata["weights"] == "ema"
    one_line_error(call("export", "pretrained:mnist", tmp_path / "D.onnx", "--network", "D"),
                   "pretrained:mnist")
    assert sorted(os.listdir(tmp_path)) == ["G.html", "G.onnx"]


@pytest.mark.parametrize("run, nc", [("gray", 1), ("two-devices", 3)])
def test_onnx_discriminator_matches_mxnet(run, nc, succeed, tmp_path):
    succeed("export", FORMATS / run, tmp_path / "D.onnx", "--network", "D")
    folder = checkpoint.list_checkpoints(FORMATS / run)[-1]
    x = np.random.default_rng(0).uniform(-1, 1, (4, nc, 16, 16)).astype(np.float32)
    probability, metadata = run_model(tmp_path / "D.onnx", data=x)
    expected = run_mxnet(mx.sym.load(str(folder / "D-symbol.json")),
                         mx.nd.load(str(folder / "D-0000.params")), x)
    assert probability.shape == (4, 1)
    np.testing.assert_allclose(probability, expected, rtol=0, atol=1e-5)
    assert metadata == {"network": "D", "size": "16", "nc": str(nc), "version": __version__,
                        "step": str(int(folder.name[5:]))}


def test_html_needs_no_onnx(averaged, call, succeed, one_line_error, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    out = tmp_path / "digits.html"
    succeed("export", averaged, out)
    text = out.read_text()
    assert "Training step 3, averaged weights, 16 x 16 pixels, gray" in text
    assert "DATA" not in text and f"dcgan-mx {__version__}" in text
    succeed("export", averaged, out, "--weights", "raw", "--force")
    assert "step 3, last weights" in out.read_text()
    one_line_error(call("export", averaged, tmp_path / "o.onnx"), "onnx",
                   "pip install 'dcgan-mx[export]'")
    assert os.listdir(tmp_path) == ["digits.html"]


def test_existing_file_is_replaced_only_with_force(run_dir, call, succeed, one_line_error,
                                                   limit_files, tmp_path):
    out = tmp_path / "G.ONNX"
    out.write_text("mine")
    one_line_error(call("export", run_dir, out), "OUT: ", "G.ONNX exists", "--force")
    limit_files(5000)
    one_line_error(call("export", run_dir, out, "--force"), out, "File too large")
    limit_files()
    assert os.listdir(tmp_path) == ["G.ONNX"] and out.read_text() == "mine"
    succeed("export", run_dir, out, "--force")
    content = out.read_bytes()
    succeed("export", run_dir, out, "--force")
    assert out.read_bytes() == content
    assert run_model(out, rand=np.zeros((1, 10, 1, 1), np.float32))[0].shape == (1, 3, 16, 16)
    out.unlink()
    out.symlink_to(tmp_path / "nowhere")
    one_line_error(call("export", run_dir, out), "exists")
    assert os.listdir(tmp_path) == ["G.ONNX"]


@pytest.mark.parametrize("flags, parts", [
    (("out.txt",), ("OUT: invalid name 'out.txt'", "NAME.onnx or NAME.html")),
    (("o.html", "--network", "D"), ("--network: D makes no images",)),
    (("o.onnx", "--weights", "ema"), ("--weights: ", "has no averaged weights")),
    (("o.onnx", "--network", "D", "--weights", "ema"), ("--weights: only the generator",)),
    (("nofolder/o.onnx",), ("nofolder/o.onnx", "No such file")), ((), ("OUT",))])
def test_invalid_flags_of_export(flags, parts, run_dir, call, one_line_error, tmp_path):
    one_line_error(call("export", run_dir, *flags, cwd=tmp_path), *parts)
    assert os.listdir(tmp_path) == []
