"""Images to grids, grids to PNG files and windows."""
from __future__ import annotations

import base64
import contextlib
import math
import os
import re
import warnings
from pathlib import Path
from typing import Any, Iterator

import numpy as np

from .system.files import StrPath, open_regular, write_atomic
from .system.notebook import find_notebook_kernel

# The most pixels a side of each format that can be written; JPEG is of quality 95, WebP lossless.
_FORMATS = {".png": 1_000_000, ".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}
_shown: set[str] = set()  # places in notebooks that have an image

_ANY_FILE_HOLDS, _A_BYTE_HOLDS = 1 << 24, 16  # pixels: a file that claims more is not believed


def standardise(grad: np.ndarray) -> np.ndarray:
    """Shift and scale an array to mean 0 and deviation 1, or to all 0 if it is constant.

    Source: the `diff` grid of MXNet 1.0.0, example/gan/dcgan.py.
    """
    if not np.isfinite(grad).all():
        raise ValueError("grad holds nan or infinity: the training has diverged")
    deviation = grad.std()
    result: np.ndarray = (grad - grad.mean()) / (deviation if deviation > 0 else 1)
    return result


def to_pixels(X: np.ndarray) -> np.ndarray:
    """Convert images, (N, C, H, W), in [-1, 1], clipped, to pixels, (N, H, W, C), uint8.

    They are rounded, so that a pixel p that was scaled by p / 127.5 - 1 comes back as p.
    """
    if X.ndim != 4 or X.shape[1] not in (1, 3):
        raise ValueError(f"X has shape {X.shape}: give (N, C, H, W) with C = 1 or 3")
    return np.rint(np.clip((X.transpose(0, 2, 3, 1) + 1) * 127.5, 0, 255)).astype(np.uint8)


def fill_buf(buf: np.ndarray, i: int, img: np.ndarray, shape: tuple[int, int]) -> None:
    """Copy image number `i` into its place in a big buffer, row by row.

    Parameters
    ----------
    buf : (rows * height, columns * width, C)
        Written in place.
    i
        From 0 to rows * columns - 1.
    img : (height, width, C)
    shape
        (width, height) of an image in pixels.

    Raises
    ------
    ValueError
        If the buffer has no place `i`.

    Notes
    -----
    Source: MXNet 1.0.0, example/gan/dcgan.py.
    """
    width, height = shape
    columns, rows = buf.shape[1] // width, buf.shape[0] // height
    if not 0 <= i < rows * columns:
        raise ValueError(f"i is {i}: a buffer of {rows} x {columns} images has places 0 to "
                         f"{rows * columns - 1}")
    x, y = i % columns * width, i // columns * height
    buf[y:y + height, x:x + width] = img


def make_grid(X: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Tile images, (N, C, H, W), in [-1, 1], into one, (rows * H, columns * W, C), uint8.

    Without `columns` the grid has ceil(sqrt(N)) images a side. Places without an image are black.
    """
    pixels = to_pixels(X)
    if not len(pixels):
        raise ValueError("X has no image: give 1 or more")
    side = math.isqrt(len(pixels) - 1) + 1
    rows, columns = (-(-len(pixels) // columns), columns) if columns else (side, side)
    height, width, channels = pixels.shape[1:]
    buf = np.zeros((rows * height, columns * width, channels), np.uint8)
    for i, img in enumerate(pixels):
        fill_buf(buf, i, img, (width, height))
    return buf


def check_image_name(path: StrPath) -> None:
    """Raise ValueError if a name does not end in a format that can be written."""
    if Path(path).suffix.lower() not in _FORMATS:
        raise ValueError(f"{path}: give a name that ends in {', '.join(_FORMATS)}")


def save_image(path: StrPath, pixels: np.ndarray) -> None:
    """Write pixels, (H, W, C), in the format that the name says, completely or not at all."""
    check_image_name(path)
    suffix = Path(path).suffix.lower()
    if max(pixels.shape) > _FORMATS[suffix]:
        raise ValueError(f"{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels, and "
                         f"{_FORMATS[suffix]} a side is the most of {suffix}: give fewer images, "
                         "or write each to a file")
    write_atomic(path, encode_image(pixels, suffix))


def encode_image(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    """Return the content of an image file, of grey or RGB pixels, (H, W, C), uint8."""
    import cv2  # late: the doctor runs where OpenCV does not; it changes LD_LIBRARY_PATH

    if pixels.shape[2] == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    raw: bytes = cv2.imencode(suffix, pixels)[1].tobytes()
    return raw


def read_png(path: StrPath) -> np.ndarray:
    """Read a PNG file that anybody may have written, as (H, W, C), uint8, grey or RGB."""
    with _open_png(path) as image:
        grey = image.mode in ("1", "L")
        pixels = np.asarray(image.convert("L" if grey else "RGB"))
        return pixels[..., None] if grey else pixels


def read_png_size(path: StrPath) -> tuple[int, int]:
    """Return the (width, height) of a PNG file that anybody may have written."""
    with _open_png(path) as image:
        size: tuple[int, int] = image.size
        return size


@contextlib.contextmanager
def _open_png(path: StrPath) -> Iterator[Any]:
    """Open a PNG file whose checksums are right and whose size is plausible."""
    from PIL import Image  # OpenCV believes the sizes that a file claims

    with open_regular(path) as f, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about sizes that are checked here
        size = os.fstat(f.fileno()).st_size
        try:
            Image.open(f, formats=("PNG",)).verify()  # its checksums, up to the end
            f.seek(0)
            image: Image.Image = Image.open(f, formats=("PNG",))
            if image.width * image.height <= max(_ANY_FILE_HOLDS, _A_BYTE_HOLDS * size):
                yield image
                return
        except Exception:  # a decoder raises anything on a damaged file
            pass
    raise ValueError(f"{path} is no PNG file, or is damaged: delete it")


def visual(title: str, X: np.ndarray) -> None:
    """Show images as a grid in a window, or below the cell of a notebook, without blocking.

    Where no window can be opened, the grid is written to a PNG file in the current folder, named
    after the title, and a printed line says so.

    Parameters
    ----------
    title
        Names the window; the same title draws into the same window. In a notebook, the image
        replaces the one that the same run of the cell has shown under this title.
    X : (N, C, H, W), float
        In [-1, 1]; C is 1 or 3 (RGB).

    Raises
    ------
    ValueError
        If `X` has another shape.
    OSError
        If the file cannot be written.

    Notes
    -----
    Source: MXNet 1.0.0, example/gan/dcgan.py, which blocks until the window is closed and swaps
    red and blue.
    """
    grid = make_grid(X)
    kernel = find_notebook_kernel()
    if kernel is not None:
        from IPython.display import display
        place = f"dcgan_mx {kernel.execution_count} {title}"
        display({"image/png": base64.b64encode(encode_image(grid)).decode(), "text/plain": title},
                raw=True, display_id=place, update=place in _shown)
        _shown.add(place)
    elif can_show():
        import matplotlib.pyplot as plt  # half a second, for windows only
        plt.ion()
        draw_figure(title, grid)
        plt.pause(0.001)
    else:
        path = f"{re.sub(r'[^-.0-9A-Za-z_]+', '-', title).strip('-.') or 'visual'}.png"
        save_image(path, grid)
        print(f"{title}: there is no window here; see {path}")


def draw_figure(title: str, grid: np.ndarray) -> Any:
    """Draw a grid, (H, W, C), uint8, into the figure of a title; return the figure."""
    import matplotlib.pyplot as plt
    figure = plt.figure(title, clear=True)
    axes = figure.add_subplot()
    axes.imshow(grid if grid.shape[2] == 3 else grid[..., 0], cmap="gray", vmin=0, vmax=255)
    axes.set_title(title)
    axes.set_axis_off()
    return figure


def can_show() -> bool:
    """Whether matplotlib has windows here, and not only files."""
    import matplotlib.pyplot as plt
    return plt.get_backend().lower() not in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")
