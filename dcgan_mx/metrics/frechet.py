"""The Fréchet distance between two sets of features."""
from __future__ import annotations

import numpy as np

from .checks import check_features


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
    real, fake = check_features(real, fake)
    means = [features.mean(0) for features in (real, fake)]
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (real, fake)]
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ covariances[1] @ root)
    traces = sum(float(np.trace(covariance)) for covariance in covariances)
    return float(np.square(means[0] - means[1]).sum() + traces
                 - 2 * np.sqrt(np.maximum(eigenvalues, 0)).sum())
