"""Moving statistics of BatchNorm for averaged weights, which have none of their own."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..system.runtime import mx, set_parameters
from .latent import make_latents


def measure_statistics(symG: Any, params: dict[str, np.ndarray], ctx: Any = None,
                       batches: int = 16) -> dict[str, np.ndarray]:
    """Measure a generator's moving statistics: means over batches of 64 fixed latent vectors.

    Returns aux:NAME to float32 array. Source: Izmailov et al., arXiv:1803.05407, section 3.1.
    """
    size, nz = 64, len(params["arg:g1_weight"])
    layers = [name[:-len("_moving_mean")] for name in symG.list_auxiliary_states()
              if name.endswith("_moving_mean")]
    inputs = mx.sym.Group([symG.get_internals()[f"{name.replace('bn', '')}_output"]
                           for name in layers])
    mod = mx.mod.Module(inputs, data_names=("rand",), label_names=None,
                        context=ctx or mx.current_context())
    mod.bind(data_shapes=[("rand", (size, nz, 1, 1))], for_training=False)
    set_parameters(mod, params, allow_extra=True)
    sums: dict[str, Any] = {}
    for z in np.split(make_latents(batches * size, nz, 0), batches):
        mod.forward(mx.io.DataBatch([mx.nd.array(z.reshape(size, nz, 1, 1))], []), is_train=True)
        for name, output in zip(layers, mod.get_outputs()):
            for kind, moment in (("mean", np.mean), ("var", np.var)):
                key = f"aux:{name}_moving_{kind}"
                sums[key] = sums.get(key, 0) + moment(output.asnumpy(), (0, 2, 3),
                                                      dtype=np.float64)
    return {key: (total / batches).astype(np.float32) for key, total in sums.items()}
