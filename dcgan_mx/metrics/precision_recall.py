"""Precision and recall of generated images, by their features."""
from __future__ import annotations

from typing import Iterator, NamedTuple

import numpy as np

from .checks import check_features


class PrecisionRecall(NamedTuple):
    """The result of `precision_recall`."""

    precision: float
    recall: float


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> PrecisionRecall:
    """Estimate how many fakes look real, and how much of the real variety the fakes have.

    Parameters
    ----------
    real, fake : (N, d)
        N is above k.
    k : at least 1
        A set covers the balls around its features with the k-th nearest neighbour as radius.

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
    real, fake = check_features(real, fake)
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(f"k is {k}: expected 1 to {min(len(real), len(fake)) - 1}")
    # A copy of the column, because a view would keep the whole block in memory.
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
