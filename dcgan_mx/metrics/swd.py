"""The sliced Wasserstein distance between the patches of two sets of images."""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterator, NamedTuple

import cv2
import numpy as np

from ..system.cpu import physical_cores
from .feature_metrics import SMALLEST, check_images, chunks

_PATCH = 7
_PATCHES = 128  # of each image at each level
_DIRECTIONS = 128
_BLOCK = 32  # directions at once: 128 bytes of projections for each patch
_PLACES = 2**18
_BLUR = np.array([1, 4, 6, 4, 1], np.float32) / 16


class SlicedWasserstein(NamedTuple):
    """What `sliced_wasserstein` returns."""

    levels: dict[int, float]  # by height in pixels, from the finest
    mean: float


def sliced_wasserstein(real: np.ndarray, fake: np.ndarray, seed: int = 0, repeats: int = 4
                       ) -> SlicedWasserstein:
    """Compare the patches of two sets of images, at each level of a Laplacian pyramid.

    Parameters
    ----------
    real, fake : (N, C, H, H), float32
        In [-1, 1]; H is a power of two, at least 16.
    seed : at least 0
        Of the places of the patches and of the directions.
    repeats : at least 1
        Times 128 directions.

    Returns
    -------
    levels : dict
        The distance at each height in pixels, times 1,000; 0 for the same set twice.
    mean : float
        Of the levels.

    Raises
    ------
    ValueError
        If the arrays have other shapes, values outside [-1, 1], or a number is out of range.

    Notes
    -----
    At each level, 128 patches of 7x7 pixels of each image; in each set the patches' values are
    brought to mean 0 and deviation 1 for each channel. Both are projected onto `repeats` x 128
    random directions, and the projections compared. 537 MB are needed for 16,384 images, beside the
    images. Source: Karras et al., arXiv:1710.10196, section 5; Rabin et al., SSVM 2011.
    """
    for name, images in (("real", real), ("fake", fake)):
        check_images(name, images)
    height = real.shape[2]
    if real.shape != fake.shape:
        raise ValueError(f"fake has shape {fake.shape}: give that of real, {real.shape}")
    if repeats < 1 or seed < 0:
        raise ValueError(f"repeats is {repeats} and seed is {seed}: give 1 and 0, or more")
    if height != real.shape[3] or height < SMALLEST or height & (height - 1):
        raise ValueError(f"the images have {height}x{real.shape[3]} pixels: give squares of 16, "
                         "32, 64, 128 or 256")
    levels = {}
    for level in range(height.bit_length() - SMALLEST.bit_length() + 1):
        rng = np.random.default_rng((seed, level))
        # Both sets have their patches at the same places, so that a set is at 0 from itself.
        places = rng.integers(0, (height >> level) - _PATCH + 1, (len(real), _PATCHES, 2))
        sets = [_Patches(images, level, places) for images in (real, fake)]
        distances: list[float] = []
        for _ in range(repeats):
            directions = rng.standard_normal((_DIRECTIONS, real.shape[1], _PATCH * _PATCH))
            directions /= np.linalg.norm(directions, axis=(1, 2), keepdims=True)
            for start in range(0, _DIRECTIONS, _BLOCK):
                block = directions[start:start + _BLOCK]
                with ThreadPoolExecutor(physical_cores()) as pool:
                    distances += pool.map(wasserstein, *(patches.project(block)
                                                         for patches in sets))
        levels[height >> level] = 1000 * float(np.mean(distances))
    return SlicedWasserstein(levels, float(np.mean([*levels.values()])))


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean of |a - b| once both, (N,), float32, are sorted."""
    # It is the area between the two distribution functions: on a grid it is off by less than one of
    # the grid's steps, and much faster than sorting.
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    if low == high:
        return 0.0
    step = (float(high) - float(low)) / _PLACES
    counts = [np.bincount(((x - low) / np.float32(step)).astype(np.int32), minlength=_PLACES + 2)
              for x in (a, b)]
    return float(np.abs(np.cumsum(counts[0] - counts[1])).sum()) * step / len(a)


class _Patches:
    """The patches of a set of images at one level, cut out again for each use to save memory."""

    def __init__(self, images: np.ndarray, level: int, places: np.ndarray) -> None:
        self._images, self._level, self._places = images, level, places
        count = len(images) * _PATCHES * _PATCH * _PATCH
        sums = [*self._map(lambda patches: np.stack(
            [x.sum((0, 2), np.float64) for x in (patches, np.square(patches))]))]
        self._mean, squares = np.sum(sums, 0) / count
        variance = squares - self._mean**2
        deviation = np.sqrt(np.maximum(variance, 0))
        self._scale = 1 / np.where(deviation > 1e-8, deviation, 1)  # what is flat stays so

    def project(self, directions: np.ndarray) -> np.ndarray:
        """Return the projections onto directions, (directions, patches), float32."""
        scaled = directions * self._scale[:, None]
        shift = (scaled.sum(2) * self._mean).sum(1)
        matrix = np.ascontiguousarray(scaled.reshape(len(directions), -1).T, np.float32)
        projections = np.empty((len(directions), len(self._images) * _PATCHES), np.float32)
        start = 0
        for part in self._map(lambda patches: (patches.reshape(len(patches), -1) @ matrix).T):
            projections[:, start:start + part.shape[1]] = part
            start += part.shape[1]
        projections -= shift[:, None].astype(np.float32)
        return projections

    def _map(self, function: Callable[[np.ndarray], np.ndarray]) -> Iterator[np.ndarray]:
        """Apply a function to the patches of some images at a time, (n, C, 49)."""
        def cut(part: slice) -> np.ndarray:
            return function(_cut(_band(self._images[part], self._level), self._places[part]))
        with ThreadPoolExecutor(physical_cores()) as pool:
            yield from pool.map(cut, chunks(self._images))


def _cut(images: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Cut patches out of images, (patches, C, 49)."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (1, 1, _PATCH, _PATCH))
    which = np.arange(len(images))[:, None]
    # (n, 128, C, 7, 7)
    cut: np.ndarray = windows[which, :, places[..., 0], places[..., 1], 0, 0]
    return cut.reshape(-1, images.shape[1], _PATCH * _PATCH)


def _band(images: np.ndarray, level: int) -> np.ndarray:
    """Return a level of the images' Laplacian pyramids; the coarsest is what remains."""
    for _ in range(level):
        images = _halve(images)
    return images if images.shape[2] == SMALLEST else images - _double(_halve(images))


def _halve(images: np.ndarray) -> np.ndarray:
    return _blur(images, 1)[:, :, ::2, ::2]


def _double(images: np.ndarray) -> np.ndarray:
    n, c, height, width = images.shape
    spread = np.zeros((n, c, 2 * height, 2 * width), np.float32)
    spread[:, :, ::2, ::2] = images
    return _blur(spread, 2)


def _blur(images: np.ndarray, gain: int) -> np.ndarray:
    """Blur by Burt and Adelson's filter, mirrored at the edges."""
    images = np.ascontiguousarray(images)
    out = np.empty(images.shape, np.float32)
    for image, blurred in zip(images.reshape(-1, *images.shape[2:]),
                              out.reshape(-1, *images.shape[2:])):
        cv2.sepFilter2D(image, -1, gain * _BLUR, gain * _BLUR, blurred,
                        borderType=cv2.BORDER_REFLECT_101)
    return out
