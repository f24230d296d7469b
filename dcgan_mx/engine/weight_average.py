"""A moving average of a network's weights."""
from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from ..system.errors import ArgumentError
from .module_state import list_parameters


def find_gamma(width: float) -> float:
    """Return gamma for which a density proportional to x^gamma on [0, 1] has this deviation."""
    # width^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)), the variance of Beta(gamma + 1, 1)
    inverse = width**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


class WeightAverage:
    """A moving average of a Module's parameters, on its first device; `update` does not wait.

    Parameters
    ----------
    mod : mx.mod.Module
    decay : float, in [0, 1)
        Decay of an exponential moving average.
    width : float, in [0, 1 / sqrt(12))
        Width of a power-function average: the standard deviation of its weights over the updates,
        as a fraction of all updates so far. If both are 0, nothing is averaged.

    Notes
    -----
    The mean of the parameters after updates i = 1 to t, weighted by decay^(t - i), or
    approximately by i^gamma (`find_gamma`).
    Source: Kingma and Ba, arXiv:1412.6980, section 3 (its bias correction); Yazici et al.,
    arXiv:1806.04498, for generators; Karras et al., arXiv:2312.02696, section 3.1, for the power.
    """

    def __init__(self, mod: Any, decay: float = 0.0, width: float = 0.0) -> None:
        if decay and width:
            raise ArgumentError("ema_decay", f"{decay} excludes ema_rel_std {width}: set one of "
                                "them to 0")
        self._decay, self._updates = decay, 0
        self._gamma = find_gamma(width) if width else None
        self._parameters = list_parameters(mod) if decay or width else {}
        self._arrays = {name: array.copy() for name, array in self._parameters.items()}

    def update(self) -> None:
        """Include the current parameters."""
        self._updates += 1
        if self._gamma is not None:
            share = 1 - (1 - 1 / self._updates)**(self._gamma + 1)
        else:
            share = (1 - self._decay) / (1 - self._decay**self._updates)
        for name, array in self._arrays.items():
            new = self._parameters[name]
            array[:] = new if self._updates == 1 else array + share * (new - array)

    def get(self) -> dict[str, np.ndarray]:
        """Copy the average, float32, under arg:NAME; empty if nothing is averaged."""
        return {f"arg:{name}": array.asnumpy() for name, array in self._arrays.items()}

    def set(self, arrays: Mapping[str, np.ndarray], updates: int) -> None:
        """Continue from what `get` returned after this many updates."""
        self._updates = updates
        for name, array in self._arrays.items():
            array[:] = arrays[f"arg:{name}"]
