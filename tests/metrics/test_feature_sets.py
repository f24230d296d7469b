import numpy as np
import pytest
from scipy.linalg import sqrtm

from dcgan_mx import frechet_distance, precision_recall

RNG = np.random.default_rng(0)


def draw(mean, covariance, n=50):
    """Points with exactly this mean and covariance."""
    points = RNG.standard_normal((n, len(mean)))
    points -= points.mean(0)
    points = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False))).T
    values, vectors = np.linalg.eigh(covariance)
    return points @ (vectors * np.sqrt(np.maximum(values, 0))).T + mean


@pytest.mark.parametrize("a, b", [
    ([4, 1, 9], [1, 1, 1]), ([4, 0, 0], [1, 0, 2]), ([0] * 3, [0] * 3)])
def test_frechet_distance_of_diagonal_gaussians(a, b):
    """|m1 - m2|^2 + the sum of (sqrt(a) - sqrt(b))^2, also where variances are 0."""
    shift = np.array([1.0, -2.0, 0.5])
    expected = (shift**2).sum() + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    found = frechet_distance(draw(np.zeros(3), np.diag(a)), draw(shift, np.diag(b)))
    assert found == pytest.approx(expected, abs=1e-6)


def test_frechet_distance_matches_matrix_square_root_and_is_zero_for_equal_sets():
    first, second = (x @ x.T for x in RNG.standard_normal((2, 5, 5)))
    expected = np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    found = frechet_distance(draw(np.zeros(5), first), draw(np.zeros(5), second))
    assert found == pytest.approx(expected, rel=1e-6)
    features = RNG.standard_normal((30, 40)).astype(np.float32)  # fewer points than dimensions
    assert abs(frechet_distance(features, features)) < 1e-4
    assert frechet_distance(features, features + 3) == pytest.approx(40 * 9, rel=1e-4)


def test_precision_and_recall_of_equal_and_of_disjoint_sets():
    points = RNG.standard_normal((40, 3))
    assert precision_recall(points, points) == (1, 1)
    assert precision_recall(points, points + 1000) == (0, 0)
    # All fakes equal one real: each is covered, and they cover only this one.
    assert precision_recall(points, np.repeat(points[:1], 40, 0)) == (1, 1 / 40)


def test_precision_and_recall_match_brute_force():
    real, fake = RNG.standard_normal((37, 2)), 0.7 * RNG.standard_normal((53, 2)) + 0.5

    def covered(by, points, k):
        radii = [sorted(np.linalg.norm(by - x, axis=1))[k] for x in by]
        return np.mean([any(np.linalg.norm(x - y) <= r for y, r in zip(by, radii))
                        for x in points])

    for k in (1, 3):
        assert precision_recall(real, fake, k) == pytest.approx(
            (covered(real, fake, k), covered(fake, real, k)))


@pytest.mark.parametrize("real, fake, k, message", [
    (np.zeros((5, 3)), np.zeros((5, 2)), 3, r"fake has shape \(5, 2\): expected \(N, d\)"),
    (np.zeros(5), np.zeros((5, 2)), 3, "real has shape"),
    (np.zeros((1, 2)), np.zeros((5, 2)), 3, "N at least 2"),
    (np.zeros((5, 2)), np.full((5, 2), np.nan), 3, "fake has values that are not finite"),
    (np.zeros((5, 2)), np.zeros((4, 2)), 4, "k is 4: expected 1 to 3"),
    (np.zeros((5, 2)), np.zeros((4, 2)), 0, "k is 0: expected 1 to 3")])
def test_rejects_bad_features(real, fake, k, message):
    with pytest.raises(ValueError, match=message):
        precision_recall(real, fake, k)
