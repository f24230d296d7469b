"""A classifier of digits, whose features Fréchet distance, precision and recall compare."""
from __future__ import annotations

import warnings
from typing import Any

import cv2
import numpy as np

from ..data.datasets import read_mnist
from ..iterators import resize_to
from ..runs.params import dump_params, parse_params
from ..sampling.generator import forward_batches
from ..system.files import StrPath, cache_folder, open_regular, write_atomic
from ..system.runtime import mx

_VERSION = 1  # of everything that affects the weights
_SIDE, _BATCH, _LR = 32, 100, 2e-3


class DigitClassifier:
    """A classifier of digits; `params` come from `train`.

    Attributes
    ----------
    error : float
        Share of the 10,000 test digits that are misclassified.
    """

    def __init__(self, params: dict[str, np.ndarray], ctx: Any = None) -> None:
        weights = {name: mx.nd.array(array) for name, array in params.items() if name != "error"}
        self.error = float(params["error"][0])
        scores = _make_symbol()
        features = scores.get_internals()["features_output"]
        self._mod = mx.mod.Module(mx.sym.Group([features, mx.sym.softmax(scores)]),
                                  label_names=None, context=ctx or mx.current_context())
        self._mod.bind(data_shapes=[("data", (_BATCH, 1, _SIDE, _SIDE))], for_training=False)
        self._mod.set_params(weights, {})

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the last hidden layer, (N, 128), and the probabilities, (N, 10), of images.

        `images` are (N, C, H, W), in [-1, 1], of any size, with bright ink; channels are averaged.
        """
        features, probabilities = forward_batches(self._mod, preprocess(images))
        return features, probabilities


def _make_symbol() -> Any:
    """Make the network: three convolutions, a hidden layer, ten scores."""
    x = mx.sym.Variable("data")
    for i, filters in enumerate((16, 32, 64), 1):
        x = mx.sym.Convolution(x, name=f"conv{i}", num_filter=filters, kernel=(3, 3), pad=(1, 1))
        x = mx.sym.Activation(x, act_type="relu", name=f"relu{i}")
        x = mx.sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max", name=f"pool{i}")
    x = mx.sym.FullyConnected(x, name="hidden", num_hidden=128)
    x = mx.sym.Activation(x, act_type="relu", name="features")
    return mx.sym.FullyConnected(x, name="scores", num_hidden=10)


def preprocess(images: np.ndarray) -> np.ndarray:
    """Scale images, (N, C, H, W), to the classifier's input, (N, 1, 32, 32), float32."""
    method = cv2.INTER_AREA if images.shape[2] > _SIDE else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image.mean(0, dtype=np.float32), (_SIDE, _SIDE),
                                interpolation=method)[None] for image in images])


def load_classifier(root: StrPath = "data", ctx: Any = None) -> DigitClassifier:
    """Load the classifier from the cache, or train it on the MNIST files in `root`."""
    # In its own directory, because temporary files are removed from the directory of packs.
    path = cache_folder() / "classifier" / f"digits-{_VERSION}.params"
    try:
        with open_regular(path) as f:
            return DigitClassifier(parse_params(f.read(), path), ctx)
    except (FileNotFoundError, ValueError, KeyError, RuntimeError, mx.base.MXNetError):
        images, labels, test_images, test_labels = read_mnist(root)
        params = train(images, labels, test_images, test_labels, ctx=ctx)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, dump_params(params))
    except OSError as error:
        warnings.warn(f"{path}: {error.strerror}: the classifier of digits is not cached "
                      "and will be trained again", RuntimeWarning, stacklevel=2)
    return DigitClassifier(params, ctx)


def train(images: np.ndarray, labels: np.ndarray, test_images: np.ndarray,
          test_labels: np.ndarray, epochs: int = 4, ctx: Any = None) -> dict[str, np.ndarray]:
    """Train the classifier on digits, (N, 28, 28), uint8, from a fixed seed; return its parameters.

    Unlike digits, generated images have faint backgrounds, weak ink and noise. Each batch gets
    some of all three, so that the classifier does not mistake a shade for a digit.
    """
    rng = np.random.default_rng(1998)
    data, test = (_prepare(part) for part in (images, test_images))
    mod = mx.mod.Module(mx.sym.SoftmaxOutput(_make_symbol(), name="softmax"),
                        context=ctx or mx.current_context())
    mod.bind([("data", (_BATCH, 1, _SIDE, _SIDE))], [("softmax_label", (_BATCH,))])
    mod.init_params(mx.init.Zero())
    # Not from MXNet's random numbers: a running training may depend on their state.
    mod.set_params({
        name: mx.nd.array(rng.standard_normal(array.shape) * np.sqrt(2 / np.prod(array.shape[1:])))
        for name, array in mod.get_params()[0].items() if array.ndim > 1}, {}, allow_missing=True)
    schedule = mx.lr_scheduler.PolyScheduler(epochs * (len(data) // _BATCH), base_lr=_LR, pwr=1)
    mod.init_optimizer(optimizer="adam", optimizer_params={
        "learning_rate": _LR, "lr_scheduler": schedule})
    for _ in range(epochs):
        order = rng.permutation(len(data))
        for start in range(0, len(data) - _BATCH + 1, _BATCH):
            chosen = order[start:start + _BATCH]
            mod.forward(mx.io.DataBatch([mx.nd.array(_augment(data[chosen], rng))],
                                        [mx.nd.array(labels[chosen])]), is_train=True)
            mod.backward()
            mod.update()
    params = {name: array.asnumpy() for name, array in mod.get_params()[0].items()}
    classifier = DigitClassifier({**params, "error": np.ones(1, np.float32)}, ctx)
    found = classifier.predict(test)[1].argmax(1)
    return {**params, "error": np.array([(found != test_labels).mean()], np.float32)}


def _prepare(images: np.ndarray) -> np.ndarray:
    """Enlarge digits as in a training, then preprocess them: (N, 1, 32, 32), in [-1, 1]."""
    return np.concatenate([preprocess(resize_to(images[start:start + 1000], (1, 64, 64)))
                           for start in range(0, len(images), 1000)])


def _augment(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a grey background, weaker ink and noise to digits, each of random strength."""
    n = len(data)
    ink = (data + 1) / 2
    low = rng.uniform(0, 0.3, (n, 1, 1, 1)) * (rng.random((n, 1, 1, 1)) < 0.5)
    high = rng.uniform(0.6, 1, (n, 1, 1, 1))
    noise = rng.uniform(0, 0.15, (n, 1, 1, 1)) * rng.standard_normal(data.shape, np.float32)
    augmented: np.ndarray = np.clip(low + (high - low) * ink + noise, 0, 1)
    return (2 * augmented - 1).astype(np.float32)
