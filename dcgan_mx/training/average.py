"""An average of a network's weights over the training."""
from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from .module_state import list_parameters


class Average:
    """An exponential moving average of a Module's parameters, kept on its first device.

    Nothing here waits for the device.

    Parameters
    ----------
    mod : mx.mod.Module
    decay : in [0, 1)
        0 averages nothing.

    Notes
    -----
    After t updates with the parameters w_1 to w_t, it is the weighted mean of these with the
    weights decay^(t - i): what the parameters were before the first update has no part in it.
    Source: Kingma and Ba, arXiv:1412.6980, section 3 (its correction of the bias); Yazici et al.,
    arXiv:1806.04498, for generators.
    """

    def __init__(self, mod: Any, decay: float = 0.0) -> None:
        self._decay, self._updates = decay, 0
        self._parameters = list_parameters(mod) if decay else {}
        self._arrays = {name: array.copy() for name, array in self._parameters.items()}

    def update(self) -> None:
        """Take in the parameters as they are."""
        self._updates += 1
        if not self._decay:
            return
        share = (1 - self._decay) / (1 - self._decay**self._updates)
        for name, array in self._arrays.items():
            new = self._parameters[name]
            array[:] = new if self._updates == 1 else array + share * (new - array)

    def get(self) -> dict[str, np.ndarray]:
        """Copy the average.

        Returns
        -------
        float32
            Under arg:NAME; empty where nothing is averaged.
        """
        return {f"arg:{name}": array.asnumpy() for name, array in self._arrays.items()}

    def set(self, arrays: Mapping[str, np.ndarray], updates: int) -> None:
        """Go on from what `get` returned after so many updates."""
        self._updates = updates
        for name, array in self._arrays.items():
            array[:] = arrays[f"arg:{name}"]
