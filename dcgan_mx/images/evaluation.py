"""What the figures of quality say of a generator, beside what they say of real images."""
from __future__ import annotations

import itertools
from typing import Any, Iterable, Iterator

import numpy as np

from .digits import DigitClassifier
from .quality import QualityError, frechet_distance, precision_recall
from .similarity import ms_ssim
from .wasserstein import sliced_wasserstein


class Judge:
    """Compares sets of images with real ones.

    Parameters
    ----------
    real : (N, C, H, H), float32
        In [-1, 1].
    classifier
        Of digits; its features serve the Fréchet distance, precision and recall, and all figures
        are of grey images. None for other data sets, which have no such features: of them there
        are the sliced Wasserstein distance and MS-SSIM, which need none.
    quick
        Take 512 images and a quarter of the directions for the sliced Wasserstein distance, and a
        tenth of the pairs for MS-SSIM.

    Raises
    ------
    QualityError
        If there are fewer than 16 images.
    """

    def __init__(self, real: np.ndarray, classifier: DigitClassifier | None = None,
                 quick: bool = False) -> None:
        if len(real) < 16:
            raise QualityError(f"{len(real)} real images are too few to compare with: give 16 or "
                               "more")
        self._classifier, self._quick = classifier, quick
        self._real = self._see(real)
        self._features = classifier.describe(real)[0] if classifier else None

    def judge(self, images: np.ndarray) -> dict[str, Any]:
        """Return the figures of as many images as there are real ones.

        Returns
        -------
        dict
            `images`, their number; `swd`, the mean of `swd_levels`; `ms_ssim`; of digits also
            `frechet`, `precision`, `recall`, and `classes`, how many are taken for each digit.
        """
        seen = self._see(images)
        most = 512 if self._quick else len(seen)
        swd = sliced_wasserstein(self._real[:most], seen[:most], repeats=1 if self._quick else 4)
        figures: dict[str, Any] = {
            "images": len(images), "swd": swd.mean,
            "swd_levels": {str(height): value for height, value in swd.levels.items()},
            "ms_ssim": ms_ssim(seen, 1_000 if self._quick else 10_000)}
        if self._classifier and self._features is not None:
            features, probabilities = self._classifier.describe(images)
            precision, recall = precision_recall(self._features, features)
            figures.update(frechet=frechet_distance(self._features, features),
                           precision=precision, recall=recall,
                           classes=np.bincount(probabilities.argmax(1), minlength=10).tolist())
        return figures

    def _see(self, images: np.ndarray) -> np.ndarray:
        if self._classifier is None:
            return images
        grey: np.ndarray = images.mean(1, keepdims=True)
        return grey


def take(train_iter: Any, n: int, grey: bool = False) -> np.ndarray:
    """Return the first `n` real images, (n, C, H, W), of as many epochs as that takes.

    Parameters
    ----------
    train_iter
        Of the kinds that this package has.
    n : at least 1
    grey
        Return the means of the channels, (n, 1, H, W).
    """
    channels, height, width = train_iter.provide_data[0].shape[1:]
    images = np.empty((n, 1 if grey else channels, height, width), np.float32)
    for start, batch in zip(range(0, n, train_iter.batch_size), run_through(train_iter)):
        part = batch.data[0].asnumpy()[:n - start]
        images[start:start + len(part)] = part.mean(1, keepdims=True) if grey else part
    return images


def run_through(train_iter: Any) -> Iterator[Any]:
    """Yield the batches of all epochs, from the first one on."""
    for epoch in itertools.count():
        train_iter.seek(epoch, 0)
        for _ in range(train_iter.num_batches):
            yield train_iter.next()


def find_nearest(images: np.ndarray, batches: Iterable[Any]) -> np.ndarray:
    """Return the real image that each image is closest to, pixel by pixel, in grey.

    Parameters
    ----------
    images : (n, C, H, W), float32
    batches
        Of real images of that shape.

    Returns
    -------
    (n, C, H, W), float32
    """
    flat = images.mean(1).reshape(len(images), -1)
    least, nearest = np.full(len(images), np.inf), np.empty_like(images)
    for batch in batches:
        real = batch.data[0].asnumpy()
        grey = real.mean(1).reshape(len(real), -1)
        distances = np.square(grey).sum(1) - 2 * flat @ grey.T + np.square(flat).sum(1)[:, None]
        best = distances.argmin(1)
        for i in np.flatnonzero(distances.min(1) < least):
            least[i], nearest[i] = distances[i, best[i]], real[best[i]]
    return nearest
