import numpy as np
import pytest

from dcgan_mx.data.datasets import read_mnist
from dcgan_mx.iterators import resize_to
from dcgan_mx.metrics import digit_classifier
from dcgan_mx.metrics.digit_classifier import DigitClassifier, load_classifier, preprocess
from tools.quality.make_classifier import train


def test_short_training_is_deterministic_and_learns(mnist_root):
    images, labels, tests, test_labels = read_mnist(mnist_root)
    first, second, params = (train(images[:n], labels[:n], tests[:500], test_labels[:500],
                                   epochs=1) for n in (200, 200, 4000))
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array, err_msg=name)
    classifier = DigitClassifier(params)
    features, probabilities = classifier.predict(resize_to(tests[:500], (3, 64, 64)))
    assert features.shape == (500, 128) and features.min() == 0 < features.std()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    error = (probabilities.argmax(1) != test_labels[:500]).mean()
    assert error == pytest.approx(classifier.error, abs=1e-6) and error < 0.35
    # Sizes and channels change little or nothing.
    for size, channels in ((64, 1), (32, 3), (128, 1)):
        found = classifier.predict(resize_to(tests[:70], (channels, size, size)))[1]
        assert np.abs(found - probabilities[:70]).max() < (1e-5 if size == 64 else 0.5)


def test_preprocess_averages_areas():
    image = np.kron(np.eye(32), np.ones((2, 2)))[None, None].astype(np.float32)
    np.testing.assert_array_equal(preprocess(np.repeat(image, 3, 1)), np.eye(32)[None, None])


@pytest.fixture(scope="module")
def tests(mnist_root):
    """The first 2,000 test digits as a training shows them, and their labels."""
    _, _, images, labels = read_mnist(mnist_root)
    return resize_to(images[:2000], (1, 64, 64)), labels[:2000]


def test_bundled_classifier_errs_below_1_5_percent_and_tolerates_background(tests):
    images, labels = tests
    classifier = load_classifier()
    assert classifier.digest == digit_classifier.SHA256 and 0 < classifier.error < 0.01
    shaded = 0.35 + 0.6 * (images - 0.1)  # gray paper, pale ink
    for shown, limit in ((images, 0.015), (shaded.clip(-1, 1), 0.03)):
        assert (classifier.predict(shown)[1].argmax(1) != labels).mean() < limit


@pytest.mark.slow
def test_error_of_the_bundled_classifier(mnist_root):
    _, _, images, labels = read_mnist(mnist_root)
    found = load_classifier().predict(resize_to(images, (1, 64, 64)))[1].argmax(1)
    assert (found != labels).mean() == pytest.approx(load_classifier().error, abs=2e-4)


def test_damaged_or_missing_classifier_is_rejected(tmp_path, monkeypatch):
    damaged = bytearray(digit_classifier.PATH.read_bytes())
    damaged[1000] ^= 1
    monkeypatch.setattr(digit_classifier, "PATH", tmp_path / "digits.params")
    for _ in range(2):
        with pytest.raises(ValueError, match="digits.params is missing, damaged or of another"):
            load_classifier()
        (tmp_path / "digits.params").write_bytes(damaged)
