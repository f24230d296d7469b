"""Fréchet distance, precision and recall: comparisons of two sets of features."""
from __future__ import annotations

from typing import Iterator, NamedTuple

import numpy as np


class PrecisionRecall(NamedTuple):
    """The result of `precision_recall`."""

    precision: float
    recall: float


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Compare the means and covariances of two sets of features.

    Parameters
    ----------
    real, fake : (N, d)
        N is at least 2, and may differ.

    Returns
    -------
    float
        ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``, in float64; 0, up to rounding, for equal
        sets. The distance between two sets of real images is above 0, and falls with N.

    Raises
    ------
    ValueError
        If an array has another shape, or a value is not finite.

    Notes
    -----
    The trace of (S1 S2)^(1/2) is the sum of the square roots of the eigenvalues of the symmetric
    S1^(1/2) S2 S1^(1/2), which exist for singular covariances, too.
    Source: Dowson and Landau, J. Multivariate Anal. 12 (1982); Heusel et al., arXiv:1706.08500.
    """
    real, fake = _check(real, fake)
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (real, fake)]
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ covariances[1] @ root)
    traces = sum(float(np.trace(covariance)) for covariance in covariances)
    return float(np.square(real.mean(0) - fake.mean(0)).sum() + traces
                 - 2 * np.sqrt(np.maximum(eigenvalues, 0)).sum())


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> PrecisionRecall:
    """Estimate how many fakes look real, and how much of the real variety the fakes have.

    Parameters
    ----------
    real, fake : (N, d)
        N is above k, and may differ.
    k : at least 1
        A set covers the balls around its features with the k-th nearest neighbor as radius.

    Returns
    -------
    precision : in [0, 1]
        Share of fakes that the reals cover.
    recall : in [0, 1]
        Share of reals that the fakes cover.

    Raises
    ------
    ValueError
        If an array has another shape, a value is not finite, or k is out of range.

    Notes
    -----
    Source: Kynkäänniemi et al., arXiv:1904.06991.
    """
    real, fake = _check(real, fake)
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(f"k is {k}: expected 1 to {min(len(real), len(fake)) - 1}")
    shares = []
    for covering, covered in ((real, fake), (fake, real)):
        # A copy of the column, because a view would keep the whole block in memory.
        radii = np.concatenate([np.partition(distances, k, 1)[:, k].copy()
                                for distances in _distances(covering, covering)])
        inside = [(distances <= radii).any(1) for distances in _distances(covered, covering)]
        shares.append(float(np.concatenate(inside).mean()))
    return PrecisionRecall(*shares)


def _check(real: np.ndarray, fake: np.ndarray) -> list[np.ndarray]:
    """Return two sets of features as float64; raise ValueError unless both are finite (N, d)."""
    for name, features in (("real", real), ("fake", fake)):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] != real.shape[1]:
            raise ValueError(f"{name} has shape {features.shape}: expected (N, d) with N at least "
                             "2, and the same d for both")
        if not np.isfinite(features).all():
            raise ValueError(f"{name} has values that are not finite: remove those images")
    return [features.astype(np.float64) for features in (real, fake)]


def _distances(a: np.ndarray, b: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the squared distances of some rows of `a` at a time to all rows of `b`."""
    squares = np.square(b).sum(1)
    step = max(1, 2**21 // len(b))
    for start in range(0, len(a), step):
        part = a[start:start + step]
        yield np.maximum(np.square(part).sum(1)[:, None] - 2 * part @ b.T + squares, 0)
