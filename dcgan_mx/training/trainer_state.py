"""All that a training's next step depends on, as NumPy arrays: copied, checked, put back."""
from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Mapping, TypeVar

import numpy as np

from ..machine.runtime import finish, mx, set_parameters
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

_Name = TypeVar("_Name")


class DivergenceError(ValueError):
    """A number of the training is no longer finite."""


def check_finite(trainer: Trainer) -> None:
    """Do what `Trainer.check_finite` says."""
    finish()
    finite = all(mx.nd.multi_all_finite(*arrays, num_arrays=len(arrays)).asscalar()
                 for _, mod in _networks(trainer) for arrays in all_arrays(mod))
    if not trainer.workers.gather([finite]).all():  # all end, or none
        for network, mod in _networks(trainer):
            _require_finite(trainer, network, {**get_parameters(mod), **get_statistics(mod)})
        raise DivergenceError(f"step {trainer.global_step}: a number of another worker is no "
                              "longer finite: give a lower --lr")


def get_state(trainer: Trainer) -> dict[str, Any]:
    """Wait for the device, and copy all that the next step depends on.

    Returns
    -------
    dict
        `G`, `D`: parameters and moving statistics under `arg:NAME` and `aux:NAME`; the
        statistics are averages over all contexts of all workers.
        `G-optimizer`, `D-optimizer`: Adam's moments under `mean:NAME` and `var:NAME`; empty
        before a network's first update. `G-ema`: the average of G's parameters under
        `arg:NAME`; empty without `ema`.
        `replicas`: if there are several contexts or workers, the moving statistics of each,
        (replicas, channels), under `G:aux:NAME` and `D:aux:NAME`; else empty. All of these
        are dicts of np.ndarray, float32.
        `symbols`: both networks' JSON text under `G` and `D`.
        `counters`: `step`, `epoch`, `nbatch`, `batch_size`; `workers`, their
        number; `updates`, the numbers of Adam's updates under `G` and `D`; `metrics`, as
        `Metrics.get_state` returns it.

    Raises
    ------
    DivergenceError
        If one of these numbers is not finite.
    """
    # On a CPU, BatchNorm's backward writes the moving statistics behind the engine's back
    # (apache/mxnet#18610): without this wait they are read before their latest updates.
    finish()
    state: dict[str, Any] = {"symbols": {}, "counters": {
        "step": trainer.global_step, "epoch": trainer.epoch, "nbatch": trainer.nbatch,
        "batch_size": trainer.batch_size, "workers": trainer.workers.count, "updates": {},
        "metrics": trainer.metrics.get_state()}}
    replicas = _gather_statistics(trainer)
    for network, mod in _networks(trainer):
        state["symbols"][network] = mod.symbol.tojson()
        moments, state["counters"]["updates"][network] = get_adam(mod)
        averages = {name[2:]: array for name, array in average(replicas).items()
                    if name.startswith(network)}
        for part, arrays in ((network, {**get_parameters(mod), **averages}),
                             (f"{network}-optimizer", moments)):
            _require_finite(trainer, part, arrays)
            state[part] = arrays
    state["G-ema"] = trainer.average.get()
    state["replicas"] = replicas if _count(trainer) > 1 else {}
    return state


def set_state(trainer: Trainer, state: dict[str, Any] | None) -> None:
    """Do what `Trainer.set_state` says."""
    if trainer.workers.rank == 0:
        if state is None:
            raise ValueError("state is None: give what get_state returned")
        _require_fitting(trainer, state)
    if trainer.workers.count > 1:
        state = _share(trainer, state or {})
    assert state is not None  # the first worker has one, and shares it
    counters = state["counters"]
    contexts = len(trainer.contexts)
    own = slice(trainer.workers.rank * contexts, (trainer.workers.rank + 1) * contexts)
    for network, mod in _networks(trainer):
        set_parameters(mod, state[network])
        set_adam(mod, state[f"{network}-optimizer"], counters["updates"][network])
        replicas = {name[2:]: rows for name, rows in state["replicas"].items()
                    if name.startswith(network)}
        if {len(rows) for rows in replicas.values()} == {_count(trainer)}:
            set_statistics(mod, {name: rows[own] for name, rows in replicas.items()})
    trainer.average.set(state.get("G-ema", {}), counters["updates"]["G"])
    trainer.global_step, trainer.epoch = counters["step"], counters["epoch"]
    # The place in an epoch means nothing in other batches, or in another part of the data.
    same = ((counters["batch_size"], counters["workers"])
            == (trainer.batch_size, trainer.workers.count))
    trainer.nbatch = counters["nbatch"] * same
    # The sums over all workers are the first one's to go on with.
    trainer.metrics.reset()
    if trainer.workers.rank == 0:
        trainer.metrics.set_state(counters["metrics"])
    trainer.outG = trainer.diffD = trainer.batch = None


