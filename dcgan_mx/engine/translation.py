"""Random translations of the images that the discriminator sees."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..iterators import SHIFTS, make_rng
from ..system.errors import ArgumentError
from ..system.runtime import mx

_BLACK = -1.0


class Translation:
    """Shifts of the real and of the generated images of a step; by 0 pixels, none is changed.

    Shifted images are filled with black. The gradient of a shift is the reverse shift, filled with
    zeros.
    Source: Zhao et al., arXiv:2006.10738, section 3 (differentiable augmentation). Unlike there, D
    and G are trained on the same shifts of generated images.

    Parameters
    ----------
    pixels : int, at least 0
        The largest shift in each direction; all are equally likely.
    seed : int, at least 0
        The shifts of a step depend on `seed` and the step's number only.
    shape : (N, C, H, W)
        Shape of a batch.
    num_parts, part_index : int
        Each of `num_parts` workers has its own shifts; they are those of worker `part_index`.

    Raises
    ------
    ArgumentError
        If `pixels` is not below the size of an image.
    """

    def __init__(self, pixels: int, seed: int, shape: tuple[int, int, int, int],
                 num_parts: int = 1, part_index: int = 0) -> None:
        if pixels >= min(shape[2:]):
            raise ArgumentError("translate", f"{pixels} is not below {min(shape[2:])}, the size of "
                                "an image in pixels: choose fewer pixels")
        self._pixels, self._seed, self._part_index = pixels, seed, part_index
        self._shape = (num_parts, 2, shape[0], 2)

    def draw(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the shifts of the generated and of the real images of a step.

        Each is (N, 2), int64: the pixels down and to the right.
        """
        shifts: np.ndarray = np.zeros(self._shape[1:], np.int64)
        if self._pixels:
            rng = make_rng(self._seed, SHIFTS, step)
            shifts = rng.integers(-self._pixels, self._pixels, self._shape,
                                  endpoint=True)[self._part_index]
        return shifts[0], shifts[1]

    def shift(self, images: Any, shifts: np.ndarray, fill: float = _BLACK) -> Any:
        """Return shifted images, (N, C, H, W), without waiting for the device."""
        if not self._pixels:
            return images
        places = mx.nd.array(find_places(images.shape, shifts), images.context, np.int32)
        pixels = mx.nd.concat(images.reshape(-1), mx.nd.full((1,), fill, images.context), dim=0)
        return mx.nd.take(pixels, places)

    def shift_back(self, gradient: Any, shifts: np.ndarray) -> Any:
        """Return the gradient at images from that at the shifted images."""
        return self.shift(gradient, -shifts, 0)


def find_places(shape: tuple[int, ...], shifts: np.ndarray) -> np.ndarray:
    """Return the place in the flattened images of each shifted pixel; their number if outside."""
    n, _, height, width = shape
    rows = np.arange(height, dtype=np.int32) - shifts[:, :1].astype(np.int32)
    columns = np.arange(width, dtype=np.int32) - shifts[:, 1:].astype(np.int32)
    inside = (((0 <= rows) & (rows < height))[:, :, np.newaxis]
              & ((0 <= columns) & (columns < width))[:, np.newaxis])
    places = (rows * width)[:, :, np.newaxis] + columns[:, np.newaxis]
    size = int(np.prod(shape))
    planes = np.arange(0, size, height * width, dtype=np.int32).reshape(n, -1, 1, 1)
    return np.where(inside[:, np.newaxis], planes + places[:, np.newaxis], np.int32(size))
