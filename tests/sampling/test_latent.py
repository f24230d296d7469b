import numpy as np
import pytest

from dcgan_mx.sampling.latent import arithmetic, make_latents, parse_arithmetic, slerp, traverse

A, B = make_latents(2, 100, seed=3)
T = np.linspace(0, 1, 11)


def test_latents_are_normal_and_first_ones_do_not_depend_on_n():
    z = make_latents(1000, 100, seed=5)
    assert z.dtype == np.float32
    assert abs(z.mean()) < 4 / np.sqrt(1e5) and abs(z.var() - 1) < 4 * np.sqrt(2 / 1e5)
    np.testing.assert_array_equal(make_latents(1, 100, seed=5), z[:1])
    assert (make_latents(1, 100, seed=6) != z[:1]).any()


def test_slerp_has_exact_ends_linear_norm_and_constant_speed_in_one_plane():
    path = slerp(A, 3 * B, T).astype(np.float64)
    np.testing.assert_array_equal(path[[0, -1]], [A, 3 * B])
    norms = np.linalg.norm(path, axis=1)
    np.testing.assert_allclose(norms, np.linalg.norm(A) + T * (norms[-1] - norms[0]), rtol=1e-6)
    unit = path / norms[:, None]
    angles = np.arccos((unit[:-1] * unit[1:]).sum(1))
    np.testing.assert_allclose(angles, angles.mean(), rtol=1e-5)
    assert np.linalg.matrix_rank(path, tol=1e-4) == 2
    np.testing.assert_allclose(slerp(np.array([1, 0]), np.array([0, 1]), np.array([0.5])),
                               [[0.5 ** 0.5] * 2], rtol=1e-6)
    np.testing.assert_allclose(slerp(B, A, 1 - T), slerp(A, B, T), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slerp(A, 2 * A, T), A * (1 + T[:, None]), rtol=1e-6)
    np.testing.assert_array_equal(slerp(A, A, T), np.repeat(A[None], 11, 0))


def test_traverse_changes_one_number():
    vectors = traverse(A, 7, T)
    np.testing.assert_array_equal(vectors[:, 7], T.astype(np.float32))
    np.testing.assert_array_equal(np.delete(vectors, 7, 1), np.delete(A, 7)[None].repeat(11, 0))
    for dim in (-1, 100):
        with pytest.raises(ValueError, match=f"dimension {dim} is out of range: give 0 to 99"):
            traverse(A, dim, T)


def test_arithmetic():
    assert parse_arithmetic(" 1,2 ,3 - 4+ 5,6") == [(1, [1, 2, 3]), (-1, [4]), (1, [5, 6])]
    assert parse_arithmetic("-7") == [(-1, [7])]
    groups, means, total = arithmetic(parse_arithmetic("1,2-3"), 100)
    first, second, third = (make_latents(1, 100, seed)[0] for seed in (1, 2, 3))
    np.testing.assert_array_equal(groups[0], [first, second])
    np.testing.assert_allclose(means[0], (first + second) / 2, rtol=1e-6)
    np.testing.assert_allclose(total, (first + second) / 2 - third, rtol=1e-5, atol=1e-6)
    _, means, total = arithmetic(parse_arithmetic("1,2,3 - 1,2,3 + 4,5,6"), 100)
    np.testing.assert_array_equal(total, means[2])


@pytest.mark.parametrize("text", ["", "+", "1+", "1 2", "1,,2", "1.5", "a", "1--2", "9" * 19, "1,",
                                  "１"])
def test_rejects_bad_expressions(text):
    with pytest.raises(ValueError, match="invalid expression .* expected groups of seeds"):
        parse_arithmetic(text)
