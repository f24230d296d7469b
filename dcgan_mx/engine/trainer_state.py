"""All that a training's next step depends on, as NumPy arrays: checked, copied, restored."""
from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Mapping

import numpy as np

from ..system.runtime import mx, set_parameters, wait_all
from .module_state import (
    all_arrays,
    average,
    get_adam,
    get_parameters,
    get_statistics,
    set_adam,
    set_statistics,
)

if TYPE_CHECKING:
    from ..trainer import Trainer

_PARTS = ("G", "D", "G-optimizer", "D-optimizer", "G-ema", "replicas")  # of arrays, in a state


class DivergenceError(ValueError):
    """A number of the training is no longer finite."""


def check_finite(trainer: Trainer) -> None:
    """Wait for the device; raise DivergenceError if a parameter or statistic is not finite."""
    wait_all()
    finite = all(mx.nd.multi_all_finite(*arrays, num_arrays=len(arrays)).asscalar()
                 for _, mod in _networks(trainer) for arrays in all_arrays(mod))
    if not trainer.workers.all_gather([finite]).all():  # all workers end, or none
        for network, mod in _networks(trainer):
            _check_arrays_finite(trainer, network, {**get_parameters(mod), **get_statistics(mod)})
        raise DivergenceError(f"step {trainer.global_step}: a number of another worker is no "
                              "longer finite: give a lower --lr")


def get_state(trainer: Trainer) -> dict[str, Any]:
    """Wait for the device, and copy all that the next step depends on.

    Returns
    -------
    dict
        Under `G`, `D`: parameters and moving statistics by `arg:NAME` and `aux:NAME`; the
        statistics are averages over all contexts of all workers.
        `G-optimizer`, `D-optimizer`: Adam's moments by `mean:NAME` and `var:NAME`; empty before a
        network's first update. `G-ema`: the average of G's parameters by `arg:NAME`; empty
        without `ema`. `replicas`: with several contexts or workers, the moving statistics of
        each, (replicas, channels), by `G:aux:NAME` and `D:aux:NAME`; else empty. All of these are
        dicts of np.ndarray, float32.
        `symbols`: the JSON text of `G` and `D`.
        `counters`: `step`, `epoch`, `nbatch`, `batch_size`; `workers`, their number; `updates`,
        the numbers of Adam's updates of `G` and `D`; `metrics`, as `Metrics.get_state` returns it.

    Raises
    ------
    DivergenceError
        If one of these numbers is not finite.
    """
    # On a CPU, BatchNorm's backward writes the moving statistics behind the engine's back
    # (apache/mxnet#18610): without this wait they are read before their latest updates.
    wait_all()
    counters: dict[str, Any] = {
        "step": trainer.global_step, "epoch": trainer.epoch, "nbatch": trainer.nbatch,
        "batch_size": trainer.batch_size, "workers": trainer.workers.count, "updates": {},
        "metrics": trainer.metrics.get_state()}
    replicas = _gather_statistics(trainer)
    averages, several = average(replicas), trainer.workers.count * len(trainer.contexts) > 1
    state: dict[str, Any] = {"symbols": {}, "counters": counters, "G-ema": trainer.average.get(),
                             "replicas": replicas if several else {}}
    for network, mod in _networks(trainer):
        state["symbols"][network] = mod.symbol.tojson()
        state[network] = {name: averages.get(f"{network}:{name}", array)
                          for name, array in get_parameters(mod).items()}
        state[f"{network}-optimizer"], counters["updates"][network] = get_adam(mod)
        for part in (network, f"{network}-optimizer"):
            _check_arrays_finite(trainer, part, state[part])
    return state


