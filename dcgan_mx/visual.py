"""Grids of images: made from arrays, written to files, read back, and shown in windows."""
from __future__ import annotations

import base64
import functools
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from .system.errors import ArgumentError
from .system.files import StrPath, open_regular, write_atomic
from .system.notebook import find_notebook_kernel

# The maximum side in pixels of each format. JPEG has quality 95, WebP is lossless.
_FORMATS = {".png": 1_000_000, ".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}
_displayed: set[str] = set()  # display ids in notebooks that have an image


def standardize(grad: np.ndarray) -> np.ndarray:
    """Shift and scale an array to mean 0 and standard deviation 1, or to 0 if it is constant.

    Source: the `diff` grid of MXNet 1.0.0, example/gan/dcgan.py.
    """
    if not np.isfinite(grad).all():
        raise ValueError("grad contains nan or infinity: the training has diverged")
    std = grad.std()
    result: np.ndarray = (grad - grad.mean()) / (std if std > 0 else 1)
    return result


def to_pixels(X: np.ndarray) -> np.ndarray:
    """Convert images, (N, C, H, W), in [-1, 1], clipped, to pixels, (N, H, W, C), uint8.

    Rounding makes this the exact inverse of p / 127.5 - 1.
    """
    if X.ndim != 4 or X.shape[1] not in (1, 3):
        raise ArgumentError("X", f"invalid shape {X.shape}: expected (N, C, H, W) with C = 1 or 3")
    if X.dtype.kind != "f":
        raise ArgumentError("X", f"invalid type {X.dtype}: expected float in [-1, 1], such as "
                            "x / 127.5 - 1 of uint8")
    if np.isnan(X).any():
        raise ArgumentError("X", "contains nan: the training has diverged")
    return np.rint(np.clip((X.transpose(0, 2, 3, 1) + 1) * 127.5, 0, 255)).astype(np.uint8)


def fill_buf(buf: np.ndarray, i: int, img: np.ndarray, shape: tuple[int, int]) -> None:
    """Copy image number `i` into its cell of a grid, row by row.

    Source: MXNet 1.0.0, example/gan/dcgan.py.

    Parameters
    ----------
    buf : (rows * height, columns * width, C)
        Written in place.
    i
        From 0 to rows * columns - 1; ArgumentError otherwise.
    img : (height, width, C)
    shape
        (width, height) of an image in pixels.
    """
    width, height = shape
    columns, rows = buf.shape[1] // width, buf.shape[0] // height
    if not 0 <= i < rows * columns:
        raise ArgumentError("i", f"invalid value {i}: expected 0 to {rows * columns - 1} in a grid "
                            f"of {rows} x {columns} images")
    x, y = i % columns * width, i // columns * height
    buf[y:y + height, x:x + width] = img


def make_grid(X: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Tile images, (N, C, H, W), in [-1, 1], into one, (rows * H, columns * W, C), uint8.

    By default the grid has ceil(sqrt(N)) rows and columns. Cells without an image are black.
    """
    pixels = to_pixels(X)
    if not len(pixels):
        raise ArgumentError("X", "contains no images: expected 1 or more")
    side = math.isqrt(len(pixels) - 1) + 1
    rows, columns = (-(-len(pixels) // columns), columns) if columns else (side, side)
    height, width, channels = pixels.shape[1:]
    buf = np.zeros((rows * height, columns * width, channels), np.uint8)
    for i, img in enumerate(pixels):
        fill_buf(buf, i, img, (width, height))
    return buf


def check_image_name(path: StrPath) -> str:
    """Return the extension of a file name; raise ValueError if its format is not supported."""
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(f"{path}: invalid extension: expected {', '.join(_FORMATS)}")
    return suffix


def save_image(path: StrPath, pixels: np.ndarray) -> None:
    """Write pixels, (H, W, C), atomically, in the format of the file's extension."""
    suffix = check_image_name(path)
    if max(pixels.shape) > _FORMATS[suffix]:
        raise ValueError(f"{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels are too large for "
                         f"{suffix}, whose maximum is {_FORMATS[suffix]} a side: use fewer images, "
                         "or one file per image")
    write_atomic(path, encode_image(pixels, suffix))


def encode_image(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    """Return the content of an image file, of gray or RGB pixels, (H, W, C), uint8."""
    from .system.opencv import cv2  # late: `dcgan-mx doctor` has to run without OpenCV

    if pixels.shape[2] == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    raw: bytes = cv2.imencode(suffix, pixels)[1].tobytes()
    return raw


def read_png(path: StrPath) -> np.ndarray:
    """Read an untrusted PNG file as (H, W, C), uint8, gray or RGB; ValueError if it is invalid."""
    from PIL import Image  # OpenCV allocates any size that a file claims

    with open_regular(path) as f:
        try:
            Image.open(f, formats=("PNG",)).verify()  # the checksums of all chunks
            f.seek(0)
            image: Image.Image = Image.open(f, formats=("PNG",))
            # Pillow takes up to 11 bytes per pixel, and a small file may claim any number of them.
            if 11 * image.width * image.height > (1 << 28) + 11 * os.fstat(f.fileno()).st_size:
                raise ValueError
            pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
        except Exception:  # a decoder raises anything on a damaged file
            raise ValueError(f"{path} is not a valid PNG file: delete it") from None
    return pixels.reshape(*pixels.shape[:2], -1)


def visual(title: str, X: np.ndarray) -> None:
    """Show images as a grid in a window, or in the output of a notebook cell, without blocking.

    Without a display, the grid is written to a PNG file in the current folder, named after the
    title, and its path is printed. Source: MXNet 1.0.0, example/gan/dcgan.py, which blocks until
    the window is closed and swaps red and blue.

    Parameters
    ----------
    title
        Names the window; a second call with the same title draws into the same window. In a
        notebook, it replaces the image that the same run of the cell has shown with this title.
    X : (N, C, H, W), float
        In [-1, 1]; C is 1 (gray) or 3 (RGB).

    Raises
    ------
    ArgumentError
        If `X` has another shape or no images.
    OSError
        If the file cannot be written.
    """
    grid = make_grid(X)
    kernel = find_notebook_kernel()
    if kernel is not None:
        from IPython.display import display
        _watch_cleared_output(kernel.display_pub)
        display_id = f"dcgan_mx {kernel.execution_count} {title}"
        display({"image/png": base64.b64encode(encode_image(grid)).decode(), "text/plain": title},
                raw=True, display_id=display_id, update=display_id in _displayed)
        _displayed.add(display_id)
    elif can_show():
        import matplotlib.pyplot as plt  # late: it takes half a second
        plt.ion()
        axes: Any = plt.figure(title, clear=True).add_subplot()
        axes.imshow(grid if grid.shape[2] == 3 else grid[..., 0], cmap="gray", vmin=0, vmax=255)
        axes.set_title(title)
        axes.set_axis_off()
        plt.pause(0.001)
    else:
        path = (re.sub(r"[^-.\w]+", "-", title).strip("-.") or "visual") + ".png"
        save_image(path, grid)
        print(f"{title}: no display is available; wrote {path}")


@functools.lru_cache(maxsize=None)
def _watch_cleared_output(publisher: Any) -> None:
    """Forget the images of a cell when its output is cleared: nothing is left to replace."""
    def forget(message: Any) -> Any:
        if message["header"]["msg_type"] == "clear_output":
            _displayed.clear()
        return message
    publisher.register_hook(forget)


def can_show() -> bool:
    """Whether matplotlib can open windows."""
    if "matplotlib_inline" in os.environ.get("MPLBACKEND", ""):  # only for a notebook's kernel
        return False
    import matplotlib.pyplot as plt
    return plt.get_backend().lower() not in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")