def _networks(trainer: Trainer) -> tuple[tuple[str, Any], tuple[str, Any]]:
    return ("G", trainer.modG), ("D", trainer.modD)


def _count(trainer: Trainer) -> int:
    """How many copies of the networks there are, each with its own moving statistics."""
    contexts: list[Any] = trainer.contexts
    return trainer.workers.count * len(contexts)


def _gather_statistics(trainer: Trainer) -> dict[str, np.ndarray]:
    """Return the moving statistics of all copies, (copies, channels), under G: and D: and NAME."""
    statistics = {f"{network}:{name}": rows for network, mod in _networks(trainer)
                  for name, rows in get_statistics(mod).items()}
    gathered = trainer.workers.gather(_flatten(statistics))
    parts = [_unflatten(values, statistics) for values in gathered]
    return {name: np.concatenate([part[name] for part in parts]) for name in statistics}


def _share(trainer: Trainer, state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of worker 0 on all workers; the others' `state` is not looked at."""
    head = ""
    if trainer.workers.rank == 0:
        head = json.dumps([state["counters"], {name: rows.shape for name, rows
                                               in state["replicas"].items()}])
    counters, shapes = json.loads(trainer.workers.gather_text(head)[0])
    like = {("replicas", name): np.empty(shape, np.float32) for name, shape in shapes.items()}
    for network, mod in _networks(trainer):
        for name, array in get_parameters(mod).items():
            like[network, name] = array
            if name.startswith("arg:") and counters["updates"][network]:
                for kind in ("mean", "var"):
                    like[f"{network}-optimizer", f"{kind}:{name[4:]}"] = array
    for name, array in trainer.average.get().items():
        like["G-ema", name] = array
    if trainer.workers.rank == 0:
        like = {(part, name): state[part][name] for part, name in like}
    shared: dict[str, Any] = {"counters": counters, "G-optimizer": {}, "D-optimizer": {},
                              "G-ema": {}, "replicas": {}}
    for (part, name), array in _unflatten(trainer.workers.share(_flatten(like)), like).items():
        shared.setdefault(part, {})[name] = array
    return shared


def _flatten(arrays: Mapping[_Name, np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays.values()])


def _unflatten(values: np.ndarray, like: Mapping[_Name, np.ndarray]
               ) -> dict[_Name, np.ndarray]:
    """Cut what `_flatten` made of arrays of the same shapes into these."""
    ends = np.cumsum([array.size for array in like.values()])[:-1]
    return {name: part.reshape(array.shape)
            for (name, array), part in zip(like.items(), np.split(values, ends))}


def _require_fitting(trainer: Trainer, state: dict[str, Any]) -> None:
    counters = state["counters"]
    _require_shapes("G-ema", state.get("G-ema", {}), {name: array.shape for name, array
                                              in trainer.average.get().items()})
    for network, mod in _networks(trainer):
        shapes = {name: array.shape for name, array in get_parameters(mod).items()}
        moments = {f"{kind}:{name[4:]}": shape for name, shape in shapes.items()
                   if name.startswith("arg:") for kind in ("mean", "var")}
        _require_shapes(network, state[network], shapes)
        _require_shapes(f"{network}-optimizer", state[f"{network}-optimizer"],
                        moments if counters["updates"][network] else {})
        replicas = {name[2:]: rows for name, rows in state["replicas"].items()
                    if name.startswith(network)}
        copies = len(next(iter(replicas.values()), ()))
        _require_shapes(f"{network}'s replicas", replicas, {
            name: (copies, *shape) for name, shape in shapes.items()
            if copies and name.startswith("aux:")})


def _require_shapes(part: str, arrays: Mapping[str, np.ndarray],
                    shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name in sorted({*arrays, *shapes}):
        found = arrays[name].shape if name in arrays else None
        if found != shapes.get(name) or arrays[name].dtype != np.float32:
            raise ValueError(f"{name} of {part} has shape {found}, not {shapes.get(name)}: it is "
                             "of other networks")


def _require_finite(trainer: Trainer, part: str, arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DivergenceError(f"step {trainer.global_step}: {name} of {part} is no longer "
                                  "finite: give a lower --lr")
