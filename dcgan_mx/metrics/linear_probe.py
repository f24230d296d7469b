"""D's features: what the discriminator has learnt about images without a label."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..sampling.generator import check_params, load_network
from ..system.files import StrPath
from ..system.runtime import mx, set_parameters

_BATCH = 100
_C, _ITERATIONS = 1e4, 300  # of a support vector machine
_GRID = 4  # each layer is pooled to so many places in each direction


class Features:
    """All convolutional layers of D, each max-pooled to 4x4 places, and flattened.

    `path` is a run directory or a checkpoint's folder, `data_shape` the (C, H, W) of the images,
    and `count` the number of features of one. BatchNorm uses its moving statistics.
    Source: Radford et al., arXiv:1511.06434, section 5.1.
    """

    def __init__(self, path: StrPath, data_shape: tuple[int, int, int], ctx: Any = None) -> None:
        self._shape = (_BATCH, *data_shape)
        symD, params, _ = load_network(path, "D")
        check_params(symD, params, data=self._shape)
        internals, pooled = symD.get_internals(), []
        for name in internals.list_outputs():
            if name.startswith("dact") and name.endswith("_output"):
                _, (shape,), _ = internals[name].infer_shape(data=self._shape)
                side = (shape[2] // _GRID,) * 2
                pooled.append(mx.sym.Flatten(mx.sym.Pooling(
                    internals[name], kernel=side, stride=side, pool_type="max")))
        self._mod = mx.mod.Module(mx.sym.concat(*pooled, dim=1), data_names=("data",),
                                  label_names=None, context=ctx or mx.current_context())
        self._mod.bind(data_shapes=[("data", self._shape)], for_training=False)
        set_parameters(self._mod, params, allow_extra=True)
        self.count: int = self._mod.output_shapes[0][1][1]

    def describe(self, images: np.ndarray) -> np.ndarray:
        """Return the features of images, (N, C, H, W), float32, in [-1, 1]: (N, count), float32."""
        features = np.empty((len(images), self.count), np.float32)
        for start in range(0, len(images), _BATCH):
            part = images[start:start + _BATCH]
            full = np.zeros(self._shape, np.float32)
            full[:len(part)] = part
            self._mod.forward(mx.io.DataBatch([mx.nd.array(full)], []), is_train=False)
            features[start:start + len(part)] = self._mod.get_outputs()[0].asnumpy()[:len(part)]
        return features


def svm_error(examples: np.ndarray, labels: np.ndarray, tests: np.ndarray,
              test_labels: np.ndarray, c: float = _C) -> float:
    """Return the share of tests that a linear support vector machine misclassifies.

    Examples and tests, (N, d), float32, are changed in place: brought to the examples' mean 0 and
    deviation 1, and divided by sqrt(d). One machine for each class against all others minimizes
    |w|^2 / 2 + c * mean(max(0, 1 - y (w x + b))^2), b under the same penalty, by L-BFGS over all
    examples: scikit-learn's LinearSVC minimizes the same function, but copies them.
    Source: Tang, arXiv:1306.0239, section 2.2.
    """
    from scipy.optimize import minimize

    mean = examples.mean(0, dtype=np.float64).astype(np.float32)
    # In pieces: NumPy's std takes as much memory again as the examples.
    variance = sum(np.square(examples[i:i + 1000] - mean).sum(0)
                   for i in range(0, len(examples), 1000)) / len(examples)
    scale = np.maximum(np.sqrt(variance), 1e-6) * np.float32(np.sqrt(examples.shape[1]))
    for part in (examples, tests):
        np.subtract(part, mean, out=part)
        np.divide(part, scale, out=part)
    classes = np.unique(labels)
    targets = np.where(labels[:, None] == classes, np.float32(1), np.float32(-1))
    shape = (examples.shape[1] + 1, len(classes))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        small = weights.astype(np.float32)
        margins = np.maximum(0, 1 - targets * (examples @ small[:-1] + small[-1]))
        slope = (-2 * c / len(examples)) * targets * margins
        gradient = weights + np.vstack([examples.T @ slope, slope.sum(0)])
        value = np.square(flat).sum() / 2 + c * np.square(margins, dtype=np.float64).sum() / len(
            examples)
        return float(value), gradient.ravel()

    found = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B",
                     options={"maxiter": _ITERATIONS}).x.reshape(shape)
    scores = tests @ found[:-1].astype(np.float32) + found[-1]
    return float((classes[scores.argmax(1)] != test_labels).mean())
