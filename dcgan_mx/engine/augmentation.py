"""Random changes of the images that the discriminator sees: shifts and noise."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..iterators import AUGMENTATION, make_rng
from ..system.errors import ArgumentError
from ..system.runtime import mx

_BLACK = -1.0


class Change(NamedTuple):
    """How images change: pixels down and to the right, (N, 2), and added noise, (N, C, H, W).

    None: they do not.
    """

    shifts: np.ndarray | None
    noise: np.ndarray | None


class Augmentation:
    """The changes of the real and of the generated images of each step.

    Shifted images are filled with black. The gradient of a shift is the reverse shift, filled with
    zeros. The changes of a step depend on the arguments and the step's number only.
    Source: Zhao et al., arXiv:2006.10738, section 3 (shifts of real and generated images), and
    Sønderby et al., arXiv:1610.04490, section 3 (noise). Here D and G are trained on the same
    changed images.

    Parameters
    ----------
    translate : int, at least 0
        The largest shift in each direction, in pixels; all shifts are equally likely.
    noise : float, at least 0
        Standard deviation of the normal noise of each value; the images are in [-1, 1].
    seed : int, at least 0
    shape : (N, C, H, W)
        Shape of a batch.
    num_parts, part_index : int
        Each of `num_parts` workers has its own changes; they are those of worker `part_index`.

    Raises
    ------
    ArgumentError
        If `translate` is not below the size of an image.
    """

    def __init__(self, translate: int, noise: float, seed: int, shape: tuple[int, int, int, int],
                 num_parts: int = 1, part_index: int = 0) -> None:
        if translate >= min(shape[2:]):
            raise ArgumentError("translate", f"{translate} is not below {min(shape[2:])}, the size "
                                "of an image in pixels: choose fewer pixels")
        self._translate, self._noise, self._seed, self._shape = translate, noise, seed, shape
        self._num_parts, self._part_index = num_parts, part_index

    def draw(self, step: int) -> tuple[Change, Change]:
        """Return the changes of the generated and of the real images of a step."""
        rng = make_rng(self._seed, AUGMENTATION, step * self._num_parts + self._part_index)
        fakes, reals = (Change(
            rng.integers(-self._translate, self._translate, (self._shape[0], 2), endpoint=True)
            if self._translate else None,
            self._noise * rng.standard_normal(self._shape, np.float32) if self._noise else None)
            for _ in range(2))
        return fakes, reals


def apply(change: Change, images: Any) -> Any:
    """Return changed images, (N, C, H, W), without waiting for the device."""
    if change.shifts is not None:
        images = _shift(images, change.shifts, _BLACK)
    if change.noise is not None:
        images = images + mx.nd.array(change.noise, images.context)
    return images


def apply_to_gradient(change: Change, gradient: Any) -> Any:
    """Return the gradient with respect to images from that with respect to the changed images."""
    return gradient if change.shifts is None else _shift(gradient, -change.shifts, 0.0)


def _shift(images: Any, shifts: np.ndarray, fill: float) -> Any:
    """Shift images, and fill them with a value."""
    places = mx.nd.array(_find_places(images.shape, shifts), images.context, np.int32)
    values = mx.nd.concat(images.reshape(-1), mx.nd.full((1,), fill, images.context), dim=0)
    return mx.nd.take(values, places)


def _find_places(shape: tuple[int, ...], shifts: np.ndarray) -> np.ndarray:
    """Return the place in the flattened images of each shifted pixel; their number if outside."""
    n, _, height, width = shape
    rows = np.arange(height, dtype=np.int32) - shifts[:, :1].astype(np.int32)
    columns = np.arange(width, dtype=np.int32) - shifts[:, 1:].astype(np.int32)
    inside = (((rows >= 0) & (rows < height))[:, :, np.newaxis]
              & ((columns >= 0) & (columns < width))[:, np.newaxis])
    places = (rows * width)[:, :, np.newaxis] + columns[:, np.newaxis]
    size = int(np.prod(shape))
    planes = np.arange(0, size, height * width, dtype=np.int32).reshape(n, -1, 1, 1)
    return np.where(inside[:, np.newaxis], planes + places[:, np.newaxis], np.int32(size))
