import numpy as np
import pytest

from dcgan_mx.data.datasets import read_mnist
from dcgan_mx.data.errors import DatasetError
from dcgan_mx.iterators import resize_to
from dcgan_mx.metrics.digit_classifier import DigitClassifier, load_classifier, preprocess, train


def test_a_little_training_tells_most_digits_the_same_every_time(mnist_root):
    """Of 4,000 digits, each seen once."""
    images, labels, tests, test_labels = read_mnist(mnist_root)
    first, second, params = (train(images[:n], labels[:n], tests[:1000], test_labels[:1000],
                                   epochs=1) for n in (500, 500, 4000))
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array, err_msg=name)
    classifier = DigitClassifier(params)
    features, probabilities = classifier.describe(resize_to(tests[:1000], (3, 64, 64)))
    assert features.shape == (1000, 128) and features.min() == 0 < features.std()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    error = (probabilities.argmax(1) != test_labels[:1000]).mean()
    assert error == pytest.approx(classifier.error, abs=1e-6) and error < 0.3
    # Sizes, channels and company change little or nothing.
    for size, channels in ((64, 1), (32, 3), (128, 1)):
        found = classifier.describe(resize_to(tests[:70], (channels, size, size)))[1]
        assert np.abs(found - probabilities[:70]).max() < (1e-5 if size == 64 else 0.5)


def test_shrinking_means_areas():
    image = np.kron(np.eye(32), np.ones((2, 2)))[None, None].astype(np.float32)
    np.testing.assert_array_equal(preprocess(np.repeat(image, 3, 1)), np.eye(32)[None, None])


@pytest.mark.slow
def test_it_errs_on_less_than_one_and_a_half_percent_and_bears_a_background(mnist_root, tmp_path):
    classifier = load_classifier(mnist_root, cache=tmp_path)
    assert classifier.error < 0.015
    assert load_classifier("nowhere", cache=tmp_path).error == classifier.error  # from the cache
    _, _, images, labels = read_mnist(mnist_root)
    shaded = 0.35 + 0.6 * (resize_to(images, (1, 64, 64)) - 0.1)  # grey paper, pale ink
    found = classifier.describe(shaded.clip(-1, 1))[1].argmax(1)
    assert (found != labels).mean() < 0.03
    (tmp_path / "classifier" / "digits-1.params").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="nowhere"):  # it would be trained anew
        load_classifier("nowhere/here", cache=tmp_path)
