"""The example's accuracy and entropy, averaged without making the training wait."""
from collections import deque

import numpy as np


def facc(label, pred):
    """Share of predictions on the label's side of 0.5.

    Parameters
    ----------
    label : np.ndarray, (N,), float32
        0 (fake) or 1 (real).
    pred : np.ndarray, (N,) or (N, 1), float32
        Probabilities that an image is real.

    Returns
    -------
    float
        In [0, 1].

    Notes
    -----
    Source: MXNet 1.0.0, example/gan/dcgan.py.
    """
    return float(((pred.ravel() > 0.5) == label.ravel()).mean())


def fentropy(label, pred):
    """Mean binary cross-entropy.

    Parameters
    ----------
    label : np.ndarray, (N,), float32
        0 (fake) or 1 (real).
    pred : np.ndarray, (N,) or (N, 1), float32
        Probabilities that an image is real.

    Returns
    -------
    float
        In nats, at most 27.6 (the 1e-12 in the logarithm).

    Notes
    -----
    Source: MXNet 1.0.0, example/gan/dcgan.py.
    """
    label, pred = label.ravel(), pred.ravel()
    return float(-(label * np.log(pred + 1e-12)
                   + (1.0 - label) * np.log(1.0 - pred + 1e-12)).mean())


class Metrics:
    """Averages of D's accuracy and of both entropies since the last `reset`.

    Predictions stay on their device, as copies still to be computed, until a number is read.
    """

    def __init__(self):
        self._pending = deque()
        self.reset()

    def reset(self):
        """Start new averages."""
        self._pending.clear()
        self._sums = {"acc": 0.0, "d_entropy": 0.0, "g_entropy": 0.0}
        self._counts = {"d": 0, "g": 0}

    def update_d(self, label, pred):
        """Take D's prediction of a step that trains D: accuracy and D's entropy.

        Parameters
        ----------
        label : {0, 1}
            What D is told of all N images.
        pred : mx.nd.NDArray, (N, 1), float32
        """
        self._pending.append(("d", label, pred.copy()))

    def update_g(self, label, pred):
        """Take D's prediction of the step that trains G: G's entropy.

        Parameters
        ----------
        label : {0, 1}
            What D is told of all N images.
        pred : mx.nd.NDArray, (N, 1), float32
        """
        self._pending.append(("g", label, pred.copy()))

    def wait(self, ahead):
        """Wait until at most the `ahead` newest predictions remain to be computed."""
        while len(self._pending) > ahead:
            self._add(*self._pending.popleft())

    def get(self):
        """Wait for all predictions and return the averages.

        Returns
        -------
        dict of str to (float or None)
            `acc` in [0, 1], `d_entropy` and `g_entropy` in nats; None where nothing was counted.
        """
        self.wait(0)
        count = {"acc": self._counts["d"], "d_entropy": self._counts["d"],
                 "g_entropy": self._counts["g"]}
        return {name: total / count[name] if count[name] else None
                for name, total in self._sums.items()}

    def get_state(self):
        """Wait for all predictions, and return what `get` divides.

        Returns
        -------
        dict
            `sums`: of `acc`, `d_entropy` and `g_entropy`; `counts`: of updates under `d` and `g`.
        """
        self.wait(0)
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def set_state(self, state):
        """Go on from what `get_state` returned."""
        self.reset()
        self._sums.update(state["sums"])
        self._counts.update(state["counts"])

    def _add(self, net, label, pred):
        pred = pred.asnumpy()
        labels = np.full(len(pred), label, np.float32)
        self._counts[net] += 1
        self._sums[f"{net}_entropy"] += fentropy(labels, pred)
        if net == "d":
            self._sums["acc"] += facc(labels, pred)
