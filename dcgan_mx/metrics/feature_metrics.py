"""Metrics of features (Fréchet distance, precision, recall), and checks of metrics' inputs."""
from __future__ import annotations

from typing import Iterator, NamedTuple

import numpy as np

SMALLEST = 16  # pixels of the smallest images


class PrecisionRecall(NamedTuple):
    """What `precision_recall` returns."""

    precision: float
    recall: float


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Compare the means and covariances of two sets of features.

    Parameters
    ----------
    real, fake : (N, d)
        N at least 2, and may differ.

    Returns
    -------
    float
        ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``, in float64; 0, up to rounding, for the
        same set twice. For two sets of real images it is above 0, and falls with their size.

    Raises
    ------
    ValueError
        If the arrays have other shapes, or a number is not finite.

    Notes
    -----
    The trace of (S1 S2)^(1/2) is the sum of the square roots of the eigenvalues of the symmetric
    S1^(1/2) S2 S1^(1/2), which exist for singular covariances, too.
    Source: Dowson and Landau, J. Multivariate Anal. 12 (1982); Heusel et al., arXiv:1706.08500.
    """
    real, fake = _check_features(real, fake)
    means = [features.mean(0) for features in (real, fake)]
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (real, fake)]
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ covariances[1] @ root)
    traces = sum(float(np.trace(covariance)) for covariance in covariances)
    return float(np.square(means[0] - means[1]).sum() + traces
                 - 2 * np.sqrt(np.maximum(eigenvalues, 0)).sum())


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> PrecisionRecall:
    """Say how many fakes look real, and how many reals could be fakes.

    Parameters
    ----------
    real, fake : (N, d)
        N above k.
    k : at least 1
        A set covers the balls around its features that reach to the k-th nearest other one.

    Returns
    -------
    precision : in [0, 1]
        Share of fakes that the reals cover.
    recall : in [0, 1]
        Share of reals that the fakes cover.

    Raises
    ------
    ValueError
        If the arrays have other shapes, a number is not finite, or k is out of range.

    Notes
    -----
    Source: Kynkäänniemi et al., arXiv:1904.06991.
    """
    real, fake = _check_features(real, fake)
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(f"k is {k}: give 1 to {min(len(real), len(fake)) - 1}")
    # A copy of the column, or it would keep the whole block.
    radii = [np.concatenate([np.partition(distances, k, 1)[:, k].copy() for distances
                             in _distances(features, features)]) for features in (real, fake)]
    shares = []
    for covering, radius, covered in ((real, radii[0], fake), (fake, radii[1], real)):
        inside = [(distances <= radius).any(1) for distances in _distances(covered, covering)]
        shares.append(float(np.concatenate(inside).mean()))
    return PrecisionRecall(*shares)


def _distances(a: np.ndarray, b: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the squared distances of some rows of `a` at a time to all rows of `b`."""
    squares = np.square(b).sum(1)
    step = max(1, 2**21 // len(b))
    for start in range(0, len(a), step):
        part = a[start:start + step]
        yield np.maximum(np.square(part).sum(1)[:, None] - 2 * part @ b.T + squares, 0)


def chunks(images: np.ndarray) -> list[slice]:
    """Return slices of a set of images that hold a million numbers each, or one image."""
    step = max(1, 2**20 // int(np.prod(images.shape[1:])))
    return [slice(start, start + step) for start in range(0, len(images), step)]


def check_images(name: str, images: np.ndarray) -> None:
    """Raise ValueError unless an array holds images, (N, C, H, W), float32, in [-1, 1]."""
    if images.ndim != 4 or images.dtype != np.float32:
        raise ValueError(f"{name} is {images.dtype} of shape {images.shape}: give float32 of "
                         "shape (N, C, H, W)")
    if len(images) < 2 or min(images.shape[2:]) < SMALLEST:
        raise ValueError(f"{name} has shape {images.shape}: give 2 images or more, of 16 pixels "
                         "or more")
    for part in chunks(images):
        if not np.abs(images[part]).max() <= 1 + 1e-3:  # false for nan, too
            raise ValueError(f"{name} has numbers that are not in [-1, 1]: scale the images")


def _check_features(*arrays: np.ndarray) -> list[np.ndarray]:
    for name, features in zip(("real", "fake"), arrays):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] != arrays[0].shape[1]:
            raise ValueError(f"{name} has shape {features.shape}: give (N, d), N at least 2, and "
                             "the same d for both")
        if not np.isfinite(features).all():
            raise ValueError(f"{name} has numbers that are not finite: leave those images out")
    return [features.astype(np.float64) for features in arrays]
