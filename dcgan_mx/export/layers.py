"""A network as a list of layers with the operators and attributes of ONNX, opset 11."""
from __future__ import annotations

import json
import re
from typing import Any, Mapping, NamedTuple

import numpy as np


class Layer(NamedTuple):
    """One layer.

    `arrays` are its parameters, float32: for a (transposed) convolution, the weight, (C, C', H, W),
    and the bias, if any; for BatchNormalization, gamma, beta, mean and variance, (C,) each.
    """

    op: str
    name: str
    arrays: dict[str, np.ndarray]
    attributes: dict[str, Any]


class Network(NamedTuple):
    """The layers from input to output."""

    input: str  # 'rand' or 'data'
    layers: list[Layer]
    input_shape: tuple[int, ...]  # of one latent vector or image
    output_shape: tuple[int, ...]


_OPS = {"Convolution": "Conv", "Deconvolution": "ConvTranspose", "BatchNorm": "BatchNormalization",
        "relu": "Relu", "LeakyReLU": "LeakyRelu", "tanh": "Tanh", "Flatten": "Flatten",
        "LogisticRegressionOutput": "Sigmoid",
        # Of symbols._deconv_one_channel: col2im has the layer's name and geometry.
        "col2im": "ConvTranspose"}
_SKIPPED = ("null", "Reshape", "broadcast_like", "_linalg_gemm2", "broadcast_add")
_PARAMETERS = ("weight", "bias", "gamma", "beta", "moving_mean", "moving_var")


def read_network(symbol: str, params: Mapping[str, np.ndarray]) -> Network:
    """Convert a network of `make_dcgan_sym`, as JSON text, and its parameters to layers."""
    arrays = {key.partition(":")[2]: array for key, array in params.items()}
    layers = []
    for node in json.loads(symbol)["nodes"]:
        name, attrs = node["name"], node.get("attrs", {})
        op = attrs["act_type"] if node["op"] == "Activation" else node["op"]
        if op in _SKIPPED:
            continue
        own = {key: arrays[key] for key in (f"{name}_{part}" for part in _PARAMETERS)
               if key in arrays}
        if attrs.get("fix_gamma") == "True":  # MXNet then ignores the file and uses 1
            own[f"{name}_gamma"] = np.ones_like(own[f"{name}_gamma"])
        layers.append(Layer(_OPS[op], name, own, _convert_attributes(attrs)))
    weights = [array for layer in layers for key, array in layer.arrays.items()
               if key.endswith("_weight")]
    size = 2 ** (len(weights) + 1)
    if layers[0].op == "ConvTranspose":
        return Network("rand", layers, (len(weights[0]), 1, 1), (weights[-1].shape[1], size, size))
    return Network("data", layers, (weights[0].shape[1], size, size), (1,))


def _convert_attributes(attrs: Mapping[str, str]) -> dict[str, Any]:
    """Convert MXNet's attributes of an operator to those of ONNX."""
    if "kernel" in attrs:
        kernel, stride, pad = ([int(side) for side in re.findall("[0-9]+", text)] for text in (
            attrs["kernel"], attrs.get("stride", "(1, 1)"), attrs.get("pad", "(0, 0)")))
        return {"kernel_shape": kernel, "strides": stride, "pads": pad * 2}
    if "eps" in attrs:
        return {"epsilon": float(attrs["eps"])}
    return {"alpha": float(attrs["slope"])} if "slope" in attrs else {}
