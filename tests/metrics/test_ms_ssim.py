import numpy as np
import pytest
from scipy.ndimage import correlate

from dcgan_mx import ms_ssim
from dcgan_mx.iterators import resize_to
from dcgan_mx.metrics.ms_ssim import compare_pairs

RNG = np.random.default_rng(0)


def by_definition(a, b):
    """MS-SSIM of two gray images, values from 0 to 255, as the paper defines it."""
    product = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        size = min(11, len(a))
        at = np.arange(size) - (size - 1) / 2
        kernel = np.exp(-(at[:, None]**2 + at**2) / 2 / (1.5 * size / 11)**2)
        kernel /= kernel.sum()
        low, high = (size - 1) // 2 + (size % 2 == 0), len(a) - (size - 1) // 2

        def smooth(x, kernel=kernel, keep=slice(low, high)):
            return correlate(x, kernel)[keep, keep]

        ma, mb = smooth(a), smooth(b)
        va, vb, cov = smooth(a * a) - ma**2, smooth(b * b) - mb**2, smooth(a * b) - ma * mb
        contrast = (2 * cov + (0.03 * 255)**2) / (va + vb + (0.03 * 255)**2)
        if scale == 4:
            contrast *= (2 * ma * mb + (0.01 * 255)**2) / (ma**2 + mb**2 + (0.01 * 255)**2)
        product *= max(contrast.mean(), 0) ** weight
        even = len(a) // 2 * 2
        a, b = ((x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4
                for x in (a[:even, :even], b[:even, :even]))
    return product


@pytest.mark.parametrize("size", [64, 50])  # 25 pixels on the second scale of 50
def test_digits_match_definition(size, mnist):
    digits = resize_to(mnist[:100], (1, 64, 64))[:, :, -size:, -size:]
    found = compare_pairs(digits[:50], digits[50:])
    expected = [by_definition(*((x[0].astype(float) + 1) * 127.5 for x in pair))
                for pair in zip(digits[:50], digits[50:])]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert 0.05 < found.mean() < 0.3 and found.std() > 0.02


def test_equal_images_give_one_and_noise_almost_zero():
    image = RNG.uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    assert ms_ssim(np.repeat(image, 5, 0), 20) == pytest.approx(1)
    other = RNG.uniform(-1, 1, (40, 3, 32, 32)).astype(np.float32)
    assert ms_ssim(other, 200) < 0.1


def test_pairs_are_different_images():
    images = RNG.uniform(-1, 1, (2, 1, 16, 16)).astype(np.float32)
    assert ms_ssim(images, 50) == pytest.approx(compare_pairs(images[:1], images[1:])[0])
    with pytest.raises(ValueError, match="pairs is 0: expected at least 1"):
        ms_ssim(images, 0)
    with pytest.raises(ValueError, match="at least 2 images"):
        ms_ssim(images[:1])
