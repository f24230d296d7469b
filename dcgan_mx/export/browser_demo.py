"""An HTML page that generates images in JavaScript, with sliders that mix latent vectors."""
from __future__ import annotations

import base64
from typing import Any, Mapping

import numpy as np

from . import html
from .layers import Network

_LEVELS = 2**15 - 1  # of a weight, on each side of 0


def render(network: Network, vectors: np.ndarray, metadata: Mapping[str, object]) -> str:
    """Return the page of a generator, with about 2.7 bytes for each weight.

    Sliders mix the `vectors`, (n, nz), float32. `metadata` has the generator's `step` and `weights`
    (ema or raw), and the `version` of dcgan-mx.
    """
    data = {"stages": [_pack(stage) for stage in fold(network)], "shape": network.output_shape,
            "nz": network.input_shape[0], "vectors": _encode(vectors, "<f4")}
    weights = {"ema": "averaged", "raw": "last"}[str(metadata["weights"])]
    return html.render("browser_demo.html", data=data, metadata=metadata, weights=weights)


def fold(network: Network) -> list[dict[str, Any]]:
    """Fold every BatchNorm of a generator into its deconvolution; return the deconvolutions.

    Each has `weight` (C, C', H, W), `scale` and `shift` (C',) of its output, float64; `activation`;
    `kernel`, `stride` and `pad`.
    """
    stages: list[dict[str, Any]] = []
    for layer in network.layers:
        arrays = [array.astype(np.float64) for array in layer.arrays.values()]
        if layer.op == "ConvTranspose":
            weight, *bias = arrays
            ones = np.ones(weight.shape[1])
            shape = {"kernel": layer.attributes["kernel_shape"],
                     "stride": layer.attributes["strides"], "pad": layer.attributes["pads"][:2]}
            stages.append({"weight": weight, "scale": ones, "shift": bias[0] if bias else 0 * ones,
                           "activation": "None", **shape})
        elif layer.op == "BatchNormalization":
            gamma, beta, mean, variance = arrays
            slope = gamma / np.sqrt(variance + layer.attributes["epsilon"])
            stages[-1]["scale"] = stages[-1]["scale"] * slope
            stages[-1]["shift"] = (stages[-1]["shift"] - mean) * slope + beta
        else:
            stages[-1].update(activation=layer.op, **layer.attributes)
    return stages


def _pack(stage: dict[str, Any]) -> dict[str, Any]:
    """Quantize a stage's weights to 16 bits, in the order in which the page reads them."""
    weight = stage["weight"]
    step = np.maximum(np.abs(weight).max((0, 2, 3)), 1e-30) / _LEVELS
    levels = np.rint(weight / step[:, None, None]).transpose(2, 3, 1, 0)
    return {**stage, "in_channels": len(weight), "weight": _encode(levels, "<i2"),
            "scale": _encode(stage["scale"] * step, "<f4"), "shift": _encode(stage["shift"], "<f4")}


def _encode(array: np.ndarray, dtype: str) -> str:
    """Return an array's bytes in base64."""
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()
