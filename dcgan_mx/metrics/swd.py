"""The sliced Wasserstein distance between the patches of two sets of images."""
from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Callable, Iterator, NamedTuple

import numpy as np

from ..system.cpu import physical_cores
from ..system.opencv import cv2
from .checks import MIN_SIZE, check_images, chunks

_PATCH = 7  # pixels a side
_PATCHES = 128  # of each image at each level
_DIRECTIONS = 128
_MEMORY = 2**28  # bytes of the projections of a set at a time
_BINS = 2**18
_KERNEL = np.array([1, 4, 6, 4, 1], np.float32) / 16


class SlicedWasserstein(NamedTuple):
    """The result of `sliced_wasserstein`."""

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
        Seed of the patches' places and of the directions.
    repeats : at least 1
        Multiples of 128 directions.

    Returns
    -------
    levels : dict
        The distance at each height in pixels, times 1,000; 0 for equal sets.
    mean : float
        Mean of the levels.

    Raises
    ------
    ValueError
        If an array has another shape, values outside [-1, 1], or a number is out of range.

    Notes
    -----
    At each level, each image gives 128 patches of 7x7 pixels. The patches of a set are normalized
    to mean 0 and deviation 1 for each channel, and projected onto `repeats` x 128 random
    directions; the result is the mean distance of the projections. This needs at most 540 MB of
    memory beside the images. Source: Karras et al., arXiv:1710.10196, section 5; Rabin et al.,
    SSVM 2011.
    """
    check_images("real", real)
    check_images("fake", fake)
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}: expected at least 1")
    if real.shape != fake.shape:
        raise ValueError(f"fake has shape {fake.shape}: expected the shape of real, {real.shape}")
    height, width = real.shape[2:]
    if height != width or height & (height - 1):
        raise ValueError(f"the images have {height}x{width} pixels: expected squares whose side is "
                         "a power of two")
    num_blocks = -(-len(real) * _PATCHES * _DIRECTIONS * 4 // _MEMORY)  # rounded up
    levels = {}
    for level in range(height.bit_length() - MIN_SIZE.bit_length() + 1):
        rng = np.random.default_rng((seed, level))
        # The same places in both sets, so that equal sets have distance 0.
        places = rng.integers(0, (height >> level) - _PATCH + 1, (len(real), _PATCHES, 2))
        distances: list[float] = []
        with ThreadPoolExecutor(physical_cores()) as pool:
            sets = [_Patches(images, level, places, pool) for images in (real, fake)]
            for _ in range(repeats):
                directions = rng.standard_normal((_DIRECTIONS, real.shape[1], _PATCH * _PATCH))
                directions /= np.linalg.norm(directions, axis=(1, 2), keepdims=True)
                for block in np.array_split(directions, num_blocks):
                    distances += pool.map(wasserstein, *(patches.project(block)
                                                         for patches in sets))
        levels[height >> level] = 1000 * float(np.mean(distances))
    return SlicedWasserstein(levels, float(np.mean([*levels.values()])))


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Wasserstein-1 distance of two samples, (N,), float32: mean |a - b|, if sorted."""
    # This is the area between the two distribution functions. On a grid, the error is below one
    # step of the grid, and the time much shorter than for sorting.
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    if low == high:
        return 0.0
    step = (float(high) - float(low)) / _BINS
    counts = [np.bincount(((x - low) / np.float32(step)).astype(np.int32), minlength=_BINS + 2)
              for x in (a, b)]
    return float(np.abs(np.cumsum(counts[0] - counts[1])).sum()) * step / len(a)


class _Patches:
    """The patches of a set of images at one level, cut out again for each use to save memory."""

    def __init__(self, images: np.ndarray, level: int, places: np.ndarray, pool: Executor) -> None:
        self._images, self._level, self._places, self._pool = images, level, places, pool
        count = len(images) * _PATCHES * _PATCH * _PATCH
        sums = [*self._map(lambda patches: np.stack(
            [x.sum((0, 2), np.float64) for x in (patches, np.square(patches))]))]
        self._mean, squares = np.sum(sums, 0) / count
        deviation = np.sqrt(np.maximum(squares - self._mean**2, 0))
        self._scale = 1 / np.where(deviation > 1e-8, deviation, 1)  # flat patches stay flat

    def project(self, directions: np.ndarray) -> np.ndarray:
        """Return the projections onto directions, (directions, patches), float32."""
        scaled = directions * self._scale[:, None]
        shift = (scaled.sum(2) * self._mean).sum(1).astype(np.float32)
        matrix = np.ascontiguousarray(scaled.reshape(len(directions), -1).T, np.float32)
        projections = np.empty((len(directions), len(self._images) * _PATCHES), np.float32)
        start = 0
        for part in self._map(lambda patches: patches.reshape(len(patches), -1) @ matrix - shift):
            projections[:, start:start + len(part)] = part.T
            start += len(part)
        return projections

    def _map(self, function: Callable[[np.ndarray], np.ndarray]) -> Iterator[np.ndarray]:
        """Apply a function to the patches, (n, C, 49), of some images at a time."""
        return self._pool.map(lambda part: function(_cut_patches(
            _pyramid_level(self._images[part], self._level), self._places[part])),
            chunks(self._images))


def _cut_patches(images: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the patches of images, (patches, C, 49)."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (1, 1, _PATCH, _PATCH))
    index = np.arange(len(images))[:, None]
    # (n, 128, C, 7, 7)
    patches: np.ndarray = windows[index, :, places[..., 0], places[..., 1], 0, 0]
    return patches.reshape(-1, images.shape[1], _PATCH * _PATCH)


def _pyramid_level(images: np.ndarray, level: int) -> np.ndarray:
    """Return a level of the images' Laplacian pyramids; the coarsest is a Gaussian level."""
    for _ in range(level):
        images = _blur(images, 1)[:, :, ::2, ::2]
    if images.shape[2] == MIN_SIZE:
        return images
    spread = np.zeros(images.shape, np.float32)
    spread[:, :, ::2, ::2] = _blur(images, 1)[:, :, ::2, ::2]
    detail: np.ndarray = images - _blur(spread, 2)
    return detail


def _blur(images: np.ndarray, gain: int) -> np.ndarray:
    """Blur images with Burt and Adelson's filter, mirrored at the edges."""
    return np.stack([[cv2.sepFilter2D(channel, -1, gain * _KERNEL, gain * _KERNEL,
                                      borderType=cv2.BORDER_REFLECT_101) for channel in image]
                     for image in np.ascontiguousarray(images)])
