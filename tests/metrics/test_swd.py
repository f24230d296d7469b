import numpy as np
import pytest
from scipy.ndimage import convolve

from dcgan_mx import sliced_wasserstein
from dcgan_mx.metrics import swd
from dcgan_mx.metrics.swd import wasserstein

RNG = np.random.default_rng(0)


def noise(n, channels=1, size=16):
    return RNG.uniform(-1, 1, (n, channels, size, size)).astype(np.float32)


def flat(*values):
    """Images of 16x16 pixels of one brightness each: one level with flat patches."""
    return np.repeat(np.array(values, np.float32), 256).reshape(-1, 1, 16, 16)


def make_pyramid(images):
    """Laplacian pyramids down to 16 pixels, whose last level is Gaussian."""
    kernel = np.outer(*[[1, 4, 6, 4, 1]] * 2)[None, None] / 256
    if images.shape[2] == 16:
        return [images]
    halved = convolve(images, kernel, mode="mirror")[:, :, ::2, ::2]
    spread = np.zeros_like(images)
    spread[:, :, ::2, ::2] = halved
    return [images - convolve(spread, 4 * kernel, mode="mirror"), *make_pyramid(halved)]


def by_definition(real, fake, seed):
    """The distance, level by level, with the same places and directions."""
    levels = []
    for level, bands in enumerate(zip(make_pyramid(real), make_pyramid(fake))):
        rng = np.random.default_rng((seed, level))
        n, channels, side, _ = bands[0].shape
        places = rng.integers(0, side - 6, (n, 128, 2))
        directions = rng.standard_normal((128, channels * 49))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        projections = []
        for band in bands:
            cut = np.array([band[i, :, y:y + 7, x:x + 7].astype(float) for i in range(n)
                            for y, x in places[i]])
            cut -= cut.mean((0, 2, 3), keepdims=True)
            cut /= cut.std((0, 2, 3), keepdims=True)
            projections.append(np.sort(cut.reshape(len(cut), -1) @ directions.T, axis=0))
        levels.append(1000 * np.abs(projections[0] - projections[1]).mean())
    return levels


def test_colour_images_match_definition_in_any_memory_layout():
    real, fake = noise(6, 3, 64), noise(6, 3, 64)
    fake[:, 1] = fake[:, 0] ** 3  # channels of their own contrast, and dependent
    found = sliced_wasserstein(real, fake, seed=5, repeats=1)
    np.testing.assert_allclose([*found.levels.values()], by_definition(real, fake, 5), rtol=1e-4)
    for layout in ((0, 2, 3, 1), (3, 2, 1, 0)):
        back = np.argsort(layout)
        turned = np.ascontiguousarray(fake.transpose(layout)).transpose(back)
        assert sliced_wasserstein(real, turned, seed=5, repeats=1) == found


def test_little_memory_gives_the_same_distances(monkeypatch):
    real, fake = noise(6, 1, 32), noise(6, 1, 32)
    expected = sliced_wasserstein(real, fake)
    monkeypatch.setattr(swd, "_MEMORY", 130_000)  # for a third of the directions
    found = sliced_wasserstein(real, fake)
    np.testing.assert_allclose([*found.levels.values()], [*expected.levels.values()], rtol=1e-5)


def test_flat_patches_match_closed_form():
    """Projected onto a direction with the sum s, flat patches of brightness x lie at s x.

    Once both sets have mean 0 and deviation 1, half the reals are at -1 and half at 1, a quarter
    of the fakes is at sqrt(3) and the rest at -1/sqrt(3). The sum of the 49 numbers of a random
    direction is 7 times a coordinate of a point on the unit sphere in 49 dimensions.
    """
    thirds = 1 / np.sqrt(3)
    distance = ((1 - thirds) / 2 + (1 + thirds) / 4 + (np.sqrt(3) - 1) / 4)
    sphere = RNG.standard_normal((100_000, 49))
    mean_sum = np.abs(7 * sphere[:, 0] / np.linalg.norm(sphere, axis=1)).mean()
    found = sliced_wasserstein(flat(-0.3, 0.3, -0.3, 0.3), flat(0.9, -0.1, -0.1, -0.1)).mean
    assert found == pytest.approx(1000 * distance * mean_sum, rel=0.06)  # 512 directions


def test_zero_for_equal_sets_and_invariant_to_brightness_and_contrast():
    real, fake = noise(8, 3, 32), noise(8, 3, 32) ** 3
    assert sliced_wasserstein(real, real.copy(), repeats=1) == ({32: 0, 16: 0}, 0)
    expected = sliced_wasserstein(real, fake, repeats=1).mean
    changed = sliced_wasserstein(real, 0.3 * fake + np.float32(0.4), repeats=1).mean
    assert changed == pytest.approx(expected, rel=1e-3) and expected > 1


def test_binned_distance_matches_sorting():
    a, b = RNG.standard_normal((2, 200_000)).astype(np.float32)
    a[:50_000], b[:60_000] = 0.1, 0.10003  # as for patches of a flat background
    expected = np.abs(np.sort(a) - np.sort(b)).mean(dtype=np.float64)
    assert wasserstein(a, b) == pytest.approx(expected, abs=2e-5)
    assert wasserstein(a[:5], a[:5]) == wasserstein(np.ones(3, "f"), np.ones(3, "f")) == 0


@pytest.mark.parametrize("real, fake, options, message", [
    (noise(4), noise(5), {}, r"fake has shape \(5, 1, 16, 16\): expected the shape of real"),
    (noise(4, 1, 20), noise(4, 1, 20), {}, "the images have 20x20 pixels: expected squares"),
    (noise(4, 1, 8), noise(4, 1, 8), {}, "at least 16 pixels"),
    (noise(1), noise(1), {}, "at least 2 images"),
    (noise(4)[:, :0], noise(4)[:, :0], {}, "with channels"),
    (noise(4)[0], noise(4)[0], {}, "real has dtype float32 and shape"),
    (noise(4).astype(float), noise(4), {}, "real has dtype float64"),
    (noise(4), noise(4) + 1, {}, r"fake has values outside \[-1, 1\]"),
    (noise(4) * np.nan, noise(4), {}, "real has values outside"),
    (noise(4), noise(4), {"repeats": 0}, "repeats is 0: expected at least 1"),
    (noise(4), noise(4), {"seed": -1}, "non-negative")])
def test_rejects_bad_input(real, fake, options, message):
    with pytest.raises(ValueError, match=message):
        sliced_wasserstein(real, fake, **options)
