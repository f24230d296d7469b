"""A network as an ONNX model."""
from __future__ import annotations

from typing import Any, Mapping

from .layers import Network

# Of 2019 (ONNX 1.6): every operator that is needed has its present meaning, and what runs ONNX
# still takes it.
OPSET, IR_VERSION = 11, 6
_MEND = "pip install 'dcgan-mx[export]', or onnx itself"


class OnnxError(ValueError):
    """The package onnx is missing, or is not what it was."""


def import_onnx() -> Any:
    """Return the package `onnx`.

    Raises
    ------
    OnnxError
        If it is not installed, or cannot be imported.
    """
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except (ImportError, AttributeError, TypeError) as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "onnx"
        raise OnnxError("the package onnx is missing: " + _MEND if missing else
                        f"the package onnx cannot be imported ({error}): {_MEND}") from None
    return onnx


def make_model(network: Network, output: str, metadata: Mapping[str, object],
               version: str) -> bytes:
    """Write a network as an ONNX model of any batch size.

    Parameters
    ----------
    network
    output
        Name of what comes out.
    metadata
        Stored as texts under these names.
    version
        Of dcgan-mx, which made it.

    Returns
    -------
    bytes
        What an .onnx file holds; the checker of onnx has passed it.

    Raises
    ------
    OnnxError
        If onnx is missing, too old, or too new.
    """
    onnx = import_onnx()
    try:
        model = _build(onnx, network, output, version)
        onnx.helper.set_model_props(model, {name: str(text) for name, text in metadata.items()})
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
    except (AttributeError, TypeError, ValueError, RuntimeError, onnx.checker.ValidationError
            ) as error:
        line = " ".join(str(error).split())
        raise OnnxError(f"onnx {getattr(onnx, '__version__', 'of no version')} cannot write a "
                        f"model of opset {OPSET} ({line}): install another version: {_MEND}"
                        ) from None
    return content


def _build(onnx: Any, network: Network, output: str, version: str) -> Any:
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    nodes, arrays, name = [], [], network.input
    for layer in network.layers:
        source, name = name, output if layer is network.layers[-1] else layer.name
        nodes.append(helper.make_node(layer.op, [source, *layer.arrays], [name], layer.name,
                                      **layer.attributes))
        arrays += [onnx.numpy_helper.from_array(array, key) for key, array in layer.arrays.items()]
    inputs, outputs = ([helper.make_tensor_value_info(name, float32, ["N", *shape])]
                       for name, shape in ((network.input, network.input_shape),
                                           (output, network.output_shape)))
    return helper.make_model(
        helper.make_graph(nodes, "dcgan", inputs, outputs, arrays), ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)], producer_name="dcgan-mx",
        producer_version=version)
