"""The Modules of the training step."""
from __future__ import annotations

import json
import math
from typing import Any, Mapping, Sequence

from ..system.amx import prepare_bfloat16
from ..system.errors import ArgumentError
from ..system.memory import check_memory
from ..system.runtime import mx
from .bfloat16 import Bfloat16Module


class InverseDecay(mx.lr_scheduler.LRScheduler):
    """A learning rate that is constant for `updates` updates, then falls as updates / t."""

    def __init__(self, base_lr: float, updates: int) -> None:
        super().__init__(base_lr)
        self._updates = updates

    def __call__(self, num_update: int) -> float:
        """Return the rate of an update, counted from 1."""
        rate: float = self.base_lr
        return rate * min(1.0, self._updates / max(1, num_update))


def adam_options(lr: float, beta1: float, wd: float, decay_start: int | None) -> dict[str, Any]:
    """Return Adam's parameters; the learning rate falls after `decay_start` updates."""
    # MXNet prints a line on stdout if the scheduler's rate is not also the learning rate.
    return {"learning_rate": lr, "beta1": beta1, "wd": wd,
            **({"lr_scheduler": InverseDecay(lr, decay_start)} if decay_start else {})}


def add_biases(symbol: Any) -> Any:
    """Give every convolution without a bias a constant bias of zeros, inside the graph.

    Results do not change. Without it, MXNet 1.9.1 on a CPU reads the third of two gradient requests
    (`req[conv::kBias]` in mkldnn_convolution.cc), and may compute unused weight gradients.
    """
    graph = json.loads(symbol.tojson())
    nodes: list[dict[str, Any]] = []
    places: list[int] = []  # new position of each old node
    for node in graph["nodes"]:
        inputs = [[places[i], *entry] for i, *entry in node["inputs"]]
        attrs = node.get("attrs", {})
        if node["op"] == "Convolution" and attrs.get("no_bias") == "True":
            nodes.append({"op": "_zeros", "name": f"{node['name']}_zeros", "inputs": [],
                          "attrs": {"shape": f"({attrs['num_filter']},)"}})
            inputs.append([len(nodes) - 1, 0, 0])
            attrs = {**attrs, "no_bias": "False"}
        places.append(len(nodes))
        nodes.append({**node, "attrs": attrs, "inputs": inputs})
    return mx.sym.load_json(json.dumps({
        **graph, "nodes": nodes, "node_row_ptr": [*range(len(nodes) + 1)],
        "heads": [[places[i], *entry] for i, *entry in graph["heads"]],
        "arg_nodes": [i for i, node in enumerate(nodes) if node["op"] == "null"]}))


def _check_shapes(symG: Any, symD: Any, rand: tuple[int, ...], data: tuple[int, ...]) -> None:
    """Raise ArgumentError unless G makes images of shape `data`, and D classifies them."""
    try:
        made = (symG.infer_shape(rand=rand)[1] or [None])[0]
    except mx.base.MXNetError:
        made = None
    if made is None:
        raise ArgumentError("symG", f"does not make images of {rand}, its input `rand`, alone: "
                            "give another symG")
    if made != data:
        raise ArgumentError("data_shape", f"{data[1:]} is not {made[1:]}, the shape of symG's "
                            "images: give that shape, or another symG")
    try:
        symD.infer_shape(data=data, label=data[:1])
    except mx.base.MXNetError:
        raise ArgumentError("symD", f"does not fit images of shape {data[1:]}: give another "
                            "symD") from None


def _check_memory(networks: Sequence[tuple[Any, Mapping[str, tuple[int, ...]]]], batch_size: int,
                  contexts: list[Any]) -> None:
    """Raise ValueError if networks, given with the shapes of their inputs, need too much memory."""
    parameters = outputs = 0
    for symbol, inputs in networks:
        internals = symbol.get_internals()
        sizes = dict(zip(internals.list_outputs(),
                         map(math.prod, internals.infer_shape(**inputs)[1])))
        parameters += sum(sizes[name] for name in {*symbol.list_arguments()} - {*inputs})
        outputs += sum(size for name, size in sizes.items() if name.endswith("_output"))
    hosts = sum(context.device_type != "gpu" for context in contexts)
    # A lower bound: a weight, its gradient and Adam's two moments in float32 on each context; each
    # layer's output, which the backward pass needs, in two bytes.
    check_memory(f"training {parameters:,} parameters with batch_size {batch_size}",
                 16 * parameters * hosts + 2 * outputs * hosts // len(contexts),
                 "use smaller batches or networks, or end other programs")


def pull_parameters(mod: Any, kvstore: Any) -> None:
    """Set a Module's parameters to the first worker's, which a KVStore does not send by itself."""
    for name, arrays in zip(mod._exec_group.param_names, mod._exec_group.param_arrays):
        kvstore.pull(name, arrays)


def bind_modules(symG: Any, symD: Any, batch_size: int, data_shape: tuple[int, int, int], nz: int,
                 contexts: list[Any], kvstore: Any, initializer: Any, precision: str,
                 adamG: dict[str, Any], adamD: dict[str, Any]) -> tuple[Any, ...]:
    """Return modG, modD, modD_accum and modDG, with parameters and optimizers.

    The last two share modD's memory: modD_accum adds its gradients to modD's; modDG has a gradient
    for the images only.
    """
    if batch_size % len(contexts):
        raise ArgumentError("batch_size", f"{batch_size} is not a multiple of {len(contexts)}, the "
                            "number of devices: choose a multiple")
    if len(contexts) > 1 and kvstore is None:
        kvstore = mx.kv.create("local")
    shared = {*symG.list_arguments()} & {*symD.list_arguments()}
    if kvstore is not None and shared:
        raise ArgumentError("symD", f"its parameter {min(shared)} is also one of symG: give them "
                            "different names, which the KVStore uses as keys")
    if precision == "bfloat16":
        prepare_bfloat16(gpu=any(context.device_type == "gpu" for context in contexts))
    module = {"float32": mx.mod.Module, "bfloat16": Bfloat16Module}[precision]
    rand = [("rand", (batch_size, nz, 1, 1))]
    data, label = [("data", (batch_size, *data_shape))], [("label", (batch_size,))]
    _check_shapes(symG, symD, rand[0][1], data[0][1])
    _check_memory([(symG, dict(rand)), (symD, {**dict(data), **dict(label)})], batch_size, contexts)
    modG = module(symG, data_names=("rand",), label_names=None, context=contexts)
    modG.bind(data_shapes=rand)
    modD, modD_accum, modDG = (
        module(symbol, data_names=("data",), label_names=("label",), context=contexts)
        for symbol in (symD, symD, add_biases(symD)))
    modD.bind(data_shapes=data, label_shapes=label)
    for mod, adam in ((modG, adamG), (modD, adamD)):
        mod.init_params(initializer=initializer)
        mod.init_optimizer(kvstore, optimizer="adam", optimizer_params=adam)
        if kvstore is not None and kvstore.type.startswith("dist"):
            pull_parameters(mod, kvstore)
    modD_accum.bind(data_shapes=data, label_shapes=label, shared_module=modD, grad_req="add")
    modDG.bind(data_shapes=data, label_shapes=label, shared_module=modD, inputs_need_grad=True,
               grad_req={**dict.fromkeys(symD.list_arguments(), "null"), "data": "write"})
    return modG, modD, modD_accum, modDG
