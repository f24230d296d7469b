"""A network as an ONNX model."""
from __future__ import annotations

from typing import Any, Mapping

from .layers import Network

# Of ONNX 1.6 (2019), the oldest opset in which all our operators have their present meaning.
OPSET, IR_VERSION = 11, 6
_HINT = "pip install 'dcgan-mx[export]', or onnx alone"


def import_onnx() -> Any:
    """Return the package `onnx`; raise ValueError if it cannot be imported."""
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"the package onnx cannot be imported ({error}): {_HINT}") from None
    return onnx


def make_model(network: Network, output: str, metadata: Mapping[str, object],
               version: str) -> bytes:
    """Return an .onnx file of a network for any batch size, checked by the package onnx.

    `output` is the name of its output, and `version` the version of dcgan-mx. Raises ValueError if
    onnx is missing, too old or too new.
    """
    onnx = import_onnx()
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    nodes, arrays, name = [], [], network.input
    try:
        for layer in network.layers:
            source, name = name, output if layer is network.layers[-1] else layer.name
            nodes.append(helper.make_node(layer.op, [source, *layer.arrays], [name], layer.name,
                                          **layer.attributes))
            arrays += [onnx.numpy_helper.from_array(array, key)
                       for key, array in layer.arrays.items()]
        ends = [[helper.make_tensor_value_info(name, float32, ["N", *shape])] for name, shape in (
            (network.input, network.input_shape), (output, network.output_shape))]
        model = helper.make_model(
            helper.make_graph(nodes, "dcgan", *ends, arrays), ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)], producer_name="dcgan-mx",
            producer_version=version)
        helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
    except (AttributeError, TypeError, ValueError, RuntimeError, onnx.checker.ValidationError
            ) as error:
        raise ValueError(f"onnx {onnx.__version__} cannot write a model of opset {OPSET} "
                         f"({' '.join(str(error).split())}): install another version: {_HINT}"
                         ) from None
    return content
