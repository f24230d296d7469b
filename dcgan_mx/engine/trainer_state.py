"""All that a trainer's next step depends on, as NumPy arrays: checked, copied, restored."""
from __future__ import annotations

import json
import math
from typing import Any, Mapping

import numpy as np

from ..system.runtime import mx, set_parameters, wait_all
from .collectives import Workers
from .module_state import (
    all_arrays,
    average,
    get_adam,
    get_parameters,
    get_statistics,
    set_adam,
    set_statistics,
)

_PARTS = ("G", "D", "G-optimizer", "D-optimizer", "G-ema", "replicas")  # of arrays, in a state


class DivergenceError(ValueError):
    """A parameter or statistic of the training is not finite."""


def check_finite(trainer: Any) -> None:
    """Do what `Trainer.check_finite` describes, on all workers; collective."""
    wait_all()
    networks, step = _networks(trainer), trainer.global_step
    finite = all(mx.nd.multi_all_finite(*arrays, num_arrays=len(arrays)).asscalar()
                 for mod in networks.values() for arrays in all_arrays(mod))
    if not trainer.workers.all_gather([finite]).all():
        for network, mod in networks.items():
            _check_arrays_finite(get_parameters(mod), network, step)
        raise DivergenceError(f"step {step}: a number of another worker is not finite: "
                              "use a lower learning rate")


def get_state(trainer: Any) -> dict[str, Any]:
    """Copy the state that `Trainer.get_state` describes."""
    # On a CPU, BatchNorm's backward writes the moving statistics behind the engine's back
    # (apache/mxnet#18610): without this wait they are read before their latest updates.
    wait_all()
    networks = _networks(trainer)
    replicas = _gather_statistics(networks, trainer.workers)
    averages = average(replicas)
    updates: dict[str, int] = {}
    state: dict[str, Any] = {
        "symbols": {}, "G-ema": trainer.average.get(),
        "counters": {"step": trainer.global_step, "epoch": trainer.epoch, "nbatch": trainer.nbatch,
                     "batch_size": trainer.batch_size, "workers": trainer.workers.count,
                     "updates": updates, "metrics": trainer.metrics.get_state()},
        "replicas": replicas if _count_replicas(replicas) > 1 else {}}
    for network, mod in networks.items():
        state["symbols"][network] = mod.symbol.tojson()
        state[network] = {name: averages.get(f"{network}:{name}", array)
                          for name, array in get_parameters(mod).items()}
        state[f"{network}-optimizer"], updates[network] = get_adam(mod)
        for part in (network, f"{network}-optimizer"):
            _check_arrays_finite(state[part], part, trainer.global_step)
    return state


def set_state(trainer: Any, state: dict[str, Any] | None) -> None:
    """Restore a state as `Trainer.set_state` describes."""
    workers = trainer.workers
    if workers.rank == 0:
        if state is None:
            raise ValueError("state is None: give what get_state returned")
        _check_shapes(state, trainer)
    if workers.count > 1:
        state = _broadcast(state, trainer)
    assert state is not None
    counters = state["counters"]
    for network, mod in _networks(trainer).items():
        set_parameters(mod, state[network])
        set_adam(mod, state[f"{network}-optimizer"], counters["updates"][network])
        contexts = len(all_arrays(mod))
        if _count_replicas(state["replicas"]) == workers.count * contexts:
            own = slice(workers.rank * contexts, (workers.rank + 1) * contexts)
            set_statistics(mod, {name: state["replicas"][f"{network}:{name}"][own]
                                 for name in get_statistics(mod)})
    trainer.average.set(state.get("G-ema", {}), counters["updates"]["G"])
    trainer.metrics.reset()
    if workers.rank == 0:  # the sums are over all workers
        trainer.metrics.set_state(counters["metrics"])
    trainer.global_step, trainer.epoch = counters["step"], counters["epoch"]
    # A position within an epoch is valid only for the same batches and the same data part.
    same = (counters["batch_size"], counters["workers"]) == (trainer.batch_size, workers.count)
    trainer.nbatch = counters["nbatch"] if same else 0


def _networks(trainer: Any) -> dict[str, Any]:
    """Return the Modules of both networks by the names that they have in a state."""
    return {"G": trainer.modG, "D": trainer.modD}


def _gather_statistics(networks: Mapping[str, Any], workers: Workers) -> dict[str, np.ndarray]:
    """Return the moving statistics of all contexts of all workers, (replicas, channels)."""
    own = {f"{network}:{name}": rows for network, mod in networks.items()
           for name, rows in get_statistics(mod).items()}
    gathered = workers.all_gather(np.concatenate([rows.ravel() for rows in own.values()]))
    parts = np.split(gathered, np.cumsum([rows.size for rows in own.values()])[:-1], axis=1)
    return {name: part.reshape(-1, rows.shape[1]) for (name, rows), part in zip(own.items(), parts)}


def _count_replicas(replicas: Mapping[str, np.ndarray]) -> int:
    """Return the number of contexts of all workers; 0 if a state has no replicas."""
    return len(next(iter(replicas.values()), ()))


def _shapes(trainer: Any, updates: Mapping[str, int], replicas: int
            ) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return the shapes of all arrays of a state, by part and name."""
    shapes = {("G-ema", name): array.shape for name, array in trainer.average.get().items()}
    for network, mod in _networks(trainer).items():
        for name, array in get_parameters(mod).items():
            shapes[network, name] = array.shape
            if name.startswith("arg:") and updates[network]:
                for kind in ("mean", "var"):
                    shapes[f"{network}-optimizer", f"{kind}:{name[4:]}"] = array.shape
            elif name.startswith("aux:") and replicas:
                shapes["replicas", f"{network}:{name}"] = (replicas, *array.shape)
    return shapes


def _check_shapes(state: Mapping[str, Any], trainer: Any) -> None:
    """Raise ValueError if the arrays of a state do not have the shapes of the trainer's."""
    shapes = _shapes(trainer, state["counters"]["updates"], _count_replicas(state["replicas"]))
    arrays = {(part, name): array for part in _PARTS
              for name, array in state.get(part, {}).items()}
    for part, name in sorted({*arrays, *shapes}):
        array, shape = arrays.get((part, name)), shapes.get((part, name))
        if array is None or array.shape != shape or array.dtype != np.float32:
            raise ValueError(f"{name} of {part} has shape {getattr(array, 'shape', None)}, "
                             f"expected {shape}: the state is of other networks")


def _broadcast(state: dict[str, Any] | None, trainer: Any) -> dict[str, Any]:
    """Return the state of worker 0 on all workers."""
    head = json.dumps([state["counters"], _count_replicas(state["replicas"])]) if state else ""
    counters, replicas = json.loads(trainer.workers.all_gather_text(head)[0])
    shapes = _shapes(trainer, counters["updates"], replicas)
    sizes = [math.prod(shape) for shape in shapes.values()]
    values = (np.concatenate([state[part][name].ravel() for part, name in shapes]) if state
              else np.zeros(sum(sizes), np.float32))
    parts = np.split(trainer.workers.broadcast(values), np.cumsum(sizes)[:-1])
    shared: dict[str, Any] = {"counters": counters, **{part: {} for part in _PARTS}}
    for ((part, name), shape), array in zip(shapes.items(), parts):
        shared[part][name] = array.reshape(shape)
    return shared


def _check_arrays_finite(arrays: Mapping[str, np.ndarray], part: str, step: int) -> None:
    """Raise DivergenceError, naming the array, if one is not finite."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DivergenceError(f"step {step}: {name} of {part} is not finite: "
                                  "use a lower learning rate")
