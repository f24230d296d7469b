"""Networks of `make_dcgan_sym`, rebuilt from files that this package or MXNet's example wrote."""
from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from ..runs.json_files import read_small
from ..runs.params import parse_params
from ..symbols import make_dcgan_sym
from ..system.errors import one_line
from ..system.files import StrPath, open_regular, parse_json
from ..system.runtime import mx

_GEOMETRY = {"kernel": "", "stride": "(1, 1)", "pad": "(0, 0)", "dilate": "(1, 1)",
             "num_filter": "", "num_group": "1", "adj": "(0, 0)", "target_shape": "(0, 0)",
             "layout": "NCHW"}
# The attributes of a layer that affect its outputs, with their defaults in all versions of MXNet.
_ATTRIBUTES = {
    "Convolution": {**_GEOMETRY, "no_bias": "False"},
    "Deconvolution": {**_GEOMETRY, "no_bias": "True"},
    "BatchNorm": {"fix_gamma": "True", "eps": "0.001", "axis": "1", "use_global_stats": "False",
                  "output_mean_var": "False"},
    "Activation": {"act_type": ""}, "LeakyReLU": {"act_type": "leaky", "slope": "0.25"},
    "Flatten": {}, "LogisticRegressionOutput": {"grad_scale": "1"}}
HINT = "give another checkpoint, RUN/checkpoints/step-..., or model"
_LISTED = 12  # names in a message


def find_files(path: StrPath) -> tuple[Path, Path | None] | None:
    """Find a .params file and its symbol, from its name or the prefix of MXNet's checkpoints.

    A prefix stands for its newest epoch. Returns None if there are no such files.
    """
    params = Path(path)
    if params.is_dir():
        return None
    if params.suffix != ".params":
        epochs = {int(match[1]): found for found in params.parent.glob("*.params")
                  if (match := re.fullmatch(rf"{re.escape(params.name)}-([0-9]{{4,9}})\.params",
                                            found.name))}
        if not epochs:
            return None
        params = epochs[max(epochs)]
    if not params.is_file():
        return None
    symbol = params.with_name(re.sub(r"(-[0-9]{4,9})?\.params$", "-symbol.json", params.name))
    return params, symbol if symbol.exists() else None


def load_files(params_path: Path, symbol_path: Path | None, network: str
               ) -> tuple[Any, dict[str, np.ndarray]]:
    """Load 'G' or 'D' from files of MXNet: its symbol, and its float32 parameters.

    Without a symbol, `fix_gamma` and `eps` are the defaults of `make_dcgan_sym`. Raises ValueError
    if the files are damaged, or of another network.
    """
    with open_regular(params_path, follow=True) as f:
        arrays = parse_params(f.read(), params_path)
    params = {name: array.astype(np.float32) for name, array in arrays.items()}
    for name, array in params.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{params_path}: {name} is not finite: {HINT}")
    other = "D" if network == "G" else "G"
    if list_weights(params, other):
        raise ValueError(f"{params_path} contains {other}, not {network}: give the file of "
                         f"{network}")
    if not list_weights(params, network):
        names = [*params][:_LISTED] + ["..."] * (len(params) > _LISTED)
        raise ValueError(f"{params_path} is not {network} of make_dcgan_sym: expected layers from "
                         f"arg:{network.lower()}1_weight on, found {names}: {HINT}")
    if symbol_path is None:
        text = None
        problem = f"{params_path} has other shapes than {network} of make_dcgan_sym: {HINT}"
        if any((array != 1).any() for name, array in params.items() if name.endswith("_gamma")):
            warnings.warn(f"{params_path}: without a symbol file, its gammas are taken as 1 "
                          "(fix_gamma=True, as in MXNet's example); if the model was trained with "
                          "fix_gamma=False, put its PREFIX-symbol.json beside it", RuntimeWarning,
                          stacklevel=2)
    else:
        problem = (f"{symbol_path} is not {network} of make_dcgan_sym with the parameters of "
                   f"{params_path}: {HINT}")
        try:
            text = read_small(symbol_path.resolve()).decode()
        except ValueError:
            raise ValueError(problem) from None
    return rebuild(text, params, network, problem), params


