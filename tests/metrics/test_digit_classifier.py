import numpy as np
import pytest

from dcgan_mx.data.datasets import read_mnist
from dcgan_mx.data.errors import DatasetError
from dcgan_mx.iterators import resize_to
from dcgan_mx.metrics.digit_classifier import DigitClassifier, load_classifier, preprocess, train


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


@pytest.mark.slow
def test_full_training_errs_below_1_5_percent_and_tolerates_background(mnist_root, tmp_path,
                                                                       monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    classifier = load_classifier(mnist_root)
    assert classifier.error < 0.015
    assert load_classifier("nowhere").error == classifier.error  # from the cache
    _, _, images, labels = read_mnist(mnist_root)
    shaded = 0.35 + 0.6 * (resize_to(images, (1, 64, 64)) - 0.1)  # grey paper, pale ink
    found = classifier.predict(shaded.clip(-1, 1))[1].argmax(1)
    assert (found != labels).mean() < 0.03
    (tmp_path / "dcgan_mx" / "classifier" / "digits-1.params").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="nowhere"):  # it would be trained again
        load_classifier("nowhere/here")
