"""The example's accuracy and entropy, averaged without making the training wait."""
from __future__ import annotations

import json
from collections import deque
from typing import Any

import numpy as np

from .workers import Workers

# Multiples of this have exact sums in float64, so that it does not matter who adds up what, and
# when: workers, and a resumed training.
_UNIT = 2.0**-30


def facc(label: np.ndarray, pred: np.ndarray) -> float:
    """Share of predictions on the label's side of 0.5.

    Parameters
    ----------
    label : (N,), float32
        0 (fake) or 1 (real).
    pred : (N,) or (N, 1), float32
        Probabilities that an image is real.

    Returns
    -------
    In [0, 1]

    Notes
    -----
    Source: MXNet 1.0.0, example/gan/dcgan.py.
    """
    return float(((pred.ravel() > 0.5) == label.ravel()).mean())


def fentropy(label: np.ndarray, pred: np.ndarray) -> float:
    """Mean binary cross-entropy.

    Parameters
    ----------
    label : (N,), float32
        0 (fake) or 1 (real).
    pred : (N,) or (N, 1), float32
        Probabilities that an image is real.

    Returns
    -------
    In nats, at most 27.6 (the 1e-12 in the logarithm)

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

    Parameters
    ----------
    workers
        The averages are over the images of all of them, and all have to ask for them.
    """

    def __init__(self, workers: Workers | None = None) -> None:
        self._workers = workers or Workers()
        self._pending: deque[tuple[str, int, Any]] = deque()
        self.reset()

    def reset(self) -> None:
        """Start new averages."""
        self._pending.clear()
        self._sums = {"acc": 0.0, "d_entropy": 0.0, "g_entropy": 0.0}
        self._counts = {"d": 0, "g": 0}

    def update_d(self, label: int, pred: Any) -> None:
        """Take D's prediction of a step that trains D: accuracy and D's entropy.

        Parameters
        ----------
        label : 0 or 1
            What all N images are, fake or real, whatever D is told of them.
        pred : (N, 1), float32
            On its device.
        """
        self._pending.append(("d", label, pred.copy()))

    def update_g(self, label: int, pred: Any) -> None:
        """Take D's prediction of the step that trains G: G's entropy.

        Parameters
        ----------
        label : 0 or 1
            What D is told of all N images.
        pred : (N, 1), float32
            On its device.
        """
        self._pending.append(("g", label, pred.copy()))

    def wait(self, ahead: int) -> None:
        """Wait until at most the `ahead` newest predictions remain to be computed."""
        while len(self._pending) > ahead:
            self._add(*self._pending.popleft())

    def get(self) -> dict[str, float | None]:
        """Wait for all predictions and return the averages.

        Returns
        -------
        dict
            `acc` in [0, 1], `d_entropy` and `g_entropy` in nats; None where nothing was counted.
        """
        state = self.get_state()
        count = {"acc": state["counts"]["d"], "d_entropy": state["counts"]["d"],
                 "g_entropy": state["counts"]["g"]}
        return {name: total / count[name] if count[name] else None
                for name, total in state["sums"].items()}

    def get_state(self) -> dict[str, dict[str, Any]]:
        """Wait for all predictions, and return what `get` divides.

        Returns
        -------
        dict
            `sums`: of `acc`, `d_entropy` and `g_entropy`; `counts`: of updates under `d` and `g`.
        """
        self.wait(0)
        own: dict[str, dict[str, Any]] = {"sums": self._sums, "counts": self._counts}
        states = [json.loads(text) for text in self._workers.gather_text(json.dumps(own))]
        return {part: {name: sum(state[part][name] for state in states) for name in own[part]}
                for part in own}

    def set_state(self, state: dict[str, dict[str, Any]]) -> None:
        """Go on from what `get_state` returned."""
        self.reset()
        self._sums.update(state["sums"])
        self._counts.update(state["counts"])

    def _add(self, net: str, label: int, pred: Any) -> None:
        pred = pred.asnumpy()
        labels = np.full(len(pred), label, np.float32)
        self._counts[net] += 1
        values = {f"{net}_entropy": fentropy(labels, pred)}
        if net == "d":
            values["acc"] = facc(labels, pred)
        for name, value in values.items():
            self._sums[name] += float(np.rint(value / _UNIT)) * _UNIT
