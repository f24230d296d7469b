"""How alike images are: the multi-scale structural similarity."""
from __future__ import annotations

import numpy as np

from .feature_metrics import check_images, chunks

# Source of the constants: Wang, Simoncelli and Bovik, "Multiscale structural similarity for image
# quality assessment", Asilomar 2003.
_WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
_STABLE = (0.01**2, 0.03**2)  # of the range of values
_WINDOW, _SIGMA = 11, 1.5


def ms_ssim(images: np.ndarray, pairs: int = 10_000, seed: int = 0) -> float:
    """Say how alike the images of one set are, by their multi-scale structural similarity.

    Parameters
    ----------
    images : (N, C, H, W), float32
        In [-1, 1]; N at least 2, H and W at least 16.
    pairs : at least 1
        Random pairs of two different images.
    seed : at least 0
        Of the pairs.

    Returns
    -------
    float
        Mean over the pairs, in [0, 1]; 1 if all images are the same. The best value is that of
        real images.

    Raises
    ------
    ValueError
        If the images have another shape or range, or a number is out of range.

    Notes
    -----
    Windows of 11x11 pixels, or as many as there are, five scales; what is negative counts as 0.
    Source: Wang et al., Asilomar 2003; as a measure of variety: Odena et al., arXiv:1610.09585.
    """
    check_images("images", images)
    if pairs < 1 or seed < 0:
        raise ValueError(f"pairs is {pairs} and seed is {seed}: give 1 and 0, or more")
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(images), pairs)
    second = (first + rng.integers(1, len(images), pairs)) % len(images)
    values = [compare_pairs(images[first[part]], images[second[part]])
              for part in chunks(np.broadcast_to(images[:1], (pairs, *images.shape[1:])))]
    return float(np.concatenate(values).mean())


def compare_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the multi-scale structural similarity of each pair, (N,), float64; see `ms_ssim`."""
    a, b = ((images.astype(np.float64) + 1) / 2 for images in (first, second))
    result = np.ones(len(a))
    for scale, weight in enumerate(_WEIGHTS):
        luminance, contrast = _similarity(a, b)
        value = contrast if scale < len(_WEIGHTS) - 1 else luminance * contrast
        result *= np.maximum(value.mean((1, 2, 3)), 0) ** weight
        a, b = (_halve(images) for images in (a, b))
    return result


def _similarity(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarity of luminance, and of contrast and structure, at each place."""
    rows, columns = (_window(n) for n in a.shape[2:])

    def smooth(x: np.ndarray) -> np.ndarray:
        blurred: np.ndarray = rows @ x @ columns.T
        return blurred

    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    covariance = smooth(a * b) - mean_a * mean_b
    c1, c2 = _STABLE
    return ((2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1),
            (2 * covariance + c2) / (var_a + var_b + c2))


def _window(n: int) -> np.ndarray:
    """Return the matrix that smooths n pixels wherever the window fits, (places, n)."""
    size = min(_WINDOW, n)
    at = np.arange(size) - (size - 1) / 2
    weights = np.exp(-(at / (_SIGMA * size / _WINDOW)) ** 2 / 2)
    matrix = np.zeros((n - size + 1, n))
    for i, row in enumerate(matrix):
        row[i:i + size] = weights / weights.sum()
    return matrix


def _halve(images: np.ndarray) -> np.ndarray:
    """Halve the images by means of 2x2 pixels, without an odd last row or column."""
    n, c, height, width = images.shape
    if 1 in (height, width):
        return images
    cut = images[:, :, :height // 2 * 2, :width // 2 * 2]
    means: np.ndarray = cut.reshape(n, c, height // 2, 2, width // 2, 2).mean((3, 5))
    return means
