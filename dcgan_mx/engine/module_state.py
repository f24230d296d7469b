"""Arrays of a Module and of its Adam optimizer: read and replaced.

This uses the private API of MXNet 1.9.1's Module and Adam. A Module on several contexts keeps
identical copies of its parameters and of Adam's moments; those of the first context are read.
Moving statistics differ between contexts.
"""
from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from ..system.runtime import mx


def get_parameters(mod: Any) -> dict[str, np.ndarray]:
    """Copy the parameters (arg:NAME) and moving statistics (aux:NAME), averaged over contexts."""
    return {**{f"arg:{name}": array.asnumpy() for name, array in list_parameters(mod).items()},
            **mean_over_contexts(get_statistics(mod))}


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


def mean_over_contexts(statistics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
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
