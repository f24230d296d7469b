"""Augmentation of the discriminator's input: random shifts and instance noise."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..iterators import AUGMENTATION, make_rng
from ..system.errors import ArgumentError
from ..system.runtime import mx

_BLACK = -1.0


class Change(NamedTuple):
    """Random changes of a batch of images.

    `shifts`: int64, (N, 2), pixels down and to the right, or None. `noise`: float32, (N, C, H, W),
    added to the images, or None.
    """

    shifts: np.ndarray | None = None
    noise: np.ndarray | None = None


class Augmentation:
    """Random shifts and instance noise of D's input, for the fakes and for the reals of a step.

    Uncovered pixels become black (-1). The gradient of a shift is the reverse shift, filled with
    zeros.
    Source: Zhao et al., arXiv:2006.10738, section 3 (differentiable augmentation), and Sønderby et
    al., arXiv:1610.04490 (instance noise). Unlike in these papers, the updates of D and G use the
    same shifts and noise for the generated images.

    Parameters
    ----------
    translate : int, at least 0
        The largest shift in each direction, in pixels; all shifts are equally likely.
    noise : float, at least 0
        Standard deviation of the normal noise of each value; the images are in [-1, 1].
    seed : int, at least 0
        The changes of a step depend on the arguments and the step's number only.
    shape : (N, C, H, W)
        Shape of a batch.
    num_parts, part_index : int
        Number of workers, and the rank of this one, which gets its part of the changes of a batch
        that is `num_parts` times as large.

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
        self._translate, self._noise = int(translate), np.float32(noise)
        self._seed, self._shape, self._part_index = seed, (num_parts, *shape), part_index

    def draw(self, step: int) -> tuple[Change, Change]:
        """Return the changes of the generated and of the real images of a step."""
        if not (self._translate or self._noise):
            return Change(), Change()
        rng = make_rng(self._seed, AUGMENTATION, step)
        part, most = self._part_index, self._translate
        fakes, reals = (Change(
            rng.integers(-most, most, (*self._shape[:2], 2), endpoint=True)[part] if most else None,
            self._noise * rng.standard_normal(self._shape, np.float32)[part] if self._noise
            else None) for _ in range(2))
        return fakes, reals


def apply(change: Change, images: Any) -> Any:
    """Return changed images, (N, C, H, W), without waiting for the device."""
    if change.shifts is not None:
        images = _shift(images, change.shifts, _BLACK)
    if change.noise is not None:
        images = images + _put(change.noise, images.context)
    return images


def apply_to_gradient(change: Change, gradient: Any) -> Any:
    """Return the gradient at images, given that at the changed images; both are (N, C, H, W)."""
    return gradient if change.shifts is None else _shift(gradient, -change.shifts, 0.0)


def _shift(images: Any, shifts: np.ndarray, fill: float) -> Any:
    """Shift images, and fill uncovered pixels with a value."""
    (n, c, h, w), margin = images.shape, int(np.abs(shifts).max())
    padded = mx.nd.pad(images, mode="constant", constant_value=fill,
                       pad_width=(0,) * 4 + (margin,) * 4)
    height, width = padded.shape[2:]
    rows = np.arange(n * c).reshape(n, c, 1, 1) * height + np.arange(margin, margin + h)[:, None]
    places = rows * width + np.arange(margin, margin + w)  # of unshifted pixels in `padded`
    places = places - (shifts @ [width, 1]).reshape(n, 1, 1, 1)
    return mx.nd.take(padded.reshape(-1), _put(places.astype(np.int32), images.context))


def _put(array: np.ndarray, context: Any) -> Any:
    """Return an array on a device, without waiting as `mx.nd.array` does."""
    return mx.nd.from_numpy(array).as_in_context(context)
