"""A network as MXNet writes it, JSON, checked before MXNet reads it."""
from __future__ import annotations

from typing import Any

from ..machine.files import parse_json
from ..machine.runtime import mx

_PARTS = {"nodes", "arg_nodes", "node_row_ptr", "heads", "attrs"}


def load_symbol(text: str) -> Any:
    """Load a network that anybody may have written.

    Parameters
    ----------
    text
        As `Symbol.tojson` returns it.

    Returns
    -------
    mx.sym.Symbol

    Raises
    ------
    ValueError
        If it is none of MXNet 1.9.1, or takes another output of a layer than the first.

    Notes
    -----
    MXNet's reader believes the numbers of nodes and outputs; one that is out of range ends the
    process. Source of the format: MXNet 1.9.1, 3rdparty/tvm/nnvm/src/pass/saveload_json.cc.
    """
    try:
        graph = parse_json(text.encode())
        if {*graph} != _PARTS or graph["attrs"] != {"mxnet_version": ["int", 10901]}:
            raise ValueError
        nodes = graph["nodes"]
        for n, node in enumerate(nodes):
            _require_node(node, n)
        if graph["arg_nodes"] != [n for n, node in enumerate(nodes) if node["op"] == "null"]:
            raise ValueError
        _require_outputs(graph["heads"], len(nodes))
        return mx.sym.load_json(text)
    # A ValueError may be MXNet's, too: what it quotes need not be UTF-8.
    except (mx.base.MXNetError, ValueError, TypeError, KeyError, AttributeError):
        raise ValueError("is no network of MXNet 1.9.1") from None


def _require_node(node: Any, n: int) -> None:
    words = (node["op"], node["name"], *node.get("attrs", {}).values())
    if node.keys() - {"attrs"} != {"op", "name", "inputs"} or {*map(type, words)} != {str}:
        raise ValueError
    _require_outputs(node["inputs"], n)


def _require_outputs(outputs: Any, count: int) -> None:
    """Raise ValueError unless each is the first output of one of the first `count` nodes.

    The third number is 1 where a layer changes what it gets: moving statistics.
    """
    for n, output, version in outputs:
        if {*map(type, (n, output, version))} != {int} or not (
                0 <= n < count and output == 0 and 0 <= version <= 1):
            raise ValueError
