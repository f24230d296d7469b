"""The state of a trainer as NumPy arrays: checked, copied, restored."""
from __future__ import annotations

import json
from typing import Any, Mapping

import numpy as np

from ..system.runtime import mx, set_parameters, wait_all
from .collectives import Workers
from .module_state import (
    all_arrays,
    get_adam,
    get_parameters,
    get_statistics,
    mean_over_contexts,
    set_adam,
    set_statistics,
)
from .step_metrics import Metrics
from .weight_average import WeightAverage

_PARTS = ("G", "D", "G-optimizer", "D-optimizer", "G-ema", "replicas")  # of arrays, in a state


class DivergenceError(ValueError):
    """A parameter or statistic of the training is not finite."""


def check_finite(networks: Mapping[str, Any], workers: Workers, step: int) -> None:
    """Do what `Trainer.check_finite` describes, on all workers; collective."""
    wait_all()
    finite = all(mx.nd.multi_all_finite(*arrays, num_arrays=len(arrays)).asscalar()
                 for mod in networks.values() for arrays in all_arrays(mod))
    if not workers.all_gather([finite]).all():
        for network, mod in networks.items():
            _check_arrays_finite(get_parameters(mod), network, step)
        raise DivergenceError(f"step {step}: a number of another worker is not finite: "
                              "use a lower learning rate")


def get_state(networks: Mapping[str, Any], weight_average: WeightAverage, metrics: Metrics,
              counters: Mapping[str, int], workers: Workers) -> dict[str, Any]:
    """Copy the state that `Trainer.get_state` describes."""
    # On a CPU, BatchNorm's backward writes the moving statistics behind the engine's back
    # (apache/mxnet#18610): without this wait they are read before their latest updates.
    wait_all()
    replicas = _gather_statistics(networks, workers)
    means = mean_over_contexts(replicas)
    updates: dict[str, int] = {}
    state: dict[str, Any] = {
        "symbols": {}, "G-ema": weight_average.get(),
        "counters": {**counters, "workers": workers.count, "updates": updates,
                     "metrics": metrics.get_state()},
        "replicas": replicas if _count_replicas(replicas) > 1 else {}}
    for network, mod in networks.items():
        state["symbols"][network] = mod.symbol.tojson()
        state[network] = {name: means.get(f"{network}:{name}", array)
                          for name, array in get_parameters(mod).items()}
        state[f"{network}-optimizer"], updates[network] = get_adam(mod)
        for part in (network, f"{network}-optimizer"):
            _check_arrays_finite(state[part], part, counters["step"])
    return state


def set_state(state: Mapping[str, Any] | None, networks: Mapping[str, Any],
              weight_average: WeightAverage, metrics: Metrics, workers: Workers) -> dict[str, Any]:
    """Restore a state as `Trainer.set_state` describes; return its counters."""
    if workers.rank == 0:
        if state is None:
            raise ValueError("state is None: give what get_state returned")
        _check_shapes(state, networks, weight_average)
    if workers.count > 1:
        state = _broadcast(workers, state)
    assert state is not None
    counters: dict[str, Any] = state["counters"]
    for network, mod in networks.items():
        set_parameters(mod, state[network])
        set_adam(mod, state[f"{network}-optimizer"], counters["updates"][network])
        contexts = len(all_arrays(mod))
        if _count_replicas(state["replicas"]) == workers.count * contexts:
            own = slice(workers.rank * contexts, (workers.rank + 1) * contexts)
            set_statistics(mod, {name: state["replicas"][f"{network}:{name}"][own]
                                 for name in get_statistics(mod)})
    weight_average.set(state["G-ema"], counters["updates"]["G"])
    metrics.reset()
    if workers.rank == 0:  # the sums are over all workers
        metrics.set_state(counters["metrics"])
    return counters


def _gather_statistics(networks: Mapping[str, Any], workers: Workers) -> dict[str, np.ndarray]:
    """Return the moving statistics of all contexts of all workers, (replicas, channels)."""
    return {f"{network}:{name}": workers.all_gather(rows).reshape(-1, rows.shape[1])
            for network, mod in networks.items() for name, rows in get_statistics(mod).items()}


def _count_replicas(replicas: Mapping[str, np.ndarray]) -> int:
    """Return the number of contexts of all workers; 0 if a state has no replicas."""
    return len(next(iter(replicas.values()), ()))


def _check_shapes(state: Mapping[str, Any], networks: Mapping[str, Any],
                  weight_average: WeightAverage) -> None:
    """Raise ValueError if the arrays of a state do not have the shapes of these networks'."""
    updates, replicas = state["counters"]["updates"], _count_replicas(state["replicas"])
    shapes = {("G-ema", name): array.shape for name, array in weight_average.get().items()}
    for network, mod in networks.items():
        for name, array in get_parameters(mod).items():
            shapes[network, name] = array.shape
            if name.startswith("arg:") and updates[network]:
                for kind in ("mean", "var"):
                    shapes[f"{network}-optimizer", f"{kind}:{name[4:]}"] = array.shape
            elif name.startswith("aux:") and replicas:
                shapes["replicas", f"{network}:{name}"] = (replicas, *array.shape)
    arrays = {(part, name): array for part in _PARTS for name, array in state[part].items()}
    for part, name in sorted({*arrays, *shapes}):
        found, shape = arrays.get((part, name)), shapes.get((part, name))
        if found is None or found.shape != shape or found.dtype != np.float32:
            raise ValueError(f"{name} of {part} has shape {getattr(found, 'shape', None)} and type "
                             f"{getattr(found, 'dtype', None)}, expected {shape} and float32: the "
                             "state belongs to different networks")


def _broadcast(workers: Workers, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return worker 0's state on all workers."""
    head = "" if state is None else json.dumps([state["counters"], [
        (part, name, array.shape) for part in _PARTS for name, array in state[part].items()]])
    counters, layout = json.loads(workers.all_gather_text(head)[0])
    received: dict[str, Any] = {"counters": counters, **{part: {} for part in _PARTS}}
    for part, name, shape in layout:
        own = np.zeros(shape, np.float32) if state is None else state[part][name]
        received[part][name] = workers.broadcast(own.ravel()).reshape(shape)
    return received


def _check_arrays_finite(arrays: Mapping[str, np.ndarray], part: str, step: int) -> None:
    """Raise DivergenceError, naming the array, if one is not finite."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DivergenceError(f"step {step}: {name} of {part} is not finite: "
                                  "use a lower learning rate")
