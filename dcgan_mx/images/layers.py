"""A network as the list of layers that it is, in terms that other programs share.

Operators, attributes and the order of arrays are ONNX's: opset 11.
"""
from __future__ import annotations

import re
from typing import Any, Callable, Mapping, NamedTuple

import numpy as np

from ..machine.files import parse_json


class LayerError(ValueError):
    """A network is no chain of the layers that this project's networks have."""


class Layer(NamedTuple):
    """One step from the input to the output.

    Attributes
    ----------
    op
        ConvTranspose, Conv, BatchNormalization, Relu, LeakyRelu, Tanh, Sigmoid or Flatten.
    name
    arrays : float32
        What it has learnt. Of (de)convolutions: the weight, (C, C', H, W), and the bias, if there
        is one; of BatchNormalization: gamma, beta, mean and variance, (C,) each.
    attributes
    """

    op: str
    name: str
    arrays: dict[str, np.ndarray]
    attributes: dict[str, Any]


class Network(NamedTuple):
    """Layers, and what goes in and comes out.

    Attributes
    ----------
    input
        Its name: rand or data.
    layers
    input_shape, output_shape
        Of one latent vector, image or probability.
    """

    input: str
    layers: list[Layer]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


_SPATIAL = ("Conv", "ConvTranspose")
# Without inputs and parameters: layers that do what their name says.
_SIMPLE = {("Activation", "relu"): "Relu", ("Activation", "tanh"): "Tanh",
           ("Activation", "sigmoid"): "Sigmoid", ("Flatten", ""): "Flatten",
           ("LogisticRegressionOutput", ""): "Sigmoid"}
# What changes no output of a trained network, or is looked at.
_KNOWN = {"act_type", "cudnn_off", "cudnn_tune", "eps", "fix_gamma", "kernel", "lhs_axes",
          "momentum", "no_bias", "num_filter", "output_size", "pad", "rhs_axes", "shape", "slope",
          "stride", "transpose_a", "use_global_stats", "workspace"}


def read_network(symbol: str, params: Mapping[str, np.ndarray]) -> Network:
    """Read the layers of a generator or of a discriminator.

    Parameters
    ----------
    symbol
        JSON text, as `mx.sym.Symbol.tojson` of MXNet 1.9.1 returns it.
    params : float32
        Under arg:NAME and aux:NAME.

    Raises
    ------
    LayerError
        If it has an operator, or an attribute, that `make_dcgan_sym` does not use, if it is no
        chain, or if the parameters are not its own.
    """
    try:
        document = parse_json(symbol.encode())
        walk = _Walk(document["nodes"], params)
        (head, _, _), = document["heads"]
        layers: list[Layer] = []
        while walk.nodes[head]["op"] != "null":
            head, layer = walk.read(head)
            layers.insert(0, layer)
        return Network(walk.nodes[head]["name"], layers, *_find_shapes(layers))
    except LayerError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise LayerError("this network is no chain of layers with parameters of their own "
                         f"({type(error).__name__}: {error}): give a checkpoint that dcgan-mx "
                         "train wrote") from None