def rebuild(text: str | None, params: Mapping[str, np.ndarray], network: str, problem: str) -> Any:
    """Build the network that a symbol's JSON text describes, and check that the parameters fit.

    The file's graph is only compared with this network and never executed: MXNet trusts the
    numbers in a graph, and some operators then read or write outside their arrays. Raises
    ValueError with `problem` if it is another network.
    """
    try:
        options: dict[str, Any] = {}
        shape = find_shape(params, network)
        nc, size, width = shape["nc"], shape["size"], shape[f"n{network.lower()}f"]
        if text is not None:
            graph = parse_json(text.encode())
            norm = [_read_attributes(node) for node in graph["nodes"]
                    if node["op"] == "BatchNorm"][0]
            options = {"fix_gamma": _parse(norm["fix_gamma"]) == (1,), "eps": float(norm["eps"])}
        no_bias = f"arg:{network.lower()}1_bias" not in params
        symbol, reference = (make_dcgan_sym(width, width, channels, no_bias, size=size, **options)
                       [network == "D"] for channels in (nc, 3))
        if text is not None and graph != parse_json(symbol.tojson().encode()):
            # Another version of MXNet wrote the graph. The last layer of the example's G is a
            # Deconvolution for gray images too.
            expected = _list_layers(parse_json(reference.tojson().encode()))
            if network == "G":
                expected[-2][-1]["num_filter"] = (nc,)
            if _list_layers(graph) != expected:
                raise ValueError
        if not shape.get("nz", 1):
            raise ValueError
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError,
            mx.base.MXNetError):
        raise ValueError(problem) from None
    check_params(symbol, params, **({"rand": (1, shape["nz"], 1, 1)} if network == "G" else
                                    {"data": (1, nc, size, size)}))
    return symbol


def _list_layers(graph: Any) -> list[Any]:
    """Return the layers of a chain: operator, name, names of the inputs, attributes."""
    layers: list[Any] = []
    nodes, previous = graph["nodes"], None
    for i, node in enumerate(nodes):
        op, sources = node["op"], [source for source, *_ in node["inputs"]]
        if op == "null":
            continue
        if any(entry[1] for entry in node["inputs"]) or previous not in (None, sources[0]):
            raise ValueError
        names = [nodes[source]["name"] for source in sources[previous is not None:]]
        if op == "BatchNorm":  # before MXNet 0.9, moving statistics were not inputs
            names = [name for name in names
                     if name not in (f"{node['name']}_moving_{part}" for part in ("mean", "var"))]
        # The example does not name its Flatten: MXNet numbers those of a process.
        layers.append((op, node["name"] if op != "Flatten" else None, names,
                       {name: _parse(value) for name, value in _read_attributes(node).items()}))
        previous = i
    if [entry[:2] for entry in graph["heads"]] != [[previous, 0]]:
        raise ValueError
    return layers


def _read_attributes(node: Any) -> dict[str, str]:
    """Return the attributes of a layer that affect its outputs, as text."""
    # The name of their dictionary: `param` before MXNet 0.9, `attr` before 1.0
    found = {**node.get("param", {}), **node.get("attr", {}), **node.get("attrs", {})}
    if "param" in node and found.get("eps") == "1e-05":
        found["eps"] = str(1e-5 + 1e-12)  # the example's, of which MXNet before 0.9 wrote 6 digits
    return {name: default if found.get(name) in (None, "None", "()") else found[name]
            for name, default in _ATTRIBUTES[node["op"]].items()}


def _parse(value: str) -> tuple[float, ...] | str:
    """Return an attribute's numbers, else its text; Python 2 wrote "(4L, 4L)"."""
    numbers = tuple(map(float, re.findall(r"-?[0-9][0-9.e+-]*", value)))
    return numbers or {"True": (1.0,), "False": (0.0,)}.get(value, value)


def check_params(symbol: Any, params: Mapping[str, np.ndarray], **inputs: tuple[int, ...]) -> None:
    """Raise ValueError unless parameters have the names and shapes that a network needs."""
    try:
        args, _, aux = symbol.infer_shape(**inputs)
    except mx.base.MXNetError as error:
        raise ValueError(f"inputs of shape {inputs} do not fit this network ({one_line(error)})"
                         ) from None
    needed = {**{f"arg:{name}": shape for name, shape in zip(symbol.list_arguments(), args)
                 if name not in (*inputs, "label")},
              **{f"aux:{name}": shape for name, shape in zip(symbol.list_auxiliary_states(), aux)}}
    found = {name: array.shape for name, array in params.items()}
    for name in sorted({*needed, *found}):
        if found.get(name) != needed.get(name):
            raise ValueError(f"the parameters do not fit this network: {name} has shape "
                             f"{found.get(name)}, expected {needed.get(name)}: {HINT}")


def find_shape(params: Mapping[str, np.ndarray], network: str = "G") -> dict[str, int]:
    """Return `size`, `nc`, and `nz` and `ngf`, or `ndf`, as `make_dcgan_sym` takes them."""
    weights = list_weights(params, network)
    if network == "D":
        return {"size": 1 << len(weights) + 1, "nc": weights[0].shape[1],
                "ndf": weights[0].shape[0]}
    ngf, nc = weights[-1].shape[:2]
    return {"size": 1 << len(weights) + 1, "nc": nc, "nz": weights[0].shape[0], "ngf": ngf}


def list_weights(params: Mapping[str, np.ndarray], network: str) -> list[np.ndarray]:
    """Return the weights of all layers: n layers make images of 2^(n + 1) pixels a side."""
    return [array for name, array in sorted(params.items())
            if re.fullmatch(f"arg:{network.lower()}[0-9]_weight", name)]
