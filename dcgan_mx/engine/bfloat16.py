"""Networks that compute in bfloat16, and Modules that train them with float32 weights."""
from __future__ import annotations

import json
from typing import Any, Mapping

from ..system.amx import BFLOAT16
from ..system.errors import ArgumentError
from ..system.runtime import mx

_CODES = {"float32": "0", "bfloat16": "12"}  # the graph's numbers for types
_LAYERS = ("Convolution", "Deconvolution")
_BETWEEN = ("BatchNorm", "Activation", "LeakyReLU")


def to_bfloat16(symbol: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    """Rewrite a float32 network, given the shapes of its inputs, to compute in bfloat16.

    (De)convolutions, whose weights become bfloat16 variables, and the layers between them change.
    Inputs, outputs, BatchNorm's parameters and statistics, tanh, the loss and other operators stay
    float32; so do layers from or to one pixel, which become matrix products. All variables keep
    their names and order.
    """
    internals = symbol.get_internals()
    known = dict(zip(internals.list_outputs(), internals.infer_shape(**shapes)[1]))
    graph = json.loads(symbol.tojson())
    old, types = graph["nodes"], _choose_types(graph["nodes"], known)
    new: list[dict[str, Any]] = []
    places: list[list[int]] = []  # new position of each old node
    casts: dict[tuple[int, int], list[int]] = {}

    def add(op: str, name: str, *inputs: list[int], **attrs: str) -> list[int]:
        new.append({"op": op, "name": name, "attrs": attrs, "inputs": inputs})
        return [len(new) - 1, 0, 0]

    def take(entry: list[int], dtype: str) -> list[int]:
        i, output, version = entry
        place = [places[i][0], output, version]
        if types[i] == dtype:
            return place
        if (i, output) not in casts:
            casts[i, output] = add("amp_cast", f"{old[i]['name']}_{dtype}", place, dtype=dtype)
        return casts[i, output]

    def multiply(node: dict[str, Any], x: list[int], weight: list[int], *bias: list[int]
                 ) -> list[int]:
        name = node["name"]
        x, weight = (add("Reshape", f"{name}_{part}", entry, shape="(0, -1)")
                     for part, entry in (("rows", x), ("matrix", weight)))
        x = add("dot", f"{name}_dot", x, weight, transpose_b=str(node["op"] == "Convolution"))
        x = add("Reshape", name, x, shape=str((-1, *known[f"{name}_output"][1:])))
        for entry in bias:
            x = add("broadcast_add", f"{name}_add", x,
                    add("Reshape", f"{name}_row", entry, shape="(1, -1, 1, 1)"))
        return x

    for node, dtype in zip(old, types):
        op, name, attrs = node["op"], node["name"], node.get("attrs", {})
        inputs = [take(entry, "float32" if k and op == "BatchNorm" else dtype)
                  for k, entry in enumerate(node["inputs"])]
        if op == "null":
            attrs = {**attrs, "__shape__": str(known[name]), "__dtype__": _CODES[dtype]}
        if op in _LAYERS and dtype == "float32":
            places.append(multiply(node, *inputs))
        else:
            places.append(add(op, name, *inputs, **attrs))
    graph["heads"] = [take(entry, "float32") for entry in graph["heads"]]
    graph["arg_nodes"] = [i for i, node in enumerate(new) if node["op"] == "null"]
    graph["nodes"], graph["node_row_ptr"] = new, [*range(len(new) + 1)]
    return mx.sym.load_json(json.dumps(graph))


def _choose_types(nodes: list[dict[str, Any]], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return the type of each node; `shapes` has the shapes of variables and of NAME_output."""
    def find_size(i: int) -> tuple[int, ...]:
        name = nodes[i]["name"] + ("" if nodes[i]["op"] == "null" else "_output")
        return shapes[name][2:]

    types = ["float32"] * len(nodes)
    for i, node in enumerate(nodes):
        op, inputs = node["op"], [entry[0] for entry in node["inputs"]]
        if op in _LAYERS:
            # Between one pixel and the kernel's size, the layer is a matrix product.
            if {find_size(inputs[0]), find_size(i)} != {(1, 1), find_size(inputs[1])}:
                types[i] = "bfloat16"
                for k in inputs[1:]:
                    if nodes[k]["op"] == "null":
                        types[k] = "bfloat16"
        elif op in _BETWEEN and node.get("attrs", {}).get("act_type") != "tanh":
            types[i] = "bfloat16"
    return types


class Bfloat16Module(mx.mod.Module):
    """A Module that computes in bfloat16, with a symbol, parameters and gradients in float32.

    The forward pass rounds the weights into bfloat16 arrays; the backward pass casts their
    gradients back. Casts inside the graph fail because of two bugs of MXNet 1.9.1 on a CPU: a
    deconvolution whose weight is not a variable takes the address of its gradient before memory is
    allocated, and crashes (`IOLogicalSwapMKLDNNMem` in mkldnn_deconvolution-inl.h); and amp_cast's
    backward ignores grad_req 'add'.
    """

    def bind(self, data_shapes: Any, label_shapes: Any = None, shared_module: Any = None,
             grad_req: Any = "write", **options: Any) -> None:
        """Bind; this uses private attributes of MXNet 1.9.1's Module, its group and executors."""
        symbol: Any = self._symbol
        rounded = to_bfloat16(symbol, dict([*data_shapes, *(label_shapes or ())]))
        self._adds = grad_req == "add"
        if self._adds:
            grad_req = {name: "write" if dtype == BFLOAT16 else "add"
                        for name, dtype in zip(rounded.list_arguments(), rounded.infer_type()[0])
                        if name in self._param_names}
        self._symbol: Any = rounded
        super().bind(data_shapes, label_shapes, shared_module=shared_module, grad_req=grad_req,
                     **options)
        self._symbol = symbol
        group = self._exec_group
        # Pairs of a float32 array, which callers see, and the executor's bfloat16 array.
        self._weights: list[tuple[Any, Any]] = []
        self._gradients: list[tuple[Any, Any]] = []
        for k, executor in enumerate(group.execs):
            for pairs, kind in ((self._weights, "arg_arrays"), (self._gradients, "grad_arrays")):
                arrays = getattr(executor, kind)
                for i, array in enumerate(arrays):
                    if array is not None and array.dtype == BFLOAT16:
                        arrays[i] = (
                            mx.nd.zeros(array.shape, array.context) if shared_module is None
                            else getattr(shared_module._exec_group.execs[k], kind)[i])
                        pairs.append((arrays[i], array))
            executor._arg_dict = executor._grad_dict = None  # rebuilt on demand
        group._collect_arrays()
        if shared_module is None:
            self._arg_params = {name: mx.nd.zeros(arrays[0].shape) for name, arrays
                                in zip(group.param_names, group.param_arrays)}

    def reshape(self, data_shapes: Any, label_shapes: Any = None) -> None:
        """Reject another shape: Module's `reshape` would drop the float32 arrays."""
        raise ArgumentError("data_shapes", f"{data_shapes} is not {self.data_shapes}: a network "
                            "that computes in bfloat16 has a fixed batch size")

    def forward(self, data_batch: Any, is_train: bool | None = None) -> None:
        """Round the weights, then compute as a Module."""
        for weight, rounded in self._weights:
            mx.nd.amp_cast(weight, dtype=BFLOAT16, out=rounded)
        super().forward(data_batch, is_train)

    def backward(self, out_grads: Any = None) -> None:
        """Compute as a Module, then cast or add the gradients."""
        super().backward(out_grads)
        for gradient, rounded in self._gradients:
            if self._adds:
                mx.nd.elemwise_add(gradient, mx.nd.amp_cast(rounded, dtype="float32"), out=gradient)
            else:
                mx.nd.amp_cast(rounded, dtype="float32", out=gradient)