class _Walk:
    """Goes from the output to the input, layer by layer."""

    def __init__(self, nodes: list[dict[str, Any]], params: Mapping[str, np.ndarray]) -> None:
        self.nodes, self._params = nodes, params

    def read(self, at: int) -> tuple[int, Layer]:
        """Return the number of the node that a layer's input comes from, and the layer."""
        op, attrs = self.nodes[at]["op"], self._attributes(at)
        readers: dict[str, Callable[[int], tuple[int, Layer]]] = {
            "Convolution": self._convolution, "Deconvolution": self._convolution,
            "BatchNorm": self._batch_norm, "col2im": self._grey, "broadcast_add": self._grey_bias}
        if op in readers:
            return readers[op](at)
        source, name = self._inputs(at)[0], self.nodes[at]["name"]
        if op == "LeakyReLU" and attrs.get("act_type", "leaky") == "leaky":
            slope = float(attrs.get("slope", 0.25))
            return source, Layer("LeakyRelu", name, {}, {"alpha": slope})
        kind = (op, attrs.get("act_type", ""))
        if kind not in _SIMPLE:
            raise self._unknown(at)
        return source, Layer(_SIMPLE[kind], name, {}, {})

    def _attributes(self, at: int) -> dict[str, str]:
        node = self.nodes[at]
        attrs: dict[str, str] = node.get("attrs", {})
        for name, value in attrs.items():
            if name not in _KNOWN and not name.startswith("__"):
                raise LayerError(f"{node['op']} {node['name']} has {name}={value}, which cannot be "
                                 "exported: give a network of make_dcgan_sym")
        return attrs

    def _unknown(self, at: int) -> LayerError:
        node = self.nodes[at]
        attrs = ", ".join(f"{name}={value}" for name, value in node.get("attrs", {}).items())
        return LayerError(f"{node['op']} {node['name']} ({attrs}) cannot be exported: give a "
                          "network of make_dcgan_sym")

    def _inputs(self, at: int) -> list[int]:
        inputs = [source for source, _, _ in self.nodes[at]["inputs"]]
        if any(not 0 <= source < at for source in inputs):
            raise ValueError("nodes are out of order")
        return inputs

    def _parameter(self, at: int, kind: str = "arg") -> dict[str, np.ndarray]:
        name = self.nodes[at]["name"]
        return {name: self._params[f"{kind}:{name}"]}

    def _convolution(self, at: int) -> tuple[int, Layer]:
        source, *learnt = self._inputs(at)
        arrays = {name: array for i in learnt for name, array in self._parameter(i).items()}
        op = {"Convolution": "Conv", "Deconvolution": "ConvTranspose"}[self.nodes[at]["op"]]
        return source, Layer(op, self.nodes[at]["name"], arrays, self._geometry(at))

    def _geometry(self, at: int) -> dict[str, list[int]]:
        """Kernel, stride and padding of height and width."""
        attrs = self._attributes(at)
        kernel, stride, pad = (
            [int(number) for number in re.findall("[0-9]+", attrs.get(name, default))]
            for name, default in (("kernel", ""), ("stride", "(1, 1)"), ("pad", "(0, 0)")))
        if not len(kernel) == len(stride) == len(pad) == 2:
            raise self._unknown(at)
        return {"kernel_shape": kernel, "strides": stride, "pads": pad * 2}

    def _batch_norm(self, at: int) -> tuple[int, Layer]:
        attrs = self._attributes(at)
        source, *scale, mean, variance = self._inputs(at)
        gamma, beta = (self._parameter(i) for i in scale)
        if attrs.get("fix_gamma", "True") in ("True", "1"):  # whatever the file says
            gamma = {name: np.ones_like(array) for name, array in gamma.items()}
        arrays = {**gamma, **beta, **self._parameter(mean, "aux"),
                  **self._parameter(variance, "aux")}
        return source, Layer("BatchNormalization", self.nodes[at]["name"], arrays,
                             {"epsilon": float(attrs.get("eps", 1e-3))})

    def _grey(self, at: int) -> tuple[int, Layer]:
        """A deconvolution to one channel as `symbols._to_grey` spells it, in one piece again."""
        columns, = self._inputs(at)
        kernels, pixels = self._inputs(columns)
        rows, _ = self._inputs(kernels)
        (weight,), (source,) = self._inputs(rows), self._inputs(pixels)
        ops = [self.nodes[i]["op"] for i in (columns, kernels, rows, pixels, weight)]
        geometry, arrays = self._geometry(at), self._parameter(weight)
        shape = next(iter(arrays.values())).shape
        if ops != ["_linalg_gemm2", "broadcast_like", "Reshape", "Reshape", "null"] or (
                shape[1:] != (1, *geometry["kernel_shape"])):
            raise self._unknown(at)
        return source, Layer("ConvTranspose", self.nodes[at]["name"], arrays, geometry)

    def _grey_bias(self, at: int) -> tuple[int, Layer]:
        columns, reshaped = self._inputs(at)
        bias, = self._inputs(reshaped)
        if (self.nodes[columns]["op"], self.nodes[bias]["op"]) != ("col2im", "null"):
            raise self._unknown(at)
        source, layer = self._grey(columns)
        return source, layer._replace(arrays={**layer.arrays, **self._parameter(bias)})


def _find_shapes(layers: list[Layer]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of the input and the output; one of them is a single place.

    What a deconvolution makes of a side, a convolution takes: (side - 1) * stride - 2 * pad +
    kernel.
    """
    stages = [layer for layer in layers if layer.op in _SPATIAL]
    generates = stages[0].op == "ConvTranspose"
    if len({layer.op for layer in stages}) > 1:
        raise ValueError("convolutions among deconvolutions")
    channels: list[tuple[int, int]] = []
    for layer in layers:
        if layer.op in _SPATIAL:
            weight, *rest = layer.arrays.values()
            taken, given = weight.shape[:2] if generates else weight.shape[1::-1]
            if weight.shape[2:] != tuple(layer.attributes["kernel_shape"]) or (
                    channels and channels[-1][1] != taken):
                raise ValueError(f"{layer.name} has a weight of shape {weight.shape}")
            channels.append((taken, given))
        else:
            rest = [*layer.arrays.values()]
        if any(array.shape != channels[-1][1:] for array in rest):
            raise ValueError(f"{layer.name} has parameters of other shapes")
    sides = [1, 1]
    for layer in stages if generates else reversed(stages):
        kernel, stride, pad = (layer.attributes[name] for name in ("kernel_shape", "strides",
                                                                   "pads"))
        sides = [(sides[i] - 1) * stride[i] - 2 * pad[i] + kernel[i] for i in (0, 1)]
    if generates:
        return (channels[0][0], 1, 1), (channels[-1][1], *sides)
    return (channels[0][0], *sides), (channels[-1][1],)
