"""Accuracy and entropy of MXNet 1.0.0's example, averaged without waiting for the device."""
from __future__ import annotations

import json
from collections import deque
from typing import Any

import numpy as np

from .collectives import Workers

# Sums of multiples of this are exact in float64, so that their order (of workers, of a resumed
# training) does not matter.
_UNIT = 2.0**-30


def facc(label: np.ndarray, pred: np.ndarray) -> float:
    """Return the fraction of predictions, (N, 1), on their labels' side of 0.5."""
    return float(((pred.ravel() > 0.5) == label.ravel()).mean())


def fentropy(label: np.ndarray, pred: np.ndarray) -> float:
    """Return the mean binary cross-entropy of predictions, (N, 1), in nats, at most 27.6."""
    label, pred = label.ravel(), pred.ravel()
    return float(-(label * np.log(pred + 1e-12)
                   + (1.0 - label) * np.log(1.0 - pred + 1e-12)).mean())


class Metrics:
    """Averages of D's accuracy and of both entropies since the last `reset`, over all workers.

    Predictions stay on their device until the averages are read, which is collective.
    """

    def __init__(self, workers: Workers | None = None) -> None:
        self._workers = workers or Workers()
        self._pending: deque[tuple[str, int, Any]] = deque()
        self._clear()

    def reset(self) -> None:
        """Start new averages with the next prediction; until then, `get` returns the last ones."""
        self._ended = True

    def _clear(self) -> None:
        """Forget all predictions."""
        self._ended = False
        self._pending.clear()
        self._sums = {"acc": 0.0, "d_entropy": 0.0, "g_entropy": 0.0}
        self._counts = {"d": 0, "g": 0}

    def update(self, net: str, label: int, pred: Any) -> None:
        """Count D's predictions, (N, 1), for images with a label, in the update of d or g."""
        if self._ended:
            self._clear()
        self._pending.append((net, label, pred.copy()))

    def wait(self, ahead: int) -> None:
        """Wait until all but the `ahead` newest predictions are computed."""
        while len(self._pending) > ahead:
            net, label, array = self._pending.popleft()
            pred = array.asnumpy()
            labels = np.full(len(pred), label, np.float32)
            values = {f"{net}_entropy": fentropy(labels, pred)}
            if net == "d":
                values["acc"] = facc(labels, pred)
            for name, value in values.items():
                self._sums[name] += float(np.rint(value / _UNIT)) * _UNIT
            self._counts[net] += 1

    def get(self) -> dict[str, float | None]:
        """Return `acc` in [0, 1], `d_entropy` and `g_entropy` in nats; None without predictions."""
        state = self._gather()
        counts = {name: state["counts"]["g" if name == "g_entropy" else "d"] for name in self._sums}
        return {name: state["sums"][name] / n if n else None for name, n in counts.items()}

    def get_state(self) -> dict[str, dict[str, Any]]:
        """Wait for all predictions, and return the `sums` and `counts` that `get` divides."""
        if self._ended:
            return {"sums": dict.fromkeys(self._sums, 0.0), "counts": {"d": 0, "g": 0}}
        return self._gather()

    def _gather(self) -> dict[str, dict[str, Any]]:
        """Wait for all predictions, and return the sums and counts of all workers."""
        self.wait(0)
        own: dict[str, dict[str, Any]] = {"sums": self._sums, "counts": self._counts}
        states = [json.loads(text) for text in self._workers.all_gather_text(json.dumps(own))]
        return {part: {name: sum(state[part][name] for state in states) for name in own[part]}
                for part in own}

    def set_state(self, state: dict[str, dict[str, Any]]) -> None:
        """Continue from what `get_state` returned."""
        self._clear()
        self._sums.update(state["sums"])
        self._counts.update(state["counts"])
