"""Two networks as the Modules that the step works with."""
from __future__ import annotations

import json
from typing import Any, Mapping

from ..machine.amx import prepare_bfloat16
from ..machine.runtime import mx
from .memory import require_fitting
from .module_state import pull_parameters
from .precision import Bfloat16Module


class Decay(mx.lr_scheduler.LRScheduler):
    """A learning rate that is constant for `updates` updates, and falls as updates / t then.

    Source: Robbins and Monro, 1951: steps whose sum diverges, and whose squares' sum does not.
    """

    def __init__(self, base_lr: float, updates: int) -> None:
        super().__init__(base_lr)
        self._updates = updates

    def __call__(self, num_update: int) -> float:
        """Return the rate of an update, which are counted from 1."""
        rate: float = self.base_lr
        return rate * min(1.0, self._updates / max(1, num_update))


def make_rate(lr: float, decay: int | None) -> dict[str, Any]:
    """Return the parameters of an optimizer that make its learning rate.

    Parameters
    ----------
    lr
    decay
        Updates after which it falls; None: never.
    """
    # MXNet prints a line on stdout where the scheduler's rate is another than this one.
    return {"learning_rate": lr, **({"lr_scheduler": Decay(lr, decay)} if decay else {})}


def add_biases(symbol: Any) -> Any:
    """Give every convolution of a network that has no bias one of zeros, inside the graph.

    Its numbers stay what they are. Without a bias MXNet 1.9.1 asks, on a CPU, for the third of two
    requests (`req[conv::kBias]` in mkldnn_convolution.cc), and by what it finds there computes
    gradients of weights for which nobody has asked.
    """
    graph = json.loads(symbol.tojson())
    nodes: list[dict[str, Any]] = []
    places: list[int] = []  # of the old nodes among the new ones
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


def bind_modules(symG: Any, symD: Any, batch_size: int, data_shape: tuple[int, int, int], nz: int,
                 contexts: list[Any], kvstore: Any, initializer: Any,
                 adam: Mapping[str, Mapping[str, Any]], precision: str = "float32"
                 ) -> tuple[Any, Any, Any, Any]:
    """Make the Modules, with parameters and optimizers.

    Parameters
    ----------
    symG, symD, batch_size, data_shape, nz, contexts, kvstore, initializer
        As `Trainer` takes them.
    adam
        Parameters of the optimizers of `G` and `D`.
    precision : 'float32' or 'bfloat16'
        In which they compute.

    Returns
    -------
    modG
    modD
        Writes gradients for its weights.
    modD_adding
        The same memory; it adds its gradients to those that are there.
    modDG
        The same memory; D as G sees it, with a gradient for the images only.

    Raises
    ------
    ValueError
        If the precision is bfloat16, and there is a GPU among the contexts, or the processor has
        no instructions for it; or if they cannot fit into memory.
    """
    if precision == "bfloat16":
        prepare_bfloat16(gpu=any(context.device_type == "gpu" for context in contexts))
    module = {"float32": mx.mod.Module, "bfloat16": Bfloat16Module}[precision]
    require_fitting(symG, symD, batch_size, data_shape, nz, contexts)
    data, label = [("data", (batch_size, *data_shape))], [("label", (batch_size,))]
    modG = module(symG, data_names=("rand",), label_names=None, context=contexts)
    modG.bind(data_shapes=[("rand", (batch_size, nz, 1, 1))])
    modD, modD_adding, modDG = (
        module(symbol, data_names=("data",), label_names=("label",), context=contexts)
        for symbol in (symD, symD, add_biases(symD)))
    modD.bind(data_shapes=data, label_shapes=label)
    for network, mod in (("G", modG), ("D", modD)):
        mod.init_params(initializer=initializer)
        mod.init_optimizer(kvstore, optimizer="adam", optimizer_params=dict(adam[network]))
        if kvstore is not None and kvstore.type.startswith("dist"):
            # The store adds gradients: it sends no weights by itself.
            pull_parameters(mod, kvstore)
    modD_adding.bind(data_shapes=data, label_shapes=label, shared_module=modD, grad_req="add")
    modDG.bind(data_shapes=data, label_shapes=label, shared_module=modD, inputs_need_grad=True,
               grad_req={**dict.fromkeys(symD.list_arguments(), "null"), "data": "write"})
    return modG, modD, modD_adding, modDG
