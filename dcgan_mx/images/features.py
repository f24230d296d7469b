"""D's features: what the discriminator has learnt about images without a label."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..machine.files import StrPath
from ..machine.runtime import mx
from ..runs import checkpoint
from .sample import SampleError, find_checkpoint

_BATCH = 100
_UPDATES = 600_000  # of a support vector machine, however few examples there are
_GRID = 4  # each layer is pooled to so many places in each direction


class Features:
    """All convolutional layers of a discriminator, each max-pooled to 4x4 places, and flattened.

    Parameters
    ----------
    path
        A run directory, or a checkpoint's folder; of this, D's files and state.json are looked at.
    data_shape : (C, H, W)
        Of the images.
    ctx : mx.Context
        MXNet's current context if left out.

    Attributes
    ----------
    count : int
        Features of an image.

    Raises
    ------
    SampleError
        If there is no checkpoint, or it is damaged or has no D.

    Notes
    -----
    BatchNorm has its moving statistics. Source: Radford et al., arXiv:1511.06434, section 5.1.
    """

    def __init__(self, path: StrPath, data_shape: tuple[int, int, int], ctx: Any = None) -> None:
        folder = find_checkpoint(path)
        try:
            text, params, _ = checkpoint.load_network(folder, "D")
        except checkpoint.CheckpointError as error:
            raise SampleError(f"{error}: give another checkpoint") from None
        internals = mx.sym.load_json(text).get_internals()
        layers = [name for name in internals.list_outputs()
                  if name.startswith("dact") and name.endswith("_output")]
        pooled = []
        for name in layers:
            _, (shape,), _ = internals[name].infer_shape(data=(_BATCH, *data_shape))
            side = shape[2] // _GRID
            pooled.append(mx.sym.Flatten(mx.sym.Pooling(
                internals[name], kernel=(side, side), stride=(side, side), pool_type="max")))
        self._mod = mx.mod.Module(mx.sym.concat(*pooled, dim=1), data_names=("data",),
                                  label_names=None, context=ctx or mx.current_context())
        self._mod.bind(data_shapes=[("data", (_BATCH, *data_shape))], for_training=False)
        self._mod.set_params(*({name[4:]: mx.nd.array(array) for name, array in params.items()
                                if name.startswith(kind)} for kind in ("arg:", "aux:")),
                             allow_extra=True)
        self._shape = data_shape
        self.count: int = self._mod.output_shapes[0][1][1]

    def describe(self, images: np.ndarray) -> np.ndarray:
        """Return the features of images, (N, C, H, W), float32, in [-1, 1]: (N, count), float32."""
        features = np.empty((len(images), self.count), np.float32)
        for start in range(0, len(images), _BATCH):
            part = images[start:start + _BATCH]
            full = np.zeros((_BATCH, *self._shape), np.float32)
            full[:len(part)] = part
            self._mod.forward(mx.io.DataBatch([mx.nd.array(full)], []), is_train=False)
            features[start:start + len(part)] = self._mod.get_outputs()[0].asnumpy()[:len(part)]
        return features


def svm_error(examples: np.ndarray, labels: np.ndarray, tests: np.ndarray,
              test_labels: np.ndarray, alpha: float = 1e-4) -> float:
    """Return the share of tests that a linear support vector machine takes for another class.

    Parameters
    ----------
    examples, tests : (N, d), float32
        Both are changed: brought to the examples' mean 0 and deviation 1.
    labels, test_labels : (N,)
    alpha : above 0
        Weight of the L2 penalty.

    Raises
    ------
    SampleError
        If scikit-learn is not installed.

    Notes
    -----
    The squared hinge loss, by averaged stochastic gradient descent: 60,000 digits with all features
    would take LinearSVC 25 GB.
    """
    try:
        from sklearn.linear_model import SGDClassifier
    except ImportError:
        raise SampleError("--features: scikit-learn is missing: pip install 'dcgan-mx[features]', "
                          "or scikit-learn itself") from None
    mean = examples.mean(0, dtype=np.float64).astype(np.float32)
    # In pieces: NumPy's std takes as much memory again as the examples.
    variance = sum(np.square(examples[i:i + 1000] - mean).sum(0)
                   for i in range(0, len(examples), 1000)) / len(examples)
    for part in (examples, tests):
        np.subtract(part, mean, out=part)
        np.divide(part, np.maximum(np.sqrt(variance), 1e-6), out=part)
    machine = SGDClassifier(loss="squared_hinge", alpha=alpha, average=True, tol=None,
                            max_iter=max(1, _UPDATES // len(examples)), random_state=0, n_jobs=-1)
    machine.fit(examples, labels)
    return float((machine.predict(tests) != test_labels).mean())