def set_state(trainer: Trainer, state: dict[str, Any] | None) -> None:
    """Restore what `get_state` returned; raise ValueError if it is of other networks.

    Workers other than the first give None, and receive its state. `symbols` is ignored. With
    another `batch_size` or number of `workers` the epoch starts again; with another number of
    `replicas` each gets the averages.
    """
    if trainer.workers.rank == 0:
        if state is None:
            raise ValueError("state is None: give what get_state returned")
        _check_shapes(trainer, state)
    if trainer.workers.count > 1:
        state = _share(trainer, state)
    assert state is not None
    counters, contexts = state["counters"], len(trainer.contexts)
    own = slice(trainer.workers.rank * contexts, (trainer.workers.rank + 1) * contexts)
    for network, mod in _networks(trainer):
        set_parameters(mod, state[network])
        set_adam(mod, state[f"{network}-optimizer"], counters["updates"][network])
        if _count_replicas(state) == trainer.workers.count * contexts:
            set_statistics(mod, {name: state["replicas"][f"{network}:{name}"][own]
                                 for name in get_statistics(mod)})
    trainer.average.set(state.get("G-ema", {}), counters["updates"]["G"])
    trainer.global_step, trainer.epoch = counters["step"], counters["epoch"]
    # The place in an epoch means nothing in other batches, or in another part of the data.
    same = ((counters["batch_size"], counters["workers"])
            == (trainer.batch_size, trainer.workers.count))
    trainer.nbatch = counters["nbatch"] * same
    trainer.metrics.reset()
    if trainer.workers.rank == 0:  # the sums are over all workers
        trainer.metrics.set_state(counters["metrics"])
    trainer.outG = trainer.diffD = trainer.batch = None


def _networks(trainer: Trainer) -> tuple[tuple[str, Any], tuple[str, Any]]:
    return ("G", trainer.modG), ("D", trainer.modD)


def _gather_statistics(trainer: Trainer) -> dict[str, np.ndarray]:
    """Return the moving statistics of all contexts of all workers, (replicas, channels)."""
    own = {f"{network}:{name}": rows for network, mod in _networks(trainer)
           for name, rows in get_statistics(mod).items()}
    gathered = trainer.workers.all_gather(np.concatenate([rows.ravel() for rows in own.values()]))
    parts = np.split(gathered, np.cumsum([rows.size for rows in own.values()])[:-1], axis=1)
    return {name: part.reshape(-1, rows.shape[1]) for (name, rows), part in zip(own.items(), parts)}


def _count_replicas(state: Mapping[str, Any]) -> int:
    return len(next(iter(state["replicas"].values()), ()))


def _shapes(trainer: Trainer, updates: Mapping[str, int], replicas: int
            ) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return the shapes of all arrays of a state, by part and name."""
    shapes = {("G-ema", name): array.shape for name, array in trainer.average.get().items()}
    for network, mod in _networks(trainer):
        for name, array in get_parameters(mod).items():
            shapes[network, name] = array.shape
            if name.startswith("arg:") and updates[network]:
                for kind in ("mean", "var"):
                    shapes[f"{network}-optimizer", f"{kind}:{name[4:]}"] = array.shape
            elif name.startswith("aux:") and replicas:
                shapes["replicas", f"{network}:{name}"] = (replicas, *array.shape)
    return shapes


def _check_shapes(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Raise ValueError if a state is of other networks."""
    shapes = _shapes(trainer, state["counters"]["updates"], _count_replicas(state))
    arrays = {(part, name): array for part in _PARTS
              for name, array in state.get(part, {}).items()}
    for part, name in sorted({*arrays, *shapes}):
        array, shape = arrays.get((part, name)), shapes.get((part, name))
        if array is None or array.shape != shape or array.dtype != np.float32:
            raise ValueError(f"{name} of {part} has shape {getattr(array, 'shape', None)}, not "
                             f"{shape}: it is of other networks")


def _share(trainer: Trainer, state: dict[str, Any] | None) -> dict[str, Any]:
    """Return worker 0's state on all workers."""
    head = json.dumps([state["counters"], _count_replicas(state)]) if state else ""
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


def _check_arrays_finite(trainer: Trainer, part: str, arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DivergenceError(f"step {trainer.global_step}: {name} of {part} is no longer "
                                  "finite: give a lower --lr")
