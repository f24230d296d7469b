"""The page that makes images: a generator, in JavaScript, and sliders that move its vector."""
from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from ..images.layers import Network
from . import page

_LEVELS = 2**15 - 1  # of a weight, on either side of 0


def render(network: Network, vectors: np.ndarray, said: Mapping[str, object]) -> str:
    """Make the page.

    Parameters
    ----------
    network
        A generator.
    vectors : (n, nz), float32
        Those that the sliders mix, a slider each.
    said
        Of the generator: its `step`, its `weights` (ema or raw), the `version` of dcgan-mx.

    Returns
    -------
    HTML of some 2.7 bytes a weight: each weight has 16 bits, and its channel a scale.

    Raises
    ------
    ValueError
        If the network is no chain of deconvolutions, each with an activation.
    """
    data = {"stages": [_pack(stage) for stage in fold(network)], "shape": network.output_shape,
            "nz": network.input_shape[0], "vectors": _encode(vectors, "<f4")}
    fragment = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    nc, height, width = network.output_shape
    text = (f"Every picture is computed here, from a vector of {network.input_shape[0]} random "
            "numbers, by a network that has learnt it from examples. A slider says how much of the "
            "vector of the small picture beside it goes into the large one. Nothing is fetched, "
            "nothing is sent.")
    weights = {"ema": "averaged", "raw": "last"}[str(said["weights"])]
    note = (f"Generator of step {said['step']}, {weights} weights, {width} x {height} pixels, "
            f"{'grey' if nc == 1 else 'RGB'}; dcgan-mx {said['version']}. In the console, "
            "generate(vector) returns the pixels of a vector.")
    return page.render("A generator", f"<p>{html.escape(text)}</p>\n"
                       + fragment.replace("DATA", json.dumps(data), 1) + page.note(note))


def fold(network: Network) -> list[dict[str, Any]]:
    """Put every BatchNorm into the deconvolution before it.

    Returns
    -------
    A stage for each deconvolution: `weight` (C, C', H, W), `scale` and `shift` (C',), float64,
    of its output; `activation`, and `alpha` of LeakyRelu; `kernel`, `stride` and `pad`.

    Raises
    ------
    ValueError
        As `render` does.
    """
    stages: list[dict[str, Any]] = []
    for layer in network.layers:
        arrays = [array.astype(np.float64) for array in layer.arrays.values()]
        if layer.op == "ConvTranspose":
            weight, *bias = arrays
            ones = np.ones(weight.shape[1])
            stages.append({"weight": weight, "scale": ones, "shift": bias[0] if bias else 0 * ones,
                           "activation": "None", "kernel": layer.attributes["kernel_shape"],
                           "stride": layer.attributes["strides"],
                           "pad": layer.attributes["pads"][:2]})
        elif not stages or stages[-1]["activation"] != "None" or layer.op in ("Conv", "Flatten"):
            raise ValueError(f"{layer.op} {layer.name} has no place on a page: give a generator of "
                             "make_dcgan_sym")
        elif layer.op == "BatchNormalization":
            gamma, beta, mean, variance = arrays
            slope = gamma / np.sqrt(variance + layer.attributes["epsilon"])
            stages[-1]["scale"] = stages[-1]["scale"] * slope
            stages[-1]["shift"] = (stages[-1]["shift"] - mean) * slope + beta
        else:
            stages[-1].update(activation=layer.op, **layer.attributes)
    return stages


def _pack(stage: dict[str, Any]) -> dict[str, Any]:
    """Round a stage's weights to 16 bits, in the order in which the page reads them."""
    weight = stage["weight"]
    step = np.maximum(np.abs(weight).max((0, 2, 3)), 1e-30) / _LEVELS
    levels = np.rint(weight / step[:, None, None]).transpose(2, 3, 1, 0)
    return {**stage, "taken": len(weight), "weight": _encode(levels, "<i2"),
            "scale": _encode(stage["scale"] * step, "<f4"), "shift": _encode(stage["shift"], "<f4")}


def _encode(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()
