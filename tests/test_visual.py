import os
import struct
import sys
import zlib

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest

from dcgan_mx import fill_buf, visual
from dcgan_mx.cli.main import run as run_command
from dcgan_mx.visual import can_show, make_grid, read_png, save_image, standardize, to_pixels


def scaled(pixels):
    """Pixels (N, H, W, C) as the networks see them, scaled as the iterators scale them."""
    return (pixels.astype(np.float32) / 127.5 - 1).transpose(0, 3, 1, 2)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 5, 9, 3), np.uint8)


def test_every_pixel_value_comes_back_and_others_are_clipped():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(to_pixels(scaled(values)), values)
    X = np.array([-3, -1, 0, 1, 3], np.float32).reshape(1, 1, 1, 5)
    np.testing.assert_array_equal(to_pixels(X).ravel(), [0, 0, 128, 255, 255])


@pytest.mark.parametrize("n", range(1, 8))
def test_grid_has_every_image_in_reading_order(n, images):
    grid = make_grid(scaled(images[:n]))
    side = int(np.ceil(np.sqrt(n)))
    assert grid.shape == (5 * side, 9 * side, 3)
    for i in range(side * side):
        y, x = divmod(i, side)
        tile = grid[5 * y:5 * y + 5, 9 * x:9 * x + 9]
        np.testing.assert_array_equal(tile, images[i] if i < n else np.zeros((5, 9, 3)))


def test_other_shapes_and_cells_outside_of_the_grid_are_rejected():
    for shape in ((2, 3, 8), (2, 2, 8, 8), (2, 4, 8, 8), (0, 3, 4, 4)):
        with pytest.raises(ValueError, match="X: (invalid shape|contains no images)"):
            make_grid(np.zeros(shape))
    for i in (-1, 6):
        with pytest.raises(ValueError, match=f"i: invalid value {i}: expected 0 to 5"):
            fill_buf(np.zeros((10, 27, 3)), i, np.zeros((5, 9, 3)), (9, 5))


def test_standardize():
    grad = np.random.default_rng(0).normal(3, 1e-4, (4, 3, 8, 8)).astype(np.float32)
    out = standardize(grad)
    assert abs(out.mean()) < 1e-3 and out.std() == pytest.approx(1, abs=1e-3)
    np.testing.assert_array_equal(np.argsort(out.ravel()), np.argsort(grad.ravel()))
    np.testing.assert_array_equal(standardize(np.full((1, 1, 2, 2), 0.5)), np.zeros((1, 1, 2, 2)))
    with pytest.raises(ValueError, match="grad contains nan"):
        standardize(np.array([[[[np.nan, 1.0]]]]))


@pytest.mark.parametrize("channels", [1, 3])
def test_visual_draws_into_one_figure_per_title(channels, images, monkeypatch):
    monkeypatch.setattr(plt, "pause", lambda seconds: None)
    monkeypatch.setattr(sys.modules["dcgan_mx.visual"], "can_show", lambda: True)
    plt.switch_backend("agg")
    X = scaled(images[..., :channels])
    visual("gout", X[:4])
    visual("gout", X)
    (axes,) = plt.figure("gout").axes
    np.testing.assert_array_equal(
        np.asarray(axes.images[0].get_array()).reshape(15, 27, channels), make_grid(X))
    assert axes.get_title() == "gout" and plt.get_figlabels().count("gout") == 1
    plt.close("all")


def test_visual_without_a_display_writes_a_file(images, monkeypatch, tmp_path, capsys):
    plt.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    visual("gout", scaled(images))
    visual("../a b/c", scaled(images))
    visual("生成的图像", scaled(images))
    assert capsys.readouterr().out == (
        "gout: no display is available; wrote gout.png\n"
        "../a b/c: no display is available; wrote a-b-c.png\n"
        "生成的图像: no display is available; wrote 生成的图像.png\n")
    np.testing.assert_array_equal(read_png("gout.png"), make_grid(scaled(images)))
    assert sorted(os.listdir(tmp_path)) == ["a-b-c.png", "gout.png", "生成的图像.png"]


def test_a_program_started_by_a_notebook_has_no_display(monkeypatch):
    """`!python x.py` in a cell inherits the backend, which shows figures only in the notebook."""
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    assert not can_show()
    assert run_command("runs", [os.devnull]) == 2 and "MPLBACKEND" not in os.environ


@pytest.mark.parametrize("name, head, error", [
    ("a.png", b"\x89PNG", 0), ("a.webp", b"RIFF", 0), ("a.jpg", b"\xff\xd8\xff", 4),
    ("a.JPEG", b"\xff\xd8\xff", 4)])
def test_every_format_keeps_the_pixels(name, head, error, cut_photographs, tmp_path):
    """Exactly, or, of JPEG, within a mean difference."""
    photograph, = cut_photographs(1, 64)
    for channels in (1, 3):
        save_image(tmp_path / name, photograph[..., :channels])
        assert (tmp_path / name).read_bytes().startswith(head)
        found = cv2.imread(str(tmp_path / name), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
        assert abs(found - photograph[..., :channels]).mean() <= error


def test_other_formats_and_sizes_are_rejected(images, tmp_path):
    for name in ("a.gif", "a", "a.png.txt"):
        with pytest.raises(ValueError, match=f"{name}: invalid extension: expected .png, .jpg"):
            save_image(tmp_path / name, images[0])
    with pytest.raises(ValueError, match="70000x1 pixels are too large for .jpg, .* 65500 a side"):
        save_image(tmp_path / "a.jpg", np.zeros((1, 70000, 3), np.uint8))
    assert os.listdir(tmp_path) == []


def test_integers_are_rejected_because_they_would_wrap():
    with pytest.raises(ValueError, match="^X: invalid type uint8: expected float in "):
        to_pixels(np.zeros((1, 1, 4, 4), np.uint8))


def test_nan_is_rejected():
    with pytest.raises(ValueError, match="^X: contains nan: the training has diverged"):
        to_pixels(np.full((1, 1, 4, 4), np.nan, np.float32))


def chunk(kind, content=b"", claimed=None):
    """A chunk of a PNG file with a right checksum; its length may be a false claim."""
    length = len(content) if claimed is None else claimed
    return (length.to_bytes(4, "big") + kind + content
            + zlib.crc32(kind + content).to_bytes(4, "big"))


@pytest.mark.parametrize("size, claimed", [
    ((4, 4), 2**31 - 100), ((30_000, 30_000), None), ((1, 80_000_000), None), ((5000, 5000), None)])
@pytest.mark.usefixtures("bounded_memory")
def test_claims_of_a_png_file_allocate_no_memory(size, claimed, tmp_path):
    """Of its sides, or of a chunk: OpenCV allocates it."""
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"tEXt", b"a\0b", claimed)
        + chunk(b"IDAT", zlib.compress(bytes(48 + 4))) + chunk(b"IEND"))
    with pytest.raises(ValueError, match=r"a.png is not a valid PNG file: delete it"):
        read_png(tmp_path / "a.png")


def test_every_flipped_bit_of_a_grid_is_detected_or_harmless(images, tmp_path):
    path = tmp_path / "a.png"
    save_image(path, images[0])
    good, rejected = path.read_bytes(), 0
    for i in range(len(good)):
        path.write_bytes(good[:i] + bytes([good[i] ^ 1 << i % 8]) + good[i + 1:])
        try:
            found = read_png(path)
        except ValueError:
            rejected += 1
        else:
            np.testing.assert_array_equal(found, images[0])
    assert rejected >= len(good) - 8  # the name of the last chunk, and its checksum
