"""What a training takes of the host's memory, before anything is taken."""
from __future__ import annotations

import math
from typing import Any

from ..machine.memory import require_memory


def require_fitting(symG: Any, symD: Any, batch_size: int, data_shape: tuple[int, int, int],
                    nz: int, contexts: list[Any]) -> None:
    """Raise ValueError if a training cannot fit; all is as `Trainer` takes it."""
    hosts = sum(context.device_type != "gpu" for context in contexts)
    counts = [_count_numbers(symG, rand=(batch_size, nz, 1, 1)),
              _count_numbers(symD, data=(batch_size, *data_shape), label=(batch_size,))]
    parameters, outputs = map(sum, zip(*counts))
    # A weight, its gradient and Adam's two moments, in float32, in each context; and what the
    # layers make of the batch, of which the way back needs the most, in two bytes at the least.
    needed = 16 * parameters * hosts + 2 * outputs * hosts // len(contexts)
    require_memory(f"training {parameters:,} parameters with batch_size {batch_size}", needed,
                   "give a lower one, or smaller networks, or end what else has memory")


def _count_numbers(network: Any, **inputs: tuple[int, ...]) -> tuple[int, int]:
    """Return how many parameters a network has, and how many numbers its layers put out."""
    shapes = dict(zip(network.list_arguments(), network.infer_shape(**inputs)[0]))
    internals = network.get_internals()
    outputs = dict(zip(internals.list_outputs(), internals.infer_shape(**inputs)[1]))
    return (sum(math.prod(shape) for name, shape in shapes.items() if name not in inputs),
            sum(math.prod(shape) for name, shape in outputs.items()
                if name not in shapes and name.endswith("_output")))
