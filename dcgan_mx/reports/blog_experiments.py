"""Measurements of what the blog post claims, for `dcgan-mx walkthrough` and the notebooks."""
from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..engine.module_state import get_parameters
from ..system.runtime import mx, set_parameters
from ..trainer import Hook, Trainer

LOSSES = ("-log D(G(z))", "log(1 - D(G(z)))")


def find_layers(symbol: Any) -> list[tuple[str, str, dict[str, str]]]:
    """Return the name, operator and attributes of each layer, from input to output."""
    return [(node["name"], node["op"], node.get("attrs", {}))
            for node in json.loads(symbol.tojson())["nodes"] if node["op"] != "null"]


def check_rules(symG: Any, symD: Any) -> dict[str, tuple[bool, list[str]]]:
    """Return for each rule of the DCGAN paper whether it holds, and the layers that it concerns.

    Source: Radford et al., arXiv:1511.06434, section 3.
    """
    def names(symbol: Any, op: str, **attributes: str) -> list[str]:
        return [name for name, found, attrs in find_layers(symbol)
                if found == op and attributes.items() <= attrs.items()]

    convs = names(symG, "Deconvolution")[1:] + names(symD, "Convolution")[:-1]
    strided = (names(symG, "Deconvolution", stride="(2, 2)")
               + names(symD, "Convolution", stride="(2, 2)"))
    normG, normD = (names(symbol, "BatchNorm") for symbol in (symG, symD))
    relu, tanh = (names(symG, "Activation", act_type=kind) for kind in ("relu", "tanh"))
    leaky, others = names(symD, "LeakyReLU", act_type="leaky"), names(symD, "Activation")
    pooling, dense = (names(symG, op) + names(symD, op) for op in ("Pooling", "FullyConnected"))
    return {
        "no pooling; stride 2 instead": (not pooling and convs == strided, pooling + strided),
        "batch normalization in both": (bool(normG and normD), normG + normD),
        "no fully connected layers": (not dense, dense),
        "G: ReLU, and tanh at the output": (
            len(relu) == len(normG) and tanh == [find_layers(symG)[-1][0]], relu + tanh),
        "D: leaky ReLU": (len(leaky) == len(normD) + 1 and not others, leaky + others)}


def find_shapes(symG: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Return the name and shape, (C, H, W), of the noise and of each activation of G."""
    internals = symG.get_internals()
    _, shapes, _ = internals.infer_shape(rand=(1, 100, 1, 1))
    return [(name.replace("_output", ""), shape[1:])
            for name, shape in zip(internals.list_outputs(), shapes)
            if name == "rand" or name.startswith("gact")]


def measure_loss(trainer: Trainer, batch: Any, rbatch: Any) -> dict[str, float]:
    """Compute the minimax loss, log D(x) + log(1 - D(G(z))), on one batch, without training.

    Source: Goodfellow et al., NIPS 2014, equation 1.
    """
    trainer.modG.forward(rbatch, is_train=True)
    label = [mx.nd.zeros((trainer.batch_size,))]
    outputs = []
    for data in (batch.data, trainer.modG.get_outputs()):
        trainer.modD.forward(mx.io.DataBatch(data, label), is_train=True)
        outputs.append(trainer.modD.get_outputs()[0].asnumpy().astype(np.float64))
    real, fake = outputs
    return {"D(x)": float(real.mean()), "D(G(z))": float(fake.mean()),
            "loss": float((np.log(real) + np.log(1 - fake)).mean())}


class Probe(Hook):
    """A hook that measures the gradients of both losses at G's images in the first `steps` steps.

    `norms` are the norms of the gradients for each of `LOSSES`, and `error` the largest difference
    between `saturating` and `analytic` after step 1, relative to the largest value. D's moving
    statistics and `diffD` change, because the probe shares D with the trainer.
    """

    def __init__(self, trainer: Trainer, steps: int = 0) -> None:
        self._trainer, self._steps = trainer, steps
        self.norms: dict[str, list[float]] = {loss: [] for loss in LOSSES}
        self.error = float("nan")
        symD, shapes = trainer.modD.symbol, trainer.modD.data_shapes
        self._mod = mx.mod.Module(symD, label_names=("label",), context=trainer.contexts[0])
        self._mod.bind(shapes, trainer.modD.label_shapes, shared_module=trainer.modD,
                       inputs_need_grad=True,
                       grad_req={**dict.fromkeys(symD.list_arguments(), "null"), "data": "write"})
        # D without its loss layer: MXNet differentiates the formula itself.
        logit = symD.get_internals()[find_layers(symD)[-2][0] + "_output"]
        self._minimax = mx.mod.Module(mx.sym.MakeLoss(mx.sym.log(1 - mx.sym.sigmoid(logit))),
                                      label_names=None, context=trainer.contexts[0])
        self._minimax.bind(shapes, inputs_need_grad=True)

    def nonsaturating(self, images: Any) -> np.ndarray:
        """Return the gradient of -log D at images, (N, C, H, W): the gradient of D at label 1."""
        return _get_gradient(self._mod, images, [mx.nd.ones(len(images))])

    def saturating(self, images: Any) -> np.ndarray:
        """Return the gradient of log(1 - D) at images: the negated gradient of D at label 0."""
        return -_get_gradient(self._mod, images, [mx.nd.zeros(len(images))])

    def analytic(self, images: Any) -> np.ndarray:
        """Return the gradient of log(1 - D) by MXNet's differentiation of the formula."""
        set_parameters(self._minimax, get_parameters(self._trainer.modD))
        return _get_gradient(self._minimax, images, [])

    def on_step(self, trainer: Trainer) -> None:
        """Measure after a step."""
        if trainer.global_step == 1:
            exact = self.analytic(trainer.outG)
            self.error = float(abs(self.saturating(trainer.outG) - exact).max() / abs(exact).max())
        if trainer.global_step <= self._steps:
            for norms, measure in zip(self.norms.values(), (self.nonsaturating, self.saturating)):
                norms.append(float(np.linalg.norm(measure(trainer.outG))))

    def compare(self) -> dict[str, float]:
        """Return the ratio of the norms, first loss to second: median, least and most."""
        ratio: np.ndarray = np.divide(*map(np.array, self.norms.values()))
        return {"median": float(np.median(ratio)), "least": float(ratio.min()),
                "most": float(ratio.max())}


def _get_gradient(mod: Any, images: Any, labels: list[Any]) -> np.ndarray:
    """Return the gradient of a network's loss at its input."""
    mod.forward(mx.io.DataBatch([images], labels), is_train=True)
    mod.backward()
    gradient: np.ndarray = mod.get_input_grads()[0].asnumpy()
    return gradient
