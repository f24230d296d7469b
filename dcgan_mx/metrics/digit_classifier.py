"""A classifier of digits, whose features Fréchet distance, precision and recall compare."""
from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from ..runs.params import dump_params, parse_params
from ..sampling.generator import forward_batches
from ..system.files import open_regular
from ..system.opencv import cv2
from ..system.runtime import mx

PATH = Path(__file__).parent.parent / "pretrained" / "digit-classifier.params"
SHA256 = "d315e34027652359c1dd2dab9f61d9e5994ef52a974077cc503847ea74ee8eff"
SIDE, BATCH = 32, 100


class DigitClassifier:
    """A classifier of digits; `params` are made by `tools.quality.make_classifier`.

    Attributes
    ----------
    digest : str
        SHA-256 of the parameters. Metrics of different classifiers are not comparable.
    error : float
        Share of the 10,000 test digits that are misclassified.
    """

    def __init__(self, params: Mapping[str, np.ndarray], ctx: Any = None) -> None:
        self.digest = hashlib.sha256(b"".join(map(bytes, dump_params(params)))).hexdigest()
        weights = {name: mx.nd.array(array, dtype="float32") for name, array in params.items()
                   if name != "error"}
        self.error = float(params["error"][0])
        scores = make_symbol()
        features = scores.get_internals()["features_output"]
        self._mod = mx.mod.Module(mx.sym.Group([features, mx.sym.softmax(scores)]),
                                  label_names=None, context=ctx or mx.current_context())
        self._mod.bind(data_shapes=[("data", (BATCH, 1, SIDE, SIDE))], for_training=False)
        self._mod.set_params(weights, {})

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the last hidden layer, (N, 128), and the probabilities, (N, 10), of images.

        `images` are (N, C, H, W), in [-1, 1], of any size, with bright ink; channels are averaged.
        """
        features, probabilities = forward_batches(self._mod, preprocess(images))
        return features, probabilities


def make_symbol() -> Any:
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
    method = cv2.INTER_AREA if images.shape[2] > SIDE else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image.mean(0, dtype=np.float32), (SIDE, SIDE),
                                interpolation=method)[None] for image in images])


def load_classifier(ctx: Any = None) -> DigitClassifier:
    """Load the classifier of the package; ValueError if its file is missing or damaged."""
    try:
        with open_regular(PATH, follow=True) as f:  # some installers replace files by links
            raw = f.read()
        if hashlib.sha256(raw).hexdigest() != SHA256:
            raise ValueError
    except (OSError, ValueError):
        raise ValueError(f"{PATH} is missing, damaged or of another version: install the package "
                         "again") from None
    return DigitClassifier(parse_params(raw, PATH), ctx)
