"""The reference loop on plain Modules: the oracle of the tests, the baseline of the benchmark.

Written after MXNet 1.0.0, example/gan/dcgan.py: one Module for each network, D bound with gradients
for its weights and its input, nothing skipped.
"""
from __future__ import annotations

from typing import Any

from dcgan_mx.system.runtime import mx


class BlogLoop:
    """modG, modD and one iteration of the example, on one context."""

    def __init__(self, symG: Any, symD: Any, batch_size: int, data_shape: tuple[int, ...],
                 nz: int = 100, ctx: Any = None, lr: float = 2e-4, beta1: float = 0.5) -> None:
        ctx = ctx or mx.cpu()
        self.label = mx.nd.zeros((batch_size,), ctx=ctx)
        self.modG = mx.mod.Module(symG, data_names=("rand",), label_names=None, context=ctx)
        self.modG.bind(data_shapes=[("rand", (batch_size, nz, 1, 1))])
        self.modD = mx.mod.Module(symD, data_names=("data",), label_names=("label",), context=ctx)
        self.modD.bind(data_shapes=[("data", (batch_size, *data_shape))],
                       label_shapes=[("label", (batch_size,))], inputs_need_grad=True)
        for mod in (self.modG, self.modD):
            mod.init_params(initializer=mx.init.Normal(0.02))
            mod.init_optimizer(optimizer="adam", optimizer_params={
                "learning_rate": lr, "wd": 0.0, "beta1": beta1})

    def step(self, batch: Any, rbatch: Any) -> list[Any]:
        """Run one iteration; return D's three predictions (fake, real, fake after D's update)."""
        modG, modD, label = self.modG, self.modD, self.label
        preds = []
        modG.forward(rbatch, is_train=True)
        outG = modG.get_outputs()

        # update discriminator on fake
        label[:] = 0
        modD.forward(mx.io.DataBatch(outG, [label]), is_train=True)
        modD.backward()
        gradD = [[grad.copyto(grad.context) for grad in grads]
                 for grads in modD._exec_group.grad_arrays]
        preds.append(modD.get_outputs()[0].asnumpy())

        # update discriminator on real
        label[:] = 1
        batch.label = [label]
        modD.forward(batch, is_train=True)
        modD.backward()
        for gradsr, gradsf in zip(modD._exec_group.grad_arrays, gradD):
            for gradr, gradf in zip(gradsr, gradsf):
                gradr += gradf
        modD.update()
        preds.append(modD.get_outputs()[0].asnumpy())

        # update generator
        label[:] = 1
        modD.forward(mx.io.DataBatch(outG, [label]), is_train=True)
        modD.backward()
        diffD = modD.get_input_grads()
        modG.backward(diffD)
        modG.update()
        preds.append(modD.get_outputs()[0].asnumpy())
        return preds
