"""A linear classifier on the features that the discriminator has learned without labels."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..sampling.generator import forward_batches, load_network
from ..sampling.networks import check_params
from ..system.files import StrPath
from ..system.runtime import mx, set_parameters

_BATCH = 100


class Features:
    """The `count` activations of all convolutional layers of D, max-pooled to 4x4 and flattened.

    `path` is a run directory or a checkpoint, `data_shape` the (C, H, W) of the images.
    Source: Radford et al., arXiv:1511.06434, section 5.1.
    """

    def __init__(self, path: StrPath, data_shape: tuple[int, int, int], ctx: Any = None) -> None:
        shape = (_BATCH, *data_shape)
        symD, params, _ = load_network(path, "D")
        check_params(symD, params, data=shape)
        internals, pooled = symD.get_internals(), []
        for name in internals.list_outputs():
            if name.startswith("dact") and name.endswith("_output"):
                _, ((_, _, height, _),), _ = internals[name].infer_shape(data=shape)
                side = (height // 4,) * 2
                pooled.append(mx.sym.Flatten(mx.sym.Pooling(
                    internals[name], kernel=side, stride=side, pool_type="max")))
        self._mod = mx.mod.Module(mx.sym.concat(*pooled, dim=1), data_names=("data",),
                                  label_names=None, context=ctx or mx.current_context())
        self._mod.bind(data_shapes=[("data", shape)], for_training=False)
        set_parameters(self._mod, params, allow_extra=True)
        self.count: int = self._mod.output_shapes[0][1][1]

    def extract(self, images: np.ndarray) -> np.ndarray:
        """Return the features, (N, count), float32, of images, (N, C, H, W), in [-1, 1]."""
        return forward_batches(self._mod, images)[0]


def svm_error(examples: np.ndarray, labels: np.ndarray, tests: np.ndarray,
              test_labels: np.ndarray, c: float = 1e4) -> float:
    """Return the share of tests that a linear support vector machine misclassifies.

    `examples` and `tests`, (N, d), float32, are normalized in place: to mean 0 and deviation 1 of
    the examples, and divided by sqrt(d). For each class against all others, L-BFGS minimizes
    |w|^2 / 2 + c * mean(max(0, 1 - y (w x + b))^2), with b as part of w, like scikit-learn's
    LinearSVC, which copies the examples. Source: Tang, arXiv:1306.0239, section 2.2.
    """
    from scipy.optimize import minimize

    mean = examples.mean(0, dtype=np.float64).astype(np.float32)
    # In parts, because NumPy's std needs a copy of all examples.
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
        total = np.square(margins, dtype=np.float64).sum()
        return float(np.square(flat).sum() / 2 + c * total / len(examples)), gradient.ravel()

    found = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B",
                     options={"maxiter": 300}).x.reshape(shape)
    scores = tests @ found[:-1].astype(np.float32) + found[-1]
    return float((classes[scores.argmax(1)] != test_labels).mean())
