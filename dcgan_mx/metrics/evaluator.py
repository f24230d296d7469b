"""All metrics of a set of generated images."""
from __future__ import annotations

import itertools
from typing import Any, Iterable, Iterator

import numpy as np

from ..system.progress import show_parts
from .digit_classifier import DigitClassifier
from .feature_sets import frechet_distance, precision_recall
from .features_model import FeaturesModel
from .ms_ssim import ms_ssim
from .swd import sliced_wasserstein


class Evaluator:
    """Compares sets of images with equally large sets of real images.

    `real` are (N, C, H, H), float32, in [-1, 1]. With a classifier of digits, all metrics compare
    gray images. Fréchet distance, precision and recall compare the features of `features_model`, or
    else of the classifier; without both, they are missing. `quick` uses at most 512 images and a
    quarter of the directions for the sliced Wasserstein distance, and a tenth of the pairs for
    MS-SSIM.
    """

    def __init__(self, real: np.ndarray, classifier: DigitClassifier | None = None,
                 quick: bool = False, features_model: FeaturesModel | None = None) -> None:
        self._classifier, self._quick, self._model = classifier, quick, features_model
        self._real = self._to_gray(real)
        self._features = self._extract(self._real)[0]

    def evaluate(self, images: np.ndarray) -> dict[str, Any]:
        """Return the metrics of images, which have the shape of the real ones.

        They are `images` (their number); `swd`, the mean of `swd_levels`; `ms_ssim`; with a
        classifier the `class_counts` of the digits; with features `frechet`, `precision`, `recall`
        and the digest of the network, `classifier` or `features_model`.
        """
        gray = self._to_gray(images)
        most, repeats, pairs = (512, 1, 1_000) if self._quick else (len(gray), 4, 10_000)
        swd = sliced_wasserstein(self._real[:most], gray[:most], repeats=repeats)
        metrics: dict[str, Any] = {
            "images": len(images), "swd": swd.mean,
            "swd_levels": {str(height): value for height, value in swd.levels.items()},
            "ms_ssim": ms_ssim(gray, pairs)}
        features, more = self._extract(gray)
        if features is not None:
            metrics.update(frechet=frechet_distance(self._features, features),
                           **precision_recall(self._features, features)._asdict())
        return {**metrics, **more}

    def _extract(self, images: np.ndarray) -> tuple[Any, dict[str, Any]]:
        """Return the features of images, (n, d), or None, and what else the networks tell."""
        features, more = None, {}
        if self._classifier:
            features, probabilities = self._classifier.predict(images)
            counts = np.bincount(probabilities.argmax(1), minlength=10)
            more = {"class_counts": counts.tolist(), "classifier": self._classifier.digest}
        if self._model:
            features = self._model.extract(images)
            more["features_model"] = self._model.digest
        return features, more

    def _to_gray(self, images: np.ndarray) -> np.ndarray:
        """Average the channels if there is a classifier."""
        gray: np.ndarray = images.mean(1, keepdims=True) if self._classifier else images
        return gray


def first_images(train_iter: Any, n: int, gray: bool = False) -> np.ndarray:
    """Return the first `n` real images, (n, C or 1, H, W), reading several epochs if needed."""
    channels, height, width = train_iter.provide_data[0].shape[1:]
    images = np.empty((n, 1 if gray else channels, height, width), np.float32)
    size = train_iter.batch_size
    batches = zip(range(0, n, size), iter_epochs(train_iter))  # the range first: it ends the other
    for start, batch in show_parts(batches, "reading real images", n, size):
        part = batch.data[0].asnumpy()[:n - start]
        images[start:start + len(part)] = part.mean(1, keepdims=True) if gray else part
    return images


def iter_epochs(train_iter: Any) -> Iterator[Any]:
    """Yield the batches of epoch after epoch, from the first."""
    for epoch in itertools.count():
        train_iter.seek(epoch, 0)
        for _ in range(train_iter.num_batches):
            yield train_iter.next()


def find_nearest(images: np.ndarray, batches: Iterable[Any]) -> np.ndarray:
    """Return the real image in `batches` nearest to each image, by the distance of gray pixels."""
    flat = images.mean(1).reshape(len(images), -1)
    least, nearest = np.full(len(images), np.inf), np.empty_like(images)
    for batch in batches:
        real = batch.data[0].asnumpy()
        gray = real.mean(1).reshape(len(real), -1)
        distances = np.square(gray).sum(1) - 2 * flat @ gray.T + np.square(flat).sum(1)[:, None]
        best = distances.argmin(1)
        for i in np.flatnonzero(distances.min(1) < least):
            least[i], nearest[i] = distances[i, best[i]], real[best[i]]
    return nearest
