"""The multi-scale structural similarity (MS-SSIM) of images, as a measure of variety."""
from __future__ import annotations

import numpy as np

from .checks import check_images, chunks

# Source of the constants: Wang, Simoncelli and Bovik, "Multiscale structural similarity for image
# quality assessment", Asilomar 2003.
_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
_C1, _C2 = 0.01**2, 0.03**2  # for values in [0, 1]
_WINDOW, _SIGMA = 11, 1.5


def ms_ssim(images: np.ndarray, pairs: int = 10_000, seed: int = 0) -> float:
    """Compute the mean MS-SSIM of random pairs of images from one set.

    Parameters
    ----------
    images : (N, C, H, W), float32
        In [-1, 1]; N is at least 2, H and W at least 16.
    pairs : at least 1
        Random pairs of two different images.
    seed : at least 0
        Seed of the pairs.

    Returns
    -------
    float
        In [0, 1]; 1 if all images are equal. The best value is the value of real images.

    Raises
    ------
    ValueError
        If the images have another shape or range, or a number is out of range.

    Notes
    -----
    Five scales, windows of 11x11 pixels (smaller images: the whole image); negative values count
    as 0. Source: Wang et al., Asilomar 2003; as a measure of variety: Odena et al.,
    arXiv:1610.09585.
    """
    check_images("images", images)
    if pairs < 1:
        raise ValueError(f"pairs is {pairs}: expected at least 1")
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(images), pairs)
    second = (first + rng.integers(1, len(images), pairs)) % len(images)
    values = [compare_pairs(images[first[part]], images[second[part]])
              for part in chunks(np.broadcast_to(images[:1], (pairs, *images.shape[1:])))]
    return float(np.concatenate(values).mean())


def compare_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the MS-SSIM of each pair of images, (N,), float64; see `ms_ssim`."""
    a, b = ((images.astype(np.float64) + 1) / 2 for images in (first, second))
    result = np.ones(len(a))
    for scale, weight in enumerate(_WEIGHTS):
        if scale:
            a, b = _halve(a), _halve(b)
        luminance, contrast = _similarity(a, b)
        value = contrast if scale < len(_WEIGHTS) - 1 else luminance * contrast
        result *= np.maximum(value.mean((1, 2, 3)), 0) ** weight
    return result


def _similarity(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarity of luminance, and of contrast and structure, of each window."""
    rows, columns = (_window(n) for n in a.shape[2:])
    mean_a, mean_b, square_a, square_b, product = (
        rows @ x @ columns.T for x in (a, b, a * a, b * b, a * b))
    var_a, var_b, covariance = square_a - mean_a**2, square_b - mean_b**2, product - mean_a * mean_b
    return ((2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1),
            (2 * covariance + _C2) / (var_a + var_b + _C2))


def _window(n: int) -> np.ndarray:
    """Return the matrix, (places, n), of a Gaussian window at each of its places in n pixels."""
    size = min(_WINDOW, n)
    at = np.arange(size) - (size - 1) / 2
    weights = np.exp(-(at / (_SIGMA * size / _WINDOW)) ** 2 / 2)
    matrix = np.zeros((n - size + 1, n))
    for i, row in enumerate(matrix):
        row[i:i + size] = weights / weights.sum()
    return matrix


def _halve(images: np.ndarray) -> np.ndarray:
    """Average 2x2 pixels, without an odd last row or column."""
    n, c, height, width = images.shape
    cut = images[:, :, :height // 2 * 2, :width // 2 * 2]
    means: np.ndarray = cut.reshape(n, c, height // 2, 2, width // 2, 2).mean((3, 5))
    return means
