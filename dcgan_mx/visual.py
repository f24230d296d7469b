"""Images to grids, grids to PNG files and windows."""
from __future__ import annotations

import math

import numpy as np

from .machine.files import StrPath, open_plain, write_atomic

_MAX_PNG_SIDE = 1_000_000  # pixels; libpng's own limit


def standardise(grad: np.ndarray) -> np.ndarray:
    """Shift and scale an array to mean 0 and deviation 1.

    Parameters
    ----------
    grad : (N, C, H, W), float32
        Any range.

    Returns
    -------
    (N, C, H, W), float32
        All 0 if `grad` is constant.

    Raises
    ------
    ValueError
        If `grad` is not finite.

    Notes
    -----
    Source: the `diff` grid of MXNet 1.0.0, example/gan/dcgan.py.
    """
    if not np.isfinite(grad).all():
        raise ValueError("grad holds nan or infinity: the training has diverged")
    deviation = grad.std()
    result: np.ndarray = (grad - grad.mean()) / (deviation if deviation > 0 else 1)
    return result


def to_pixels(X: np.ndarray) -> np.ndarray:
    """Images of a network to pixels.

    Parameters
    ----------
    X : (N, C, H, W), float
        In [-1, 1], clipped; C is 1 or 3 (RGB).

    Returns
    -------
    (N, H, W, C), uint8
        Rounded, so that a pixel p that was scaled by p / 127.5 - 1 comes back as p.

    Raises
    ------
    ValueError
        If `X` has another number of dimensions or channels.
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
    """Tile images into one, row by row.

    Parameters
    ----------
    X : (N, C, H, W), float
        In [-1, 1]; N at least 1; C is 1 or 3 (RGB).
    columns : at least 1
        Images in a row; if left out, the grid has ceil(sqrt(N)) a side.

    Returns
    -------
    (rows * H, columns * W, C), uint8
        Places without an image are black.

    Raises
    ------
    ValueError
        If `X` has no image or another shape.
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


def save_png(path: StrPath, pixels: np.ndarray) -> None:
    """Write pixels as a PNG file, complete or not at all.

    Parameters
    ----------
    pixels : (H, W, C), uint8
        C is 1 or 3 (RGB).

    Raises
    ------
    ValueError
        If the picture has more pixels a side than PNG's library takes.
    OSError
        If the file cannot be written.
    """
    import cv2  # late: the doctor runs where OpenCV does not; it changes LD_LIBRARY_PATH

    if max(pixels.shape) > _MAX_PNG_SIDE:
        raise ValueError(f"{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels, and {_MAX_PNG_SIDE} "
                         "a side is the most: give fewer images, or write each to a file")
    if pixels.shape[2] == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    write_atomic(path, cv2.imencode(".png", pixels)[1].tobytes())


def read_png(path: StrPath) -> np.ndarray:
    """Read a PNG file.

    Returns
    -------
    (H, W, C), uint8
        C is 1 or 3 (RGB).

    Raises
    ------
    ValueError
        If the file is damaged, or is none.
    OSError
        If it cannot be read.
    """
    import cv2

    with open_plain(path) as f:
        raw = f.read()
    try:
        pixels: np.ndarray | None = cv2.imdecode(np.frombuffer(raw, np.uint8),
                                                 cv2.IMREAD_ANYCOLOR)
    except cv2.error:  # an empty file, or one of absurd size
        pixels = None
    if pixels is None:
        raise ValueError(f"{path} is no PNG file, or is damaged: delete it")
    return pixels[..., None] if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def visual(title: str, X: np.ndarray) -> None:
    """Show images as a grid in a window, and go on.

    Parameters
    ----------
    title
        Names the window; the same title draws into the same window.
    X : (N, C, H, W), float
        In [-1, 1]; C is 1 or 3 (RGB).

    Raises
    ------
    ValueError
        If `X` has another shape.

    Notes
    -----
    Source: MXNet 1.0.0, example/gan/dcgan.py, which stops until the window is closed and swaps
    red and blue.
    """
    grid = make_grid(X)
    import matplotlib.pyplot as plt  # half a second, for windows only
    plt.ion()
    figure = plt.figure(title, clear=True)
    axes = figure.add_subplot()
    axes.imshow(grid if grid.shape[2] == 3 else grid[..., 0], cmap="gray", vmin=0, vmax=255)
    axes.set_title(title)
    axes.set_axis_off()
    plt.pause(0.001)


def can_show() -> bool:
    """Whether matplotlib has windows here, and not only files."""
    import matplotlib.pyplot as plt
    return plt.get_backend().lower() not in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")
