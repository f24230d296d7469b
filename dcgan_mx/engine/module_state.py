"""The state of a trainer and of its Modules as NumPy arrays: checked, copied, restored.

This uses the private API of MXNet 1.9.1's Module and Adam. A Module on several contexts keeps
identical copies of its parameters and of Adam's moments; those of the first context are read.
Moving statistics differ between contexts.
"""
from __future__ import annotations

import json
from typing import Any, Mapping

import numpy as np

from ..system.runtime import mx, set_parameters, wait_all
from .collectives import Workers

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
        _check_shapes(trainer, state)
    if workers.count > 1:
        state = _broadcast(workers, state)
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
    trainer.average.set(state["G-ema"], counters["updates"]["G"])
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
    return {f"{network}:{name}": workers.all_gather(rows).reshape(-1, rows.shape[1])
            for network, mod in networks.items() for name, rows in get_statistics(mod).items()}


def _count_replicas(replicas: Mapping[str, np.ndarray]) -> int:
    """Return the number of contexts of all workers; 0 if a state has no replicas."""
    return len(next(iter(replicas.values()), ()))


def _check_shapes(trainer: Any, state: Mapping[str, Any]) -> None:
    """Raise ValueError if the arrays of a state do not have the shapes of the trainer's."""
    updates, replicas = state["counters"]["updates"], _count_replicas(state["replicas"])
    shapes = {("G-ema", name): array.shape for name, array in trainer.average.get().items()}
    for network, mod in _networks(trainer).items():
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
            raise ValueError(f"{name} of {part} has shape {getattr(found, 'shape', None)}, "
                             f"expected {shape}: the state is of other networks")


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


def get_parameters(mod: Any) -> dict[str, np.ndarray]:
    """Copy the parameters (arg:NAME) and moving statistics (aux:NAME), averaged over contexts."""
    return {**{f"arg:{name}": array.asnumpy() for name, array in list_parameters(mod).items()},
            **average(get_statistics(mod))}


def list_parameters(mod: Any) -> dict[str, Any]:
    """Return the trained arrays on the first context, by name."""
    group = mod._exec_group
    return {name: arrays[0] for name, arrays in zip(group.param_names, group.param_arrays)}


def get_statistics(mod: Any) -> dict[str, np.ndarray]:
    """Copy the moving statistics of all contexts, (contexts, channels), under aux:NAME."""
    group = mod._exec_group
    return {f"aux:{name}": np.stack([array.asnumpy() for array in arrays])
            for name, arrays in zip(group.aux_names, group.aux_arrays)}


def set_statistics(mod: Any, statistics: Mapping[str, np.ndarray]) -> None:
    """Set the moving statistics from what `get_statistics` returned."""
    group = mod._exec_group
    for name, arrays in zip(group.aux_names, group.aux_arrays):
        for array, values in zip(arrays, statistics[f"aux:{name}"]):
            array[:] = values


def average(statistics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the float32 means over the first axis of what `get_statistics` returned."""
    return {name: rows.mean(0, np.float64).astype(np.float32)
            for name, rows in statistics.items()}


def all_arrays(mod: Any) -> list[tuple[Any, ...]]:
    """Return all parameters and moving statistics of each context."""
    group = mod._exec_group
    return list(zip(*group.param_arrays, *group.aux_arrays))


def get_adam(mod: Any) -> tuple[dict[str, np.ndarray], int]:
    """Copy Adam's moments, under mean:NAME and var:NAME, and return its number of updates."""
    updater, names = mod._updater, mod._exec_group.param_names
    updater.optimizer._set_current_context(mod._context[0].device_id)
    moments: dict[str, np.ndarray] = {}
    for i, name in enumerate(names):  # updater.states is empty before the first update
        for kind, array in zip(("mean", "var"), updater.states.get(i * len(mod._context), ())):
            moments[f"{kind}:{name}"] = array.asnumpy()
    updates: int = updater.optimizer._index_update_count.get(0, 0)
    return moments, updates


def set_adam(mod: Any, moments: Mapping[str, np.ndarray], updates: int) -> None:
    """Set Adam's moments and its number of updates."""
    updater, group, contexts = mod._updater, mod._exec_group, mod._context
    updater.states.clear()
    updater.optimizer._all_index_update_counts.clear()
    for k, ctx in enumerate(contexts):
        updater.optimizer._set_current_context(ctx.device_id)
        for i, name in enumerate(group.param_names):
            index = i * len(contexts) + k  # as Module numbers them
            updater.optimizer._index_update_count[index] = updates
            if updates:
                updater.states[index] = tuple(mx.nd.array(moments[f"{kind}:{name}"], ctx)
                                              for kind in ("mean", "var"))
                updater.states_synced[index] = True
    updater.optimizer.num_update = updates
