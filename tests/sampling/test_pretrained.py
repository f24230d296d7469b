"""Bundled generators: the files of the package, reading and writing."""
import hashlib

import numpy as np
import pytest

from dcgan_mx.runs.checkpoint_files import encode_state
from dcgan_mx.sampling import pretrained
from dcgan_mx.sampling.pretrained import find_settings, list_pretrained, read_pretrained
from tools.quality.make_pretrained import round_weights, write_pretrained

METADATA = {"dataset": "mnist", "step": 7, "weights": "ema", "size": 16, "nc": 1, "nz": 3, "ngf": 2}


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A directory with one small generator, and its parameters before rounding."""
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    rng = np.random.default_rng(0)
    params = {"arg:g1_weight": rng.normal(0, 0.02, (3, 4, 4, 4)).astype(np.float32),
              "aux:gbn1_moving_mean": rng.normal(size=4).astype(np.float32)}
    assert write_pretrained("tiny", round_weights(params), METADATA) == tmp_path / "tiny.params"
    return tmp_path, params


def test_weights_are_float16_and_statistics_float32(bundle):
    folder, params = bundle
    metadata, found = read_pretrained("pretrained:tiny")
    assert metadata == {**METADATA, "format": 1, "latent": "normal"}
    np.testing.assert_array_equal(found["arg:g1_weight"],
                                  params["arg:g1_weight"].astype(np.float16))
    np.testing.assert_array_equal(found["aux:gbn1_moving_mean"], params["aux:gbn1_moving_mean"])
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    assert (folder / "tiny.params").stat().st_size < 2 * 192 + 4 * 4 + 200
    config = find_settings(metadata).config
    assert (config.dataset, config.size, config.nc, config.nz, config.ngf) == ("mnist", 16, 1, 3, 2)


@pytest.mark.parametrize("name", ["tiny.json", "tiny.params"])
@pytest.mark.parametrize("at, junk, drop", [
    (0.3, b"", 1), (0.5, b"x", 1), (0.99, b"x", 0), (0, b"", 10**6), (0.7, b"", 10**6)])
def test_rejects_damaged_files(name, at, junk, drop, bundle):
    path = bundle[0] / name
    content = path.read_bytes()
    i = int(at * len(content))
    path.write_bytes(content[:i] + junk + content[i + drop:])
    with pytest.raises(ValueError, match=f"{name} is damaged.*: install the package again"):
        read_pretrained("pretrained:tiny")


def test_rejects_foreign_metadata_and_missing_files(bundle):
    folder, _ = bundle
    good = (folder / "tiny.json").read_bytes()
    metadata = {**read_pretrained("pretrained:tiny")[0], "files": {
        "tiny.params": hashlib.sha256((folder / "tiny.params").read_bytes()).hexdigest()}}
    assert encode_state(metadata) == good
    for name, value in (("format", 2), ("latent", "uniform"), ("nc", 2), ("size", 48), ("ngf", "2"),
                        ("dataset", "x"), ("more", 1), ("files", {"other.params": ""})):
        (folder / "tiny.json").write_bytes(encode_state({**metadata, name: value}))
        with pytest.raises(ValueError, match="tiny.json is damaged or of another version: install"):
            read_pretrained("pretrained:tiny")
    (folder / "tiny.json").write_bytes(good)
    (folder / "tiny.params").unlink()
    with pytest.raises(ValueError, match="tiny.params: No such file.*: install the package"):
        read_pretrained("pretrained:tiny")
    for name in ("", "none", "../tiny", f"{folder}/tiny"):
        with pytest.raises(ValueError, match="no such bundled generator: choose from pretrained:"
                                             "tiny"):
            read_pretrained(f"pretrained:{name}")


def test_write_rejects_bad_input_and_keeps_files(bundle):
    folder, params = bundle
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="tiny exists: .*force"):
        write_pretrained("tiny", round_weights(params), METADATA)
    with pytest.raises(ValueError, match=r"has 8000\d\d\d bytes, .* limit of 8000000: .* ngf"):
        write_pretrained("other", {"arg:w": np.zeros(4_000_000, np.float32)}, METADATA)
    for value in (65520, np.nan, -np.inf):
        with pytest.raises(ValueError, match="arg:w is not finite as float16"):
            round_weights({"arg:w": np.array([0, value], np.float32)})
    assert round_weights({"arg:w": np.array([65519], np.float32)})["arg:w"] == 65504
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write_pretrained("tiny", round_weights(params), {**METADATA, "step": 8}, force=True)
    assert read_pretrained("pretrained:tiny")[0]["step"] == 8


def test_package_has_one_generator():
    assert list_pretrained() == ["mnist"]
    metadata, params = read_pretrained("pretrained:mnist")
    assert metadata["dataset"] == "mnist" and metadata["weights"] == "ema"
    assert all(np.isfinite(array).all() for array in params.values())
